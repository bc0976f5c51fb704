//! How many messages wait in each queue. Asked by passive declare, which counts ready messages only.

use super::vanished::Vanished;
use crate::{
    observe::{health::Health, metrics::Metrics},
    sources::rabbitmq::{connect::not_found, topology::Topology},
};
use futures_util::stream::{self, Stream};
use lapin::{Channel, Connection, options::QueueDeclareOptions, types::FieldTable};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Often enough for a scrape every 15 s; one round is one small call per queue.
const EVERY: Duration = Duration::from_secs(5);

/// `topology migrate` deletes a queue and declares it again at once. A replica that connected again in between would declare the
/// old one.
const REPLACED_WITHIN: Duration = Duration::from_secs(1);

/// Messages ready, by queue.
pub(super) type Depths = BTreeMap<String, u64>;

/// Why a round has no answer.
#[derive(Debug)]
pub(super) enum Unknown {
    /// A queue is gone that deliveries cannot do without, or the channel; either way a new session must be opened, which
    /// declares what is missing.
    Refused(lapin::Error),
    /// The channel is open, and nobody answers on it.
    Unanswered,
}

/// Asks round after round, beginning at once, and ends with the first that has no answer. Each question is answered
/// within `patience`. A retry queue that is refused is left out: its rung is repaired alone.
pub(super) fn watch_depths(
    channel: Channel,
    connection: Arc<Connection>,
    topology: Topology,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    patience: Duration,
) -> impl Stream<Item = Result<Depths, Unknown>> + Send + 'static {
    let watch = Watch { channel, connection, topology, metrics, health, patience, vanished: Vanished::default() };
    stream::try_unfold((watch, Duration::ZERO), |(mut watch, wait)| async move {
        tokio::time::sleep(wait).await;
        let depths = watch.round().await?;
        Ok(Some((depths, (watch, EVERY))))
    })
}

struct Watch {
    channel: Channel,
    connection: Arc<Connection>,
    topology: Topology,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    patience: Duration,
    vanished: Vanished,
}

impl Watch {
    async fn round(&mut self) -> Result<Depths, Unknown> {
        let mut depths = BTreeMap::new();
        // The index of parked events holds none.
        let index = self.topology.parked();
        for queue in self.topology.event_queues().filter(|queue| queue.name != index) {
            let mut answered = self.ask(&queue.name).await?;
            let consumed = self.topology.rungs.iter().any(|rung| rung.queue == queue.name);
            if !consumed && answered.as_ref().is_err_and(|error| not_found(error).is_some()) {
                tokio::time::sleep(REPLACED_WITHIN).await;
                // A refusal closes the channel.
                self.channel = self.connection.create_channel().await.map_err(Unknown::Refused)?;
                answered = self.ask(&queue.name).await?;
            }
            let answered = match answered {
                Ok(answered) => answered,
                Err(_)
                    if self.topology.spare().any(|spare| spare == queue.name)
                        && self.connection.status().connected() =>
                {
                    // A refusal closes the channel.
                    self.channel = self.connection.create_channel().await.map_err(Unknown::Refused)?;
                    let _ = self.metrics.queue_messages.remove_label_values(&[&queue.name]);
                    continue;
                }
                Err(error) => return Err(Unknown::Refused(error)),
            };
            let ready = answered.message_count();
            if queue.name == self.topology.dead()
                && let Some(by) = self.vanished.count(ready.into(), answered.consumer_count(), self.health.dead_turn())
            {
                self.metrics.dead_letters_vanished.inc_by(by);
                tracing::warn!(
                    queue = queue.name,
                    "dead-letter queue shrank by {by} without a replay or discard of this process; if nobody else removed them, a \
                     policy limits it: see `rabbitmqctl list_queues name policy operator_policy`"
                );
            }
            self.metrics.queue_messages.with_label_values(&[&queue.name]).set(ready.into());
            depths.insert(queue.name.clone(), u64::from(ready));
        }
        self.health.queues.send_replace(depths.clone());
        Ok(depths)
    }

    async fn ask(&self, queue: &str) -> Result<lapin::Result<lapin::Queue>, Unknown> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let asked = self.channel.queue_declare(queue.into(), passive, FieldTable::default());
        tokio::time::timeout(self.patience, asked).await.map_err(|_| Unknown::Unanswered)
    }
}
