//! The changeover from one arrangement of lanes to the next, without a gap: the new route exists before the old one is deleted,
//! so that meanwhile an event may come twice, and is never lost. The newest arrangement is that of the process that started last.
//!
//! AMQP cannot list bindings, so a small queue, the lane record, keeps the names of all forks and lanes that were declared. One
//! process at a time changes them, the one that holds the lock.

use super::{
    Queue, Topology,
    declare::{DeclareError, declare},
    ladder_queues, lane_queue,
};
use crate::{
    pipeline::source::Occasion,
    sources::rabbitmq::{
        connect::{ConnectError, Connector, close, not_found},
        exclusive::{LOCK_TIMEOUT, NotHeld, lock},
        headers::PERSISTENT,
    },
};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    message::Delivery,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeleteOptions,
        QueueDeclareOptions,
    },
    types::FieldTable,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// Longest wait for the broker to confirm the lane record; under an alarm it confirms nothing.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the last new binding and the deletion of an old route: the broker may be routing a message by the old bindings alone
/// at that moment, which takes it microseconds.
pub(super) const ROUTING_GRACE: Duration = Duration::from_millis(500);

/// A lane that the configuration no longer names, with messages in it that nobody consumes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranded {
    pub lane: String,
    pub messages: u64,
}

impl fmt::Display for Stranded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lane, messages } = self;
        write!(
            f,
            "lane `{lane}` is no longer configured, and nobody consumes the {messages} messages in it: put it back with keys = []"
        )
    }
}

/// The lane record: what was declared before, and may still exist.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct LaneRecord {
    /// The fork of the newest arrangement that was completed; none if it has no lanes.
    newest: Option<String>,
    /// Exchanges that route events to lanes.
    forks: BTreeSet<String>,
    /// Lanes, and how many delays each has.
    lanes: BTreeMap<String, usize>,
}

impl LaneRecord {
    fn of(topology: &Topology) -> Self {
        let lanes = topology.lane_ladders().map(|(name, delays)| (name.to_owned(), delays));
        let newest = topology.fork.as_ref().map(|fork| fork.exchange.clone());
        Self { forks: newest.iter().cloned().collect(), newest, lanes: lanes.collect() }
    }

    /// Adds what `other`, the later one, has besides.
    fn join(&mut self, other: Self) {
        self.newest = other.newest;
        self.forks.extend(other.forks);
        for (lane, delays) in other.lanes {
            let known = self.lanes.entry(lane).or_default();
            *known = delays.max(*known);
        }
    }
}

/// Declares `topology`, and deletes the routes that led events elsewhere before. Answers the lanes that still hold messages.
///
/// On a reconnect to lanes that another process has arranged meanwhile, only its queues are declared, and events keep their
/// routes.
pub async fn apply(
    connector: &Connector,
    connection: &Connection,
    topology: &Topology,
    occasion: Occasion,
) -> Result<Vec<Stranded>, ApplyError> {
    if topology.fork.is_none() && !exists(connection, &lane_record_queue(topology)).await? {
        return Ok(declare(connection, topology).await.map(|()| Vec::new())?);
    }
    // Not on the consumers' connection: one that publishes is blocked under an alarm, acknowledgements included.
    let own = connector.connect("hookbro lanes").await?;
    let done = match Changeover::begin(&own, topology, occasion).await {
        Ok(Some(changeover)) => match declare(connection, topology).await {
            Ok(()) => changeover.finish(connection).await,
            Err(error) => Err(error.into()),
        },
        Ok(None) => {
            tracing::warn!(
                "events follow the lanes that another replica set after this one started; restart this replica with the \
                 same lanes"
            );
            declare(connection, &topology.without_entrances()).await.map(|()| Vec::new()).map_err(ApplyError::from)
        }
        Err(error) => Err(error),
    };
    close(own).await;
    done
}

/// Lanes of earlier configurations that still hold messages. Changes nothing.
pub async fn stranded(connection: &Connection, topology: &Topology) -> Result<Vec<Stranded>, ApplyError> {
    let queue = lane_record_queue(topology);
    if !exists(connection, &queue).await? {
        return Ok(Vec::new());
    }
    let refused = |source| refused(&queue, source);
    // What is read is out of the queue for the moment, and no other process may find it empty.
    let channel = locked(connection, topology.work_queue()).await?;
    let (record, _) = read(&channel, &queue).await.map_err(refused)?;
    // What was read goes back with its channel.
    channel.close(200, "hookbro returns the lane record".into()).await.map_err(refused)?;
    Ok(left_over(connection, topology, &record).await?.into_iter().filter(|left| left.messages > 0).collect())
}

