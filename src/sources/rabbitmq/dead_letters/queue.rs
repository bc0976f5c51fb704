//! Reading the dead-letter queue, and removing letters from it.
//!
//! A reader has all letters unsettled at once: when its connection ends, however it ends, the broker has them back in the old
//! order (see `snapshot`). The price is memory: the broker sends faster than most readers work. Each reading counts towards the
//! queue's delivery limit of a million.

use super::{
    ack_barrier::close_after_acks,
    json_view,
    snapshot::{Begun, MOST, Snapshot},
};
use crate::{
    operate::dead_letters::DeadLetter,
    sources::rabbitmq::{
        connect::{ConnectError, Connector, close},
        exclusive::{NotHeld, lock},
        headers::dead_letter,
        publish::PublishError,
        topology::Topology,
        transfer::{Claim, Reader},
    },
};
use lapin::{BasicProperties, Connection, options::BasicAckOptions};
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinError;

/// Why the dead-letter queue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read queue `{queue}`: {source}")]
    Read { queue: String, source: lapin::Error },
    #[error("queue `{queue}` holds {left} dead letters; {most} can be read in their order")]
    TooMany { queue: String, left: u32, most: usize },
    #[error(
        "another process has been reading queue `{queue}` for {lock:?}; try again when it is done; if no process reads it, \
         see who holds `{queue}.lock`"
    )]
    Locked { queue: String, lock: Duration },
    #[error(transparent)]
    Replay(#[from] PublishError),
    #[error("replaying a dead letter ended in a defect of hookbro: {0}")]
    Defect(#[from] JoinError),
}

/// What a reading may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Letters that may be unsettled at once.
    pub letters: usize,
    /// Longest wait for another process to be done.
    pub lock: Duration,
}

/// One reading of the dead-letter queue, from its oldest letter to the newest that was there at the beginning.
pub struct QueueReader {
    queue: String,
    connection: Connection,
    snapshot: Snapshot,
}

/// A letter that was read: the broker keeps it until it is removed.
#[derive(Debug)]
pub struct UnsettledLetter {
    pub letter: DeadLetter,
    pub(super) claim: Claim,
    pub(super) properties: BasicProperties,
}

impl UnsettledLetter {
    /// Properties and headers, for people.
    pub fn properties(&self) -> Value {
        json_view::properties(&self.properties)
    }
}

impl QueueReader {
    /// Begins a reading, unless it would take more than `limits`. A dropped reader closes its connection.
    pub async fn open_within(connector: &Connector, topology: &Topology, limits: Limits) -> Result<Self, ReadError> {
        let queue = topology.dead().to_owned();
        let connection = connector.connect("hookbro dead").await?;
        let failed = |source| ReadError::Read { queue: queue.clone(), source };
        // The broker releases it once it has read all that a process sent before it died, a consumer's beginning included.
        let channel =
            lock(&connection, &format!("{queue}.lock"), limits.lock).await.map_err(|not_held| match not_held {
                NotHeld::ByOther => ReadError::Locked { queue: queue.clone(), lock: limits.lock },
                NotHeld::Refused(source) => failed(source),
            })?;
        let most = limits.letters.min(MOST);
        match Snapshot::begin(&connection, channel, &queue, most).await.map_err(failed)? {
            Begun::Snapshot(snapshot) => Ok(Self { queue, connection, snapshot }),
            Begun::TooMany(left) => Err(ReadError::TooMany { queue, left, most }),
        }
    }

    pub async fn close(self) {
        drop(self.snapshot);
        close(self.connection).await;
    }

    fn failed(&self, source: lapin::Error) -> ReadError {
        ReadError::Read { queue: self.queue.clone(), source }
    }
}

impl Reader for QueueReader {
    type Message = UnsettledLetter;
    type Error = ReadError;

    fn left(&self) -> u32 {
        self.snapshot.left()
    }

    async fn next(&mut self) -> Result<Option<UnsettledLetter>, ReadError> {
        let next = self.snapshot.next().await.map_err(|source| self.failed(source))?;
        Ok(next.map(|delivery| {
            let letter = dead_letter(&delivery.properties, delivery.routing_key.as_str(), delivery.data.into());
            UnsettledLetter { letter, claim: Claim(delivery.delivery_tag), properties: delivery.properties }
        }))
    }

    #[expect(clippy::disallowed_methods, reason = "a dead letter has no verdict: it leaves by a replay or a discard")]
    async fn remove(&mut self, claim: Claim) -> Result<(), ReadError> {
        let acked = self.snapshot.channel().basic_ack(claim.0, BasicAckOptions::default()).await;
        acked.map_err(|source| self.failed(source))
    }

    async fn close_after_removing(self) -> Result<(), ReadError> {
        let closed = close_after_acks(&self.connection, self.snapshot.channel(), &self.queue).await;
        closed.map_err(|source| self.failed(source))?;
        self.close().await;
        Ok(())
    }
}
