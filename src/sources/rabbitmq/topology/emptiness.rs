//! Proof that nothing is left in a queue that is about to be deleted.
//!
//! AMQP cannot give it. A queue's count is of ready messages alone: neither those that somebody holds unsettled are in it nor
//! those that have left by dead-lettering and that the next queue has not confirmed. It is 0 too where the queue's leader
//! does not answer within 250 ms. `if-empty` is not implemented for quorum queues. Nor would a message of our own prove
//! anything that is sent behind the others: one that the next queue has refused is tried again after up to six minutes, and
//! later ones overtake it.
//!
//! RabbitMQ's own total has all of them. The management API reports a sample of it, which is seconds old. Each sample has the
//! queue's consumers of the same instant: a number of them that only we can have attached dates it, and shows that the
//! API is that of this broker.

use super::management::{Management, ManagementError};
use crate::sources::rabbitmq::exclusive::{ASK_EVERY, counts};
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use std::{ops::RangeInclusive, time::Duration};
use tokio::time::Instant;

/// Longest wait for proof. A sample is up to 10 seconds old, more where the broker is busy; and messages may be on their way.
pub(super) const PROOF_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two questions about the sample, which changes every 5 seconds.
const SAMPLE_AGAIN: Duration = Duration::from_millis(500);
/// How many consumers date a sample: drawn by lot, so that those of a run that was killed just now date none for us.
const MARKS: RangeInclusive<u32> = 16..=127;

/// Why there is no proof.
#[derive(Debug)]
pub(super) enum NotProved {
    Broker(lapin::Error),
    Management(ManagementError),
    /// The last sample had so many messages; or, where nobody but a holder can have them, so many hold them.
    Left(u64),
    /// No sample came after the question.
    Unsampled,
}

/// Waits until nothing is in `queue`: ready, unsettled, or on its way to the next queue. Nothing may enter it meanwhile.
pub(super) async fn nothing_is_left(
    connection: &Connection,
    management: &Management,
    queue: &str,
) -> Result<(), NotProved> {
    let marks = rand::random_range(MARKS);
    let marked = Marked::attach(connection, queue, marks).await.map_err(NotProved::Broker)?;
    let deadline = Instant::now() + PROOF_TIMEOUT;
    let mut seen = None;
    while Instant::now() < deadline {
        let sample = management.sample(queue).await.map_err(NotProved::Management)?;
        seen = sample.filter(|sample| sample.consumers == Some(marks)).map(|sample| sample.messages).or(seen);
        if seen == Some(Some(0)) {
            return marked.detach().await.map_err(NotProved::Broker);
        }
        tokio::time::sleep(SAMPLE_AGAIN).await;
    }
    marked.detach().await.map_err(NotProved::Broker)?;
    Err(seen.flatten().map_or(NotProved::Unsampled, NotProved::Left))
}

/// Waits until nobody holds messages of `queue`, which does not dead-letter, and has none that are ready. Whoever holds some
/// counts as its consumer, even if it consumes no more.
pub(super) async fn nobody_holds(connection: &Connection, queue: &str) -> Result<(), NotProved> {
    // With one of our own, a 0 from a leader that does not answer is none that counts.
    let marked = Marked::attach(connection, queue, 1).await.map_err(NotProved::Broker)?;
    let deadline = Instant::now() + PROOF_TIMEOUT;
    let mut others = None;
    while Instant::now() < deadline {
        let (_, consumers) = counts(&marked.channel, queue).await.map_err(NotProved::Broker)?;
        others = consumers.checked_sub(1).map(u64::from).or(others);
        if others == Some(0) {
            return marked.detach().await.map_err(NotProved::Broker);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    marked.detach().await.map_err(NotProved::Broker)?;
    Err(others.map_or(NotProved::Unsampled, NotProved::Left))
}

/// Consumers that are there to be counted. What they are given all the same goes back with them.
struct Marked {
    channel: Channel,
    _consumers: Vec<Consumer>,
}

impl Marked {
    async fn attach(connection: &Connection, queue: &str, marks: u32) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        channel.basic_qos(1, BasicQosOptions::default()).await?;
        let mut consumers = Vec::new();
        for mark in 0..marks {
            let (tag, options) = (format!("hookbro.migrate.{mark}"), BasicConsumeOptions::default());
            consumers.push(channel.basic_consume(queue.into(), tag.into(), options, FieldTable::default()).await?);
        }
        Ok(Self { channel, _consumers: consumers })
    }

    async fn detach(self) -> lapin::Result<()> {
        self.channel.close(200, "hookbro has counted".into()).await
    }
}
