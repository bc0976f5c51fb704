//! Looking into the dead queue, and taking events out of it.
//!
//! Browsing consumes without acknowledging: when the connection ends, however it ends, the broker has everything back in
//! the old order. Each look counts towards the queue's delivery limit of a million.

use super::{
    connect::{ConnectError, Connector, close},
    headers::{dead_event, replay_properties},
    publish::{PublishError, Publisher},
    topology::Topology,
};
use crate::domain::DeadEvent;
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Connection, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, QueueDeclareOptions},
    types::FieldTable,
};
use std::time::Duration;

/// A broker that sends nothing more for so long has no more: the count was taken before others took some away.
const IDLE: Duration = Duration::from_secs(3);

/// Why the dead queue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DeadQueueError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read queue `{queue}`: {source}")]
    Read { queue: String, source: lapin::Error },
    #[error(transparent)]
    Replay(#[from] PublishError),
}

/// One look through the dead queue, from its oldest event to the newest that stood there at the beginning.
pub struct DeadQueue {
    queue: String,
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    left: u32,
}

/// An event in hand: still the broker's until it is removed.
#[derive(Debug)]
pub struct InHand {
    pub event: DeadEvent,
    pub claim: Claim,
    properties: BasicProperties,
}

/// What it takes to remove one event, without holding its body.
#[derive(Debug)]
pub struct Claim(u64);

impl DeadQueue {
    pub async fn open(connector: &Connector, topology: &Topology) -> Result<Self, DeadQueueError> {
        let queue = topology.dead().to_owned();
        let connection = connector.connect("hookbro dead").await?;
        let failed = |source| DeadQueueError::Read { queue: queue.clone(), source };
        let channel = connection.create_channel().await.map_err(failed)?;
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let stands = channel.queue_declare(queue.as_str().into(), passive, FieldTable::default()).await;
        let left = stands.map_err(failed)?.message_count();
        // No prefetch: what is browsed stays unacknowledged to the end.
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumed = channel.basic_consume(queue.as_str().into(), "hookbro.dead".into(), options, arguments).await;
        let consumer = consumed.map_err(failed)?;
        Ok(Self { queue, connection, channel, consumer, left })
    }

    /// How many there were at the beginning and have not been seen yet.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The next event, oldest first.
    pub async fn next(&mut self) -> Result<Option<InHand>, DeadQueueError> {
        if self.left == 0 {
            return Ok(None);
        }
        let Ok(Some(delivery)) = tokio::time::timeout(IDLE, self.consumer.next()).await else { return Ok(None) };
        let delivery = delivery.map_err(|source| DeadQueueError::Read { queue: self.queue.clone(), source })?;
        self.left -= 1;
        let event = dead_event(&delivery.properties, delivery.routing_key.as_str(), delivery.data.into());
        Ok(Some(InHand { event, claim: Claim(delivery.delivery_tag), properties: delivery.properties }))
    }

    /// Takes an event out for good. Whoever calls this has it safe elsewhere, or was told to let it go.
    pub async fn remove(&self, claim: Claim) -> Result<(), DeadQueueError> {
        let acked = self.channel.basic_ack(claim.0, BasicAckOptions::default()).await;
        acked.map_err(|source| DeadQueueError::Read { queue: self.queue.clone(), source })
    }

    /// Sends an event up the ladder anew, and takes it out once that is confirmed: a crash between the two repeats it.
    pub async fn replay(
        &self,
        publisher: &Publisher,
        topology: &Topology,
        in_hand: InHand,
    ) -> Result<(), DeadQueueError> {
        let properties = replay_properties(&in_hand.properties);
        let event = &in_hand.event;
        publisher.publish(topology.entry(&event.routing_key), &event.routing_key, properties, &event.body).await?;
        self.remove(in_hand.claim).await
    }

    pub async fn close(self) {
        drop(self.consumer);
        close(self.connection).await;
    }
}
