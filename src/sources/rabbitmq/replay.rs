//! Replaying: dead events up the ladder anew, many at a time, each confirmed before it leaves the dead queue.
//!
//! A crash repeats what was confirmed and not yet taken out, and loses none. Each publish has a channel of its own until it
//! is confirmed (see `publish`), and runs as a task, so that waiting for the next event or for a rate holds up none that
//! is under way.

use super::{
    dead_queue::{Claim, DeadQueue, DeadQueueError, InHand},
    headers::replay_properties,
    publish::{CHANNELS, PublishError, Publisher},
    topology::Topology,
};
use crate::operate::dead_letters::DeadLetter;
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};

/// Events that wait for their confirm at once: as many as the publisher has channels for.
const WINDOW: usize = CHANNELS;

/// One replay. What is chosen is sent; what is not stays where it is.
pub struct Replay {
    queue: DeadQueue,
    publisher: Arc<Publisher>,
    topology: Topology,
    under_way: JoinSet<Result<Claim, PublishError>>,
    replayed: u64,
    failed: Option<DeadQueueError>,
}

/// What a replay came to.
#[must_use]
#[derive(Debug)]
pub struct Replayed {
    /// Confirmed and taken out of the dead queue.
    pub events: u64,
    /// What stopped it before its end, if anything did. What was not replayed is untouched.
    pub stopped_by: Option<DeadQueueError>,
}

impl Replay {
    pub fn new(queue: DeadQueue, publisher: Publisher, topology: &Topology) -> Self {
        let (publisher, topology) = (Arc::new(publisher), topology.clone());
        Self { queue, publisher, topology, under_way: JoinSet::new(), replayed: 0, failed: None }
    }

    /// The next event to decide about, oldest first; nothing at the end, or once something has failed. Settles meanwhile
    /// what was sent before.
    pub async fn next(&mut self) -> Option<InHand> {
        while self.failed.is_none() {
            let (room, busy) = (self.under_way.len() < WINDOW, !self.under_way.is_empty());
            let more = self.queue.left() > 0;
            let next = tokio::select! {
                biased;
                Some(done) = self.under_way.join_next(), if busy => {
                    self.settle(done).await;
                    continue;
                }
                next = self.queue.next(), if room && more => next,
                else => return None,
            };
            match next {
                Ok(Some(in_hand)) => return Some(in_hand),
                Ok(None) => return None,
                Err(error) => self.failed = Some(error),
            }
        }
        None
    }

    /// Sends `in_hand` up the ladder anew; it is taken out of the dead queue once that is confirmed.
    pub fn send(&mut self, in_hand: InHand) {
        let publisher = Arc::clone(&self.publisher);
        let InHand { event: DeadLetter { routing_key, body, .. }, claim, properties } = in_hand;
        let entry = self.topology.entry(&routing_key).to_owned();
        self.under_way.spawn(async move {
            publisher.publish(&entry, &routing_key, replay_properties(&properties), &body).await.map(|()| claim)
        });
    }

    /// Events confirmed and taken out so far.
    pub fn replayed(&self) -> u64 {
        self.replayed
    }

    /// Waits for what is under way, and says what came of all.
    pub async fn finish(mut self) -> Replayed {
        while let Some(done) = self.under_way.join_next().await {
            self.settle(done).await;
        }
        let closed = self.queue.close_after_removing().await;
        let stopped_by = self.failed.or(closed.err());
        self.publisher.close().await;
        Replayed { events: self.replayed, stopped_by }
    }

    async fn settle(&mut self, done: Result<Result<Claim, PublishError>, JoinError>) {
        let settled = match done {
            Ok(Ok(claim)) => self.queue.remove(claim).await,
            Ok(Err(error)) => Err(error.into()),
            Err(broken) => Err(DeadQueueError::Defect(broken)),
        };
        match settled {
            Ok(()) => self.replayed += 1,
            // The first says most; the others follow from it.
            Err(error) => drop(self.failed.get_or_insert(error)),
        }
    }
}