/// Whether lanes were ever configured.
pub(super) async fn is_recorded(connection: &Connection, topology: &Topology) -> Result<bool, DeclareError> {
    exists(connection, &lane_record_queue(topology)).await
}

/// The fork of the newest arrangement; none if that has no lanes. Until `connection` closes, nobody changes it.
pub(super) async fn newest(connection: &Connection, topology: &Topology) -> Result<Option<String>, ApplyError> {
    let queue = lane_record_queue(topology);
    let channel = locked(connection, topology.work_queue()).await?;
    let (record, _) = read(&channel, &queue).await.map_err(|source| refused(&queue, source))?;
    // What was read goes back with its channel.
    channel.close(200, "hookbro returns the lane record".into()).await.map_err(|source| refused(&queue, source))?;
    Ok(record.newest)
}

/// Why a topology cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(
        "another process has been changing the lanes of `{queue}` for {LOCK_TIMEOUT:?}; if no process changes them, see who \
         holds `{queue}.lanes.lock`"
    )]
    Locked { queue: String },
    #[error(
        "the broker confirmed nothing within {CONFIRM_TIMEOUT:?} while the lanes changed; an alarm may block publishers"
    )]
    Unconfirmed,
    #[error("cannot write the lane record: {0}")]
    Record(serde_json::Error),
}

/// One change, under the lock.
struct Changeover<'t> {
    topology: &'t Topology,
    /// Holds the lock, and the messages of the lane record.
    channel: Channel,
    queue: String,
    record: LaneRecord,
    recorded: Vec<Delivery>,
}

impl<'t> Changeover<'t> {
    /// Waits for the lock, and records what is about to be declared: a crash must leave no fork unrecorded. None, and no lock,
    /// where the arrangement of another process stays.
    async fn begin(
        connection: &Connection,
        topology: &'t Topology,
        occasion: Occasion,
    ) -> Result<Option<Self>, ApplyError> {
        let queue = lane_record_queue(topology);
        let refused = |source| refused(&queue, source);
        let channel = locked(connection, topology.work_queue()).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(refused)?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let table = Queue::lane_record(queue.clone()).table();
        channel.queue_declare(queue.as_str().into(), durable, table).await.map_err(refused)?;
        let (record, recorded) = read(&channel, &queue).await.map_err(refused)?;
        let wanted = LaneRecord::of(topology);
        let another = !recorded.is_empty() && record.newest != wanted.newest;
        if another && occasion == Occasion::Return {
            // What was read goes back with its channel.
            channel.close(200, "hookbro keeps the lanes".into()).await.map_err(refused)?;
            return Ok(None);
        }
        let mut known = record.clone();
        known.join(wanted);
        // It is not the newest before it is complete: it may never be.
        known.newest.clone_from(&record.newest);
        let mut begun = Self { topology, channel, queue, record, recorded };
        begun.write(known).await?;
        Ok(Some(begun))
    }

    /// The new route exists: deletes the old ones.
    async fn finish(mut self, connection: &Connection) -> Result<Vec<Stranded>, ApplyError> {
        let wanted = LaneRecord::of(self.topology);
        for binding in &self.topology.unbound {
            let (queue, exchange) = (binding.queue.as_str().into(), binding.exchange.as_str().into());
            let key = binding.routing_key.as_str().into();
            let unbound = self.channel.queue_unbind(queue, exchange, key, FieldTable::default()).await;
            unbound.map_err(|source| refused(&binding.queue, source))?;
        }
        let old: Vec<_> = self.record.forks.difference(&wanted.forks).collect();
        if !old.is_empty() {
            tokio::time::sleep(ROUTING_GRACE).await;
        }
        for fork in old {
            let deleted = self.channel.exchange_delete(fork.as_str().into(), ExchangeDeleteOptions::default()).await;
            deleted.map_err(|source| refused(fork, source))?;
        }
        let left_over = left_over(connection, self.topology, &self.record).await?;
        let mut known = wanted;
        let kept = |lane: &Stranded| Some((lane.lane.clone(), *self.record.lanes.get(&lane.lane)?));
        known.lanes.extend(left_over.iter().filter_map(kept));
        self.write(known).await?;
        // Returns the lane record, and releases the lock.
        let done = self.channel.close(200, "hookbro has changed over".into()).await;
        done.map_err(|source| refused(&self.queue, source))?;
        Ok(left_over.into_iter().filter(|left| left.messages > 0).collect())
    }

