//! Looking into the dead queue, and taking events out of it.
//!
//! Everything that stands there is had in hand at once, unacknowledged: when the connection ends, however it ends, the broker
//! has it all back in the old order (see `look`). The price is memory: the broker sends faster than most of what is done with an
//! event. Each look counts towards the queue's delivery limit of a million.

use super::{
    connect::{ConnectError, Connector, close},
    headers::dead_event,
    heard::close_once_heard,
    lock::{NotHeld, lock},
    look::{Begun, Look, MOST},
    publish::PublishError,
    shown,
    topology::Topology,
};
use crate::operate::dead_letters::DeadLetter;
use lapin::{BasicProperties, Connection, options::BasicAckOptions, types::DeliveryTag};
use serde_json::Value;
use std::time::Duration;
use tokio::task::JoinError;

/// Why the dead queue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DeadQueueError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read queue `{queue}`: {source}")]
    Read { queue: String, source: lapin::Error },
    #[error("queue `{queue}` holds {left} events; {most} can be looked through in their order")]
    TooMany { queue: String, left: u32, most: usize },
    #[error(
        "another process has been looking through queue `{queue}` for {lock:?}; when it is done, try again; if none is, \
         see who holds `{queue}.lock`"
    )]
    Locked { queue: String, lock: Duration },
    #[error(transparent)]
    Replay(#[from] PublishError),
    #[error("replaying an event ended in a defect of hookbro: {0}")]
    Defect(JoinError),
}

/// What a look may cost whoever takes it.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Events that may be in hand.
    pub events: usize,
    /// Longest wait for another process to be done.
    pub lock: Duration,
}

/// One look through the dead queue, from its oldest event to the newest that stood there at the beginning.
pub struct DeadQueue {
    queue: String,
    connection: Connection,
    look: Look,
}

/// An event in hand: still the broker's until it is removed.
#[derive(Debug)]
pub struct InHand {
    pub event: DeadLetter,
    pub claim: Claim,
    pub(super) properties: BasicProperties,
}

/// What it takes to remove one event, without holding its body.
#[derive(Debug)]
pub struct Claim(DeliveryTag);

impl InHand {
    /// Properties and headers, for people.
    pub fn properties(&self) -> Value {
        shown::properties(&self.properties)
    }
}

impl DeadQueue {
    /// A look that gives up where it would take more than `patience`. Dropped, its connection is closed.
    pub async fn open_within(
        connector: &Connector,
        topology: &Topology,
        patience: Patience,
    ) -> Result<Self, DeadQueueError> {
        let queue = topology.dead().to_owned();
        let connection = connector.connect("hookbro dead").await?;
        let failed = |source| DeadQueueError::Read { queue: queue.clone(), source };
        // The broker lets go of it once it has read all that a process sent before it died, a consumer's beginning included.
        let channel =
            lock(&connection, &format!("{queue}.lock"), patience.lock).await.map_err(|not_held| match not_held {
                NotHeld::ByOther => DeadQueueError::Locked { queue: queue.clone(), lock: patience.lock },
                NotHeld::Refused(source) => failed(source),
            })?;
        let most = patience.events.min(MOST);
        match Look::begin(&connection, channel, &queue, most).await.map_err(failed)? {
            Begun::Look(look) => Ok(Self { queue, connection, look }),
            Begun::TooMany(left) => Err(DeadQueueError::TooMany { queue, left, most }),
        }
    }

    /// How many there were at the beginning and have not been seen yet.
    pub fn left(&self) -> u32 {
        self.look.left()
    }

    /// The next event, oldest first. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Option<InHand>, DeadQueueError> {
        let next = self.look.next().await.map_err(|source| self.failed(source))?;
        Ok(next.map(|delivery| {
            let event = dead_event(&delivery.properties, delivery.routing_key.as_str(), delivery.data.into());
            InHand { event, claim: Claim(delivery.delivery_tag), properties: delivery.properties }
        }))
    }

    /// Takes an event out for good. Whoever calls this has it safe elsewhere, or was told to let it go.
    pub async fn remove(&self, claim: Claim) -> Result<(), DeadQueueError> {
        let acked = self.look.channel().basic_ack(claim.0, BasicAckOptions::default()).await;
        acked.map_err(|source| self.failed(source))
    }

    /// Ends the look so that the broker hears of every removal.
    pub async fn close_after_removing(self) -> Result<(), DeadQueueError> {
        let heard = close_once_heard(&self.connection, self.look.channel(), &self.queue).await;
        heard.map_err(|source| self.failed(source))?;
        self.close().await;
        Ok(())
    }

    pub async fn close(self) {
        drop(self.look);
        close(self.connection).await;
    }

    fn failed(&self, source: lapin::Error) -> DeadQueueError {
        DeadQueueError::Read { queue: self.queue.clone(), source }
    }
}
