//! Having a queue to oneself: a lock among all hookbro processes of one broker, and a wait for everybody else's consumers.
//!
//! The lock is an exclusive queue, which the broker deletes with the connection that declared it, however that ends.

use super::connect::amqp_error;
use lapin::{Channel, Connection, options::QueueDeclareOptions, types::FieldTable};
use std::time::{Duration, Instant};

/// Longest wait for another process to be done: twice the heartbeats after which the broker gives up a frozen one.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(40);
/// How often the lock is asked for: what is done under one mostly takes a fraction of a second.
const LOCK_EVERY: Duration = Duration::from_millis(100);
/// AMQP's code for a queue that is exclusive to another connection.
const RESOURCE_LOCKED: u16 = 405;
/// Longest wait for others than hookbro that consume the queue. Then both see a part, and order suffers where they are not one
/// after the other; that is better than waiting for ever on a process that hangs.
const ALONE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the queue is asked, and how long it must have no consumer: a channel that is ending may be about to consume.
pub(super) const ASK_EVERY: Duration = Duration::from_millis(50);

/// Why the lock was not acquired.
#[derive(Debug)]
pub(super) enum NotHeld {
    /// Another process has held it all the while.
    ByOther,
    Refused(lapin::Error),
}

/// Acquires the lock `name` within `patience`. Answers a channel of the connection that holds it; the lock is released when the
/// connection ends.
pub(super) async fn lock(connection: &Connection, name: &str, patience: Duration) -> Result<Channel, NotHeld> {
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let taken = async {
        loop {
            // A refusal closes the channel.
            let channel = connection.create_channel().await?;
            match channel.queue_declare(name.into(), options, FieldTable::default()).await {
                Ok(_) => return Ok(channel),
                Err(error) if amqp_error(&error, RESOURCE_LOCKED).is_some() => tokio::time::sleep(LOCK_EVERY).await,
                Err(source) => return Err(source),
            }
        }
    };
    match tokio::time::timeout(patience, taken).await {
        Ok(taken) => taken.map_err(NotHeld::Refused),
        Err(_) => Err(NotHeld::ByOther),
    }
}

/// Waits until nobody else consumes, and answers how many messages are ready then. A process that was killed just now has
/// unsettled messages until the broker notices; a snapshot that begins before would get the later ones first, and leave them so.
pub(super) async fn alone(channel: &Channel, queue: &str) -> lapin::Result<u32> {
    let (began, mut seen) = (Instant::now(), true);
    loop {
        let (messages, consumers) = counts(channel, queue).await?;
        let before = std::mem::replace(&mut seen, consumers > 0);
        if !(before || seen) || began.elapsed() > ALONE_TIMEOUT {
            return Ok(messages);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Ready messages, and consumers. The broker answers after it has read what was sent on the channel before.
pub(super) async fn counts(channel: &Channel, queue: &str) -> lapin::Result<(u32, u32)> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    Ok((queue.message_count(), queue.consumer_count()))
}
