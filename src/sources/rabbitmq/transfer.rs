//! Transferring: messages leave a queue for another exchange, many at a time, each confirmed there before it is removed here.
//!
//! A crash repeats what was confirmed and not yet removed, and loses none. Each publish has a channel of its own until it is
//! confirmed (see `publish`), and runs as a task, so that a wait for the next message or for a rate delays none that is under way.

use super::publish::{CHANNELS, PublishError, Publisher};
use bytes::Bytes;
use lapin::{BasicProperties, types::DeliveryTag};
use std::sync::Arc;
use tokio::task::{JoinError, JoinSet};

/// Messages that wait for their confirm at once: as many as the publisher has channels for.
const WINDOW: usize = CHANNELS;

/// What it takes to remove one message, without its body.
#[derive(Debug)]
pub(super) struct Claim(pub(super) DeliveryTag);

/// Reads a queue message by message; the broker keeps each until it is removed.
pub(super) trait Reader: Send {
    type Message: Send;
    type Error: From<PublishError> + From<JoinError> + Send;

    /// How many were there at the beginning and have not been read yet.
    fn left(&self) -> u32;

    /// The next message, oldest first. Safe to drop while it waits.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Message>, Self::Error>> + Send;

    /// Removes a message for good. Whoever calls this has it safe elsewhere, or was asked to discard it.
    fn remove(&mut self, claim: Claim) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ends the reading so that the broker applies every removal.
    fn close_after_removing(self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// The message that takes another one's place.
#[derive(Debug)]
pub(super) struct Successor {
    pub exchange: String,
    pub routing_key: String,
    pub properties: BasicProperties,
    pub body: Bytes,
}

/// One transfer. A message that is not sent stays where it is.
pub(super) struct Transfer<R: Reader> {
    reader: R,
    publisher: Arc<Publisher>,
    under_way: JoinSet<Result<Claim, PublishError>>,
    moved: u64,
    failed: Option<R::Error>,
}

/// The result of a transfer.
#[must_use]
#[derive(Debug)]
pub(super) struct Transferred<E> {
    /// Messages confirmed and removed.
    pub moved: u64,
    /// The error that stopped it before its end, if any. Messages that were not moved are untouched.
    pub stopped_by: Option<E>,
}

impl<R: Reader> Transfer<R> {
    pub(super) fn new(reader: R, publisher: Arc<Publisher>) -> Self {
        Self { reader, publisher, under_way: JoinSet::new(), moved: 0, failed: None }
    }

    /// The next message to decide about, oldest first; none at the end, or once something has failed. Meanwhile removes messages
    /// whose publish is confirmed.
    pub(super) async fn next(&mut self) -> Option<R::Message> {
        while self.failed.is_none() {
            let (room, busy) = (self.under_way.len() < WINDOW, !self.under_way.is_empty());
            let more = self.reader.left() > 0;
            let next = tokio::select! {
                biased;
                Some(done) = self.under_way.join_next(), if busy => {
                    self.finish_one(done).await;
                    continue;
                }
                next = self.reader.next(), if room && more => next,
                else => return None,
            };
            match next {
                Ok(Some(message)) => return Some(message),
                Ok(None) => return None,
                Err(error) => self.failed = Some(error),
            }
        }
        None
    }

    /// Publishes the successor of a message, which is removed once that is confirmed.
    pub(super) fn send(&mut self, claim: Claim, successor: Successor) {
        let publisher = Arc::clone(&self.publisher);
        self.under_way.spawn(async move {
            let Successor { exchange, routing_key, properties, body } = successor;
            publisher.publish(&exchange, &routing_key, properties, &body).await.map(|()| claim)
        });
    }

    /// Messages confirmed and removed so far.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Waits for what is under way, and answers the result of all.
    pub(super) async fn finish(mut self) -> Transferred<R::Error> {
        while let Some(done) = self.under_way.join_next().await {
            self.finish_one(done).await;
        }
        let closed = self.reader.close_after_removing().await;
        Transferred { moved: self.moved, stopped_by: self.failed.or(closed.err()) }
    }

    async fn finish_one(&mut self, done: Result<Result<Claim, PublishError>, JoinError>) {
        let removed = match done {
            Ok(Ok(claim)) => self.reader.remove(claim).await,
            Ok(Err(error)) => Err(error.into()),
            Err(broken) => Err(broken.into()),
        };
        match removed {
            Ok(()) => self.moved += 1,
            // The first is the cause; the others follow from it.
            Err(error) => drop(self.failed.get_or_insert(error)),
        }
    }
}