    /// Replaces the lane record, the new message before the old is removed; nothing is written if it is the same.
    #[expect(clippy::disallowed_methods, reason = "the lane record is no event: the new one is confirmed before")]
    async fn write(&mut self, record: LaneRecord) -> Result<(), ApplyError> {
        if record == self.record && self.recorded.len() == 1 {
            return Ok(());
        }
        let refused = |source| refused(&self.queue, source);
        let body = serde_json::to_vec(&record).map_err(ApplyError::Record)?;
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = async {
            self.channel.basic_publish("".into(), self.queue.as_str().into(), options, &body, properties).await?.await
        };
        match tokio::time::timeout(CONFIRM_TIMEOUT, published).await {
            Ok(Ok(Confirmation::Ack(None))) => {}
            Ok(Ok(_)) | Err(_) => return Err(ApplyError::Unconfirmed),
            Ok(Err(source)) => return Err(refused(source).into()),
        }
        for old in self.recorded.drain(..) {
            let acked = self.channel.basic_ack(old.delivery_tag, BasicAckOptions::default()).await;
            acked.map_err(refused)?;
        }
        let got = self.channel.basic_get(self.queue.as_str().into(), BasicGetOptions::default()).await;
        self.recorded.extend(got.map_err(refused)?.map(|got| got.delivery));
        self.record = record;
        Ok(())
    }
}

fn refused(object: &str, source: lapin::Error) -> DeclareError {
    DeclareError::Refused { object: format!("`{object}`"), source }
}

/// The queue of the lane record.
pub(super) fn lane_record_queue(topology: &Topology) -> String {
    format!("{}.lanes", topology.work_queue())
}

/// Acquires the lock for `connection`.
async fn locked(connection: &Connection, work_queue: &str) -> Result<Channel, ApplyError> {
    let name = format!("{work_queue}.lanes.lock");
    lock(connection, &name, LOCK_TIMEOUT).await.map_err(|not_held| match not_held {
        NotHeld::ByOther => ApplyError::Locked { queue: work_queue.to_owned() },
        NotHeld::Refused(source) => refused(&name, source).into(),
    })
}

/// The whole lane record; after a crash it is in two messages. They stay unacknowledged.
async fn read(channel: &Channel, queue: &str) -> lapin::Result<(LaneRecord, Vec<Delivery>)> {
    let (mut record, mut recorded) = (LaneRecord::default(), Vec::new());
    while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await? {
        match serde_json::from_slice(&got.delivery.data) {
            Ok(one) => record.join(one),
            Err(error) => {
                tracing::warn!(queue, %error, "lane record holds a message that hookbro did not write; it is replaced")
            }
        }
        recorded.push(got.delivery);
    }
    Ok((record, recorded))
}

async fn exists(connection: &Connection, queue: &str) -> Result<bool, DeclareError> {
    Ok(ready(connection, queue).await?.is_some())
}

/// Messages ready in a queue; none if it does not exist.
async fn ready(connection: &Connection, queue: &str) -> Result<Option<u64>, DeclareError> {
    // A refusal closes the channel.
    let channel = connection.create_channel().await.map_err(|source| refused(queue, source))?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue.into(), passive, FieldTable::default()).await {
        Ok(declared) => {
            let count = declared.message_count().into();
            channel.close(200, "hookbro has counted".into()).await.map_err(|source| refused(queue, source))?;
            Ok(Some(count))
        }
        Err(error) if not_found(&error).is_some() => Ok(None),
        Err(source) => Err(refused(queue, source)),
    }
}

/// The recorded lanes that the configuration no longer names and whose queues still exist.
async fn left_over(
    connection: &Connection,
    topology: &Topology,
    record: &LaneRecord,
) -> Result<Vec<Stranded>, DeclareError> {
    let mut found = Vec::new();
    for (lane, delays) in &record.lanes {
        if topology.lane_ladders().any(|(name, _)| name == lane) {
            continue;
        }
        let (mut messages, mut remains) = (0, false);
        for queue in ladder_queues(&lane_queue(topology.work_queue(), lane), *delays) {
            let ready = ready(connection, &queue).await?;
            remains |= ready.is_some();
            messages += ready.unwrap_or(0);
        }
        if remains {
            found.push(Stranded { lane: lane.clone(), messages });
        }
    }
    Ok(found)
}
