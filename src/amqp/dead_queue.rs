//! Looking into the dead queue, and taking events out of it.
//!
//! Everything that stands there is had in hand at once, unacknowledged: when the connection ends, however it ends, the broker
//! has it all back in the old order. Had it less, it would put that behind what an earlier look gave back (measured on
//! RabbitMQ 3.10: a quorum queue keeps what comes back in a queue of its own, first come, first out). The price is memory:
//! the broker sends faster than most of what is done with an event. Each look counts towards the queue's delivery limit
//! of a million.

use super::{
    connect::{ConnectError, Connector, close},
    headers::dead_event,
    publish::PublishError,
    shown,
    topology::Topology,
};
use crate::domain::DeadEvent;
use futures_util::StreamExt as _;
use lapin::{
    BasicProperties, Channel, Connection, Consumer,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::{DeliveryTag, FieldTable},
};
use serde_json::Value;
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};
use tokio::task::JoinError;

/// A broker that sends nothing more for so long has no more: the count was taken before others took some away.
const IDLE: Duration = Duration::from_secs(3);

/// Why the dead queue cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DeadQueueError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read queue `{queue}`: {source}")]
    Read { queue: String, source: lapin::Error },
    #[error("queue `{queue}` holds {left} events; {most} can be looked through in their order")]
    TooMany { queue: String, left: u32, most: usize },
    #[error(transparent)]
    Replay(#[from] PublishError),
    #[error("replaying an event ended in a defect of hookbro: {0}")]
    Defect(JoinError),
}

/// Largest prefetch that AMQP can say. Without any, a quorum queue gives 2,000 events and no more (RabbitMQ 3.10).
const MOST_PER_CONSUMER: u16 = u16::MAX;
/// Consumers of one look at most, two million events. Up to so many the broker keeps in the order of their tags, and gives
/// their events back in that order.
const MAX_CONSUMERS: usize = 32;
/// Longest wait for others that look at the queue. Then both see a part, and order suffers where they are not one after the
/// other; that is better than never being let in by a process that hangs.
const ALONE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often that is asked.
const ALONE_EVERY: Duration = Duration::from_millis(50);
/// Once so many acknowledgements are on their way, a quorum queue's channel keeps further ones to itself for a moment, and
/// loses them if it is closed then: 33 of 3,000 were heard (RabbitMQ 3.10). Nothing tells when it has caught up, which
/// takes it milliseconds.
const CATCH_UP: Duration = Duration::from_millis(500);

/// One look through the dead queue, from its oldest event to the newest that stood there at the beginning.
pub struct DeadQueue {
    queue: String,
    connection: Connection,
    channel: Channel,
    /// Those that have events to give, the next one first.
    consumers: VecDeque<Consumer>,
    /// Events that the first of them has given.
    given: u16,
    left: u32,
}

/// An event in hand: still the broker's until it is removed.
#[derive(Debug)]
pub struct InHand {
    pub event: DeadEvent,
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

/// Waits until nobody else consumes `queue`, and says how many messages are ready then. Who was killed just now holds events
/// until the broker has noticed; a look that begins before would have the later ones first, and leave them so.
async fn alone(channel: &Channel, queue: &str) -> lapin::Result<u32> {
    let began = Instant::now();
    loop {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let stands = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
        if stands.consumer_count() == 0 || began.elapsed() > ALONE_TIMEOUT {
            return Ok(stands.message_count());
        }
        tokio::time::sleep(ALONE_EVERY).await;
    }
}

impl DeadQueue {
    pub async fn open(connector: &Connector, topology: &Topology) -> Result<Self, DeadQueueError> {
        let queue = topology.dead().to_owned();
        let connection = connector.connect("hookbro dead").await?;
        let failed = |source| DeadQueueError::Read { queue: queue.clone(), source };
        let channel = connection.create_channel().await.map_err(failed)?;
        let left = alone(&channel, &queue).await.map_err(failed)?;
        let needed = usize::try_from(left).unwrap_or(usize::MAX).div_ceil(MOST_PER_CONSUMER.into());
        if needed > MAX_CONSUMERS {
            let most = MAX_CONSUMERS * usize::from(MOST_PER_CONSUMER);
            return Err(DeadQueueError::TooMany { queue, left, most });
        }
        channel.basic_qos(MOST_PER_CONSUMER, BasicQosOptions::default()).await.map_err(failed)?;
        let mut consumers = VecDeque::new();
        for number in 0..needed {
            let tag = format!("hookbro.dead.{number:02}");
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumed = channel.basic_consume(queue.as_str().into(), tag.into(), options, arguments).await;
            consumers.push_back(consumed.map_err(failed)?);
        }
        Ok(Self { queue, connection, channel, consumers, given: 0, left })
    }

    /// How many there were at the beginning and have not been seen yet.
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The next event, oldest first. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Option<InHand>, DeadQueueError> {
        while let Some(consumer) = self.consumers.front_mut().filter(|_| self.left > 0) {
            if self.given < MOST_PER_CONSUMER
                && let Ok(Some(delivery)) = tokio::time::timeout(IDLE, consumer.next()).await
            {
                let delivery = delivery.map_err(|source| DeadQueueError::Read { queue: self.queue.clone(), source })?;
                (self.left, self.given) = (self.left - 1, self.given + 1);
                let event = dead_event(&delivery.properties, delivery.routing_key.as_str(), delivery.data.into());
                let (claim, properties) = (Claim(delivery.delivery_tag), delivery.properties);
                return Ok(Some(InHand { event, claim, properties }));
            }
            // What it may still get came later than what stood there at the beginning.
            self.consumers.pop_front();
            self.given = 0;
        }
        Ok(None)
    }

    /// Takes an event out for good. Whoever calls this has it safe elsewhere, or was told to let it go.
    pub async fn remove(&self, claim: Claim) -> Result<(), DeadQueueError> {
        let acked = self.channel.basic_ack(claim.0, BasicAckOptions::default()).await;
        acked.map_err(|source| DeadQueueError::Read { queue: self.queue.clone(), source })
    }

    /// Ends the look so that the broker hears of every removal.
    pub async fn close_after_removing(self) -> Result<(), DeadQueueError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        // Behind all acknowledgements on the channel's way to the broker, whose answer says that it has read them.
        let read = self.channel.queue_declare(self.queue.as_str().into(), passive, FieldTable::default()).await;
        read.map_err(|source| DeadQueueError::Read { queue: self.queue.clone(), source })?;
        tokio::time::sleep(CATCH_UP).await;
        self.close().await;
        Ok(())
    }

    pub async fn close(self) {
        drop(self.consumers);
        close(self.connection).await;
    }
}
