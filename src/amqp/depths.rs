//! How many messages wait in each queue. Asked by passive declare, which counts ready messages only.

use super::topology::Topology;
use crate::ports::{health::Health, metrics::Metrics};
use lapin::{Channel, options::QueueDeclareOptions, types::FieldTable};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Often enough for a scrape every 15 s; one round is one small call per queue.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps the depths up to date. Ends with the first refusal: a queue is gone, or the channel; either way the session must
/// be opened anew, which declares what is missing.
pub(super) async fn watch_depths(
    channel: Channel,
    topology: Topology,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
) -> lapin::Error {
    loop {
        let mut depths = BTreeMap::new();
        for queue in &topology.queues {
            let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
            match channel.queue_declare(queue.name.as_str().into(), passive, FieldTable::default()).await {
                Ok(declared) => {
                    let ready = declared.message_count();
                    metrics.queue_messages.with_label_values(&[&queue.name]).set(ready.into());
                    depths.insert(queue.name.clone(), u64::from(ready));
                }
                Err(error) => return error,
            }
        }
        health.queues.send_replace(depths);
        tokio::time::sleep(EVERY).await;
    }
}
