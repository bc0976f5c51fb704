//! The index of the queues of parked events: one message for each project, its id, in a queue of its own. AMQP lists no queues.
//!
//! Whoever makes a queue enters it. Whoever reads takes all messages out under a lock, and gives them back by closing the
//! channel; what is there twice, or was read very often, is written anew.

use crate::{
    event::ProjectId,
    sources::rabbitmq::{
        connect::{ConnectError, Connector, close},
        exclusive::{LOCK_TIMEOUT, NotHeld, lock},
        headers::delivery_count,
        publish::{EventProperties, PublishError, Publisher},
        topology::Topology,
    },
};
use bytes::Bytes;
use lapin::{
    Channel, Connection,
    options::{BasicAckOptions, BasicGetOptions},
};
use std::collections::BTreeSet;

/// Entries read at most: a bound for a queue that something else fills.
const MOST_ENTRIES: usize = 100_000;
/// After so many readings an entry is written anew: each counts towards the queue's delivery limit, a million.
const OFTEN: i64 = 1_000;

/// Why the index cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read the index of parked events, queue `{queue}`: {source}")]
    Read { queue: String, source: lapin::Error },
    #[error("another process has been reading the index of parked events, queue `{queue}`, for {LOCK_TIMEOUT:?}")]
    Locked { queue: String },
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// The projects that have a queue.
pub(super) async fn read(
    connector: &Connector,
    topology: &Topology,
    publisher: &Publisher,
) -> Result<Vec<ProjectId>, IndexError> {
    // A connection of its own: the lock ends with it.
    let connection = connector.connect("hookbro parked index").await?;
    let found = read_on(&connection, topology, publisher).await;
    close(connection).await;
    found
}

async fn read_on(
    connection: &Connection,
    topology: &Topology,
    publisher: &Publisher,
) -> Result<Vec<ProjectId>, IndexError> {
    let queue = topology.parked();
    let failed = |source| IndexError::Read { queue: queue.to_owned(), source };
    let channel = lock(connection, &topology.lock(queue), LOCK_TIMEOUT).await.map_err(|not_held| match not_held {
        NotHeld::ByOther => IndexError::Locked { queue: queue.to_owned() },
        NotHeld::Refused(source) => failed(source),
    })?;
    let mut found = BTreeSet::new();
    for _ in 0..MOST_ENTRIES {
        let taken = channel.basic_get(queue.into(), BasicGetOptions::default()).await.map_err(failed)?;
        let Some(entry) = taken else { break };
        let Ok(project) = ProjectId::try_new(Bytes::copy_from_slice(&entry.data)) else {
            tracing::warn!(queue, "an entry of the index of parked events names no project; it is left alone");
            continue;
        };
        let is_new = found.insert(project);
        if is_new && delivery_count(&entry.properties) >= OFTEN {
            publisher.publish(queue, "", EventProperties::default().to_amqp(), &entry.data).await?;
        } else if is_new {
            continue;
        }
        remove(&channel, entry.delivery_tag).await.map_err(failed)?;
    }
    Ok(found.into_iter().collect())
}

#[expect(clippy::disallowed_methods, reason = "an entry of the index is no event, and another one stands for it")]
async fn remove(channel: &Channel, tag: u64) -> lapin::Result<()> {
    channel.basic_ack(tag, BasicAckOptions::default()).await
}
