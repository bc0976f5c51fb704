//! A lock among all processes of one broker: an exclusive queue, which the broker takes away with the connection that made it,
//! however that ends.

use super::connect::amqp_error;
use lapin::{Channel, Connection, options::QueueDeclareOptions, types::FieldTable};
use std::time::Duration;

/// Longest wait for another process to be done: twice the heartbeats after which the broker gives up a frozen one.
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(40);
/// How often the lock is asked for: what is done under one mostly takes a fraction of a second.
const LOCK_EVERY: Duration = Duration::from_millis(100);
/// AMQP's code for a queue that is exclusive to another connection.
const RESOURCE_LOCKED: u16 = 405;

/// Why a lock was not had.
#[derive(Debug)]
pub(super) enum NotHeld {
    /// Another process has held it all the while.
    ByOther,
    Refused(lapin::Error),
}

/// A channel of the connection that holds the lock `name` from now on, had within `patience`. The lock goes with the
/// connection.
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
