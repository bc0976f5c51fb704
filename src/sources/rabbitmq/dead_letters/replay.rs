//! Replaying: dead letters climb the ladder again, many at a time, each confirmed before it leaves the dead-letter queue.
//!
//! A crash repeats what was confirmed and not yet removed, and loses none. Each publish has a channel of its own until it is
//! confirmed (see `publish`), and runs as a task, so that a wait for the next letter or for a rate delays none that is under way.

use super::queue::{Claim, QueueReader, ReadError, UnsettledLetter};
use crate::{
    operate::dead_letters::{DeadLetter, DeadLetterFilter},
    sources::rabbitmq::{
        headers::replay_properties,
        publish::{CHANNELS, PublishError, Publisher},
        topology::Topology,
    },
};
use std::{ops::ControlFlow, sync::Arc};
use tokio::{
    task::{JoinError, JoinSet},
    time::Interval,
};

/// Letters that wait for their confirm at once: as many as the publisher has channels for.
const WINDOW: usize = CHANNELS;

/// One replay. A letter that is not sent stays where it is.
pub struct Replay {
    queue: QueueReader,
    publisher: Arc<Publisher>,
    topology: Topology,
    under_way: JoinSet<Result<Claim, PublishError>>,
    replayed: u64,
    failed: Option<ReadError>,
}

/// The result of a replay.
#[must_use]
#[derive(Debug)]
pub struct Replayed {
    /// Confirmed and removed from the dead-letter queue.
    pub events: u64,
    /// The error that stopped it before its end, if any. Letters that were not replayed are untouched.
    pub stopped_by: Option<ReadError>,
}

/// Replays what `filter` selects, no faster than `pace`. `seen` gets the number replayed so far at each letter that is read, and
/// may end the replay there.
pub async fn run(
    mut replay: Replay,
    filter: &DeadLetterFilter,
    mut pace: Option<Interval>,
    mut seen: impl FnMut(u64) -> ControlFlow<()>,
) -> Replayed {
    while let Some(unsettled) = replay.next().await {
        if seen(replay.replayed()).is_break() {
            break;
        }
        if !filter.matches(&unsettled.letter) {
            continue;
        }
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        replay.send(unsettled);
    }
    replay.finish().await
}

impl Replay {
    pub fn new(queue: QueueReader, publisher: Publisher, topology: &Topology) -> Self {
        let (publisher, topology) = (Arc::new(publisher), topology.clone());
        Self { queue, publisher, topology, under_way: JoinSet::new(), replayed: 0, failed: None }
    }

    /// The next letter to decide about, oldest first; none at the end, or once something has failed. Meanwhile removes letters
    /// whose publish is confirmed.
    pub async fn next(&mut self) -> Option<UnsettledLetter> {
        while self.failed.is_none() {
            let (room, busy) = (self.under_way.len() < WINDOW, !self.under_way.is_empty());
            let more = self.queue.left() > 0;
            let next = tokio::select! {
                biased;
                Some(done) = self.under_way.join_next(), if busy => {
                    self.finish_one(done).await;
                    continue;
                }
                next = self.queue.next(), if room && more => next,
                else => return None,
            };
            match next {
                Ok(Some(unsettled)) => return Some(unsettled),
                Ok(None) => return None,
                Err(error) => self.failed = Some(error),
            }
        }
        None
    }

    /// Sends a letter up the ladder again; it is removed from the dead-letter queue once that is confirmed.
    pub fn send(&mut self, unsettled: UnsettledLetter) {
        let publisher = Arc::clone(&self.publisher);
        let UnsettledLetter { letter: DeadLetter { routing_key, body, .. }, claim, properties } = unsettled;
        let entry = self.topology.entry(&routing_key).to_owned();
        self.under_way.spawn(async move {
            publisher.publish(&entry, &routing_key, replay_properties(&properties), &body).await.map(|()| claim)
        });
    }

    /// Letters confirmed and removed so far.
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// Waits for what is under way, and answers the result of all.
    pub async fn finish(mut self) -> Replayed {
        while let Some(done) = self.under_way.join_next().await {
            self.finish_one(done).await;
        }
        let closed = self.queue.close_after_removing().await;
        let stopped_by = self.failed.or(closed.err());
        self.publisher.close().await;
        Replayed { events: self.replayed, stopped_by }
    }

    async fn finish_one(&mut self, done: Result<Result<Claim, PublishError>, JoinError>) {
        let removed = match done {
            Ok(Ok(claim)) => self.queue.remove(claim).await,
            Ok(Err(error)) => Err(error.into()),
            Err(broken) => Err(ReadError::Defect(broken)),
        };
        match removed {
            Ok(()) => self.replayed += 1,
            // The first is the cause; the others follow from it.
            Err(error) => drop(self.failed.get_or_insert(error)),
        }
    }
}
