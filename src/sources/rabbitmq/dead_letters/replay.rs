//! Replaying: dead letters climb the ladder again.

use super::queue::{QueueReader, ReadError, UnsettledLetter};
use crate::{
    operate::dead_letters::{DeadLetter, DeadLetterFilter},
    sources::rabbitmq::{
        headers::replay_properties,
        publish::Publisher,
        topology::Topology,
        transfer::{Successor, Transfer, Transferred},
    },
};
use std::{ops::ControlFlow, sync::Arc};
use tokio::time::Interval;

/// Replays what `filter` selects, no faster than `pace`. `seen` gets the number replayed so far at each letter that is read, and
/// may end the replay there.
pub(super) async fn run(
    queue: QueueReader,
    publisher: Arc<Publisher>,
    topology: &Topology,
    filter: &DeadLetterFilter,
    mut pace: Option<Interval>,
    mut seen: impl FnMut(u64) -> ControlFlow<()>,
) -> Transferred<ReadError> {
    let mut replay = Transfer::new(queue, publisher);
    while let Some(UnsettledLetter { letter, claim, properties }) = replay.next().await {
        if seen(replay.moved()).is_break() {
            break;
        }
        if !filter.matches(&letter) {
            continue;
        }
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        let DeadLetter { routing_key, body, .. } = letter;
        let (exchange, properties) = (topology.entry(&routing_key).to_owned(), replay_properties(&properties));
        replay.send(claim, Successor { exchange, routing_key, properties, body });
    }
    replay.finish().await
}
