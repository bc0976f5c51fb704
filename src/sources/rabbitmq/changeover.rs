//! How one arrangement of lanes follows another without a gap: the new way for events stands before the old one goes, so
//! that meanwhile an event may come twice, and never not at all. The newest arrangement is that of the process that started
//! last.
//!
//! AMQP cannot list what is bound, so a small queue remembers the forks that were made and the lanes that there were. One
//! process at a time changes them, the one that holds an exclusive queue; the broker lets go of it with its connection.

use super::{
    connect::{ConnectError, Connector, close, not_found},
    declare::{DeclareError, declare},
    lock::{LOCK_TIMEOUT, NotHeld, lock},
    publish::PERSISTENT,
    topology::{Queue, Topology, ladder_queues, lane_queue},
};
use crate::pipeline::source::Occasion;
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

/// Longest wait for the broker to confirm what is to be remembered; under an alarm it confirms nothing.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Between the last new binding and the end of what an old one leads to: the broker may be routing a message by the old ones
/// alone at that moment, which takes it microseconds.
pub(super) const SETTLE: Duration = Duration::from_millis(500);

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

/// What there was before, and may stand still.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    /// The fork of the newest arrangement that came to stand; none if it has no lanes.
    newest: Option<String>,
    /// Exchanges that events are forked by.
    forks: BTreeSet<String>,
    /// Lanes, and how many delays each has.
    lanes: BTreeMap<String, usize>,
}

impl Memory {
    fn of(topology: &Topology) -> Self {
        let lanes = topology.lane_ladders().map(|(name, delays)| (name.to_owned(), delays));
        let newest = topology.fork.as_ref().map(|fork| fork.exchange.clone());
        Self { forks: newest.iter().cloned().collect(), newest, lanes: lanes.collect() }
    }

    /// With what `other`, the later one, says besides.
    fn join(&mut self, other: Self) {
        self.newest = other.newest;
        self.forks.extend(other.forks);
        for (lane, delays) in other.lanes {
            let known = self.lanes.entry(lane).or_default();
            *known = delays.max(*known);
        }
    }
}

/// Makes `topology` stand, and takes away what led events elsewhere before. Says which lanes were left with messages.
///
/// On a return to lanes that another process has arranged meanwhile, its queues stand and events go on as they do.
pub async fn stand(
    connector: &Connector,
    connection: &Connection,
    topology: &Topology,
    occasion: Occasion,
) -> Result<Vec<Stranded>, StandError> {
    if topology.fork.is_none() && !stands(connection, &remembering(topology)).await? {
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
                "events go to the lanes that another replica has set since this one started; restart it with those settings"
            );
            declare(connection, &topology.behind_the_entrances()).await.map(|()| Vec::new()).map_err(StandError::from)
        }
        Err(error) => Err(error),
    };
    close(own).await;
    done
}

/// Lanes of earlier configurations that still hold messages. Changes nothing.
pub async fn stranded(connection: &Connection, topology: &Topology) -> Result<Vec<Stranded>, StandError> {
    let queue = remembering(topology);
    if !stands(connection, &queue).await? {
        return Ok(Vec::new());
    }
    let refused = |source| refused(&queue, source);
    // What is looked at is out of the queue for the moment, and must not be missed by anybody.
    let channel = locked(connection, topology.work_queue()).await?;
    let (memory, _) = recall(&channel, &queue).await.map_err(refused)?;
    // What was looked at goes back with its channel.
    channel.close(200, "hookbro has looked".into()).await.map_err(refused)?;
    Ok(left_over(connection, topology, &memory).await?.into_iter().filter(|left| left.messages > 0).collect())
}

/// Whether anybody has ever had lanes.
pub(super) async fn remembers(connection: &Connection, topology: &Topology) -> Result<bool, DeclareError> {
    stands(connection, &remembering(topology)).await
}

/// The fork of the newest arrangement; none if that has no lanes. Until `connection` closes, nobody changes it.
pub(super) async fn newest(connection: &Connection, topology: &Topology) -> Result<Option<String>, StandError> {
    let queue = remembering(topology);
    let channel = locked(connection, topology.work_queue()).await?;
    let (memory, _) = recall(&channel, &queue).await.map_err(|source| refused(&queue, source))?;
    // What was looked at goes back with its channel.
    channel.close(200, "hookbro has looked".into()).await.map_err(|source| refused(&queue, source))?;
    Ok(memory.newest)
}

/// Why it cannot be made to stand.
#[derive(Debug, thiserror::Error)]
pub enum StandError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(
        "another process is changing the lanes of `{queue}` for {LOCK_TIMEOUT:?} already; if none is, see who holds `{queue}.lanes.lock`"
    )]
    Locked { queue: String },
    #[error(
        "the broker confirmed nothing within {CONFIRM_TIMEOUT:?} while the lanes changed; an alarm may block publishers"
    )]
    Unconfirmed,
    #[error("cannot write down the lanes: {0}")]
    Memory(serde_json::Error),
}

/// One change, with the lock in hand.
struct Changeover<'t> {
    topology: &'t Topology,
    /// Holds the lock, and what the remembering queue gave.
    channel: Channel,
    queue: String,
    memory: Memory,
    recalled: Vec<Delivery>,
}

impl<'t> Changeover<'t> {
    /// Waits for the lock, and remembers what is about to be made before it is: a crash must leave no fork unknown.
    /// None, and no lock, where another's arrangement is to be left.
    async fn begin(
        connection: &Connection,
        topology: &'t Topology,
        occasion: Occasion,
    ) -> Result<Option<Self>, StandError> {
        let queue = remembering(topology);
        let refused = |source| refused(&queue, source);
        let channel = locked(connection, topology.work_queue()).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(refused)?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        let table = Queue::remembering(queue.clone()).table();
        channel.queue_declare(queue.as_str().into(), durable, table).await.map_err(refused)?;
        let (memory, recalled) = recall(&channel, &queue).await.map_err(refused)?;
        let wanted = Memory::of(topology);
        let another = !recalled.is_empty() && memory.newest != wanted.newest;
        if another && occasion == Occasion::Return {
            // What was recalled goes back with its channel.
            channel.close(200, "hookbro leaves the lanes".into()).await.map_err(refused)?;
            return Ok(None);
        }
        let mut known = memory.clone();
        known.join(wanted);
        // Until it stands, it is not the newest: it may never come to.
        known.newest.clone_from(&memory.newest);
        let mut begun = Self { topology, channel, queue, memory, recalled };
        begun.remember(known).await?;
        Ok(Some(begun))
    }

    /// The new way stands: takes the old ones away.
    async fn finish(mut self, connection: &Connection) -> Result<Vec<Stranded>, StandError> {
        let wanted = Memory::of(self.topology);
        for binding in &self.topology.unbound {
            let (queue, exchange) = (binding.queue.as_str().into(), binding.exchange.as_str().into());
            let key = binding.routing_key.as_str().into();
            let unbound = self.channel.queue_unbind(queue, exchange, key, FieldTable::default()).await;
            unbound.map_err(|source| refused(&binding.queue, source))?;
        }
        let old: Vec<_> = self.memory.forks.difference(&wanted.forks).collect();
        if !old.is_empty() {
            tokio::time::sleep(SETTLE).await;
        }
        for fork in old {
            let deleted = self.channel.exchange_delete(fork.as_str().into(), ExchangeDeleteOptions::default()).await;
            deleted.map_err(|source| refused(fork, source))?;
        }
        let left_over = left_over(connection, self.topology, &self.memory).await?;
        let mut known = wanted;
        let kept = |lane: &Stranded| Some((lane.lane.clone(), *self.memory.lanes.get(&lane.lane)?));
        known.lanes.extend(left_over.iter().filter_map(kept));
        self.remember(known).await?;
        // Gives back what was recalled and is still right, and the lock.
        let done = self.channel.close(200, "hookbro has changed over".into()).await;
        done.map_err(|source| refused(&self.queue, source))?;
        Ok(left_over.into_iter().filter(|left| left.messages > 0).collect())
    }

    /// Replaces what is remembered, the new before the old goes; nothing is written if it is the same.
    async fn remember(&mut self, memory: Memory) -> Result<(), StandError> {
        if memory == self.memory && self.recalled.len() == 1 {
            return Ok(());
        }
        let refused = |source| refused(&self.queue, source);
        let body = serde_json::to_vec(&memory).map_err(StandError::Memory)?;
        let properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let published = async {
            self.channel.basic_publish("".into(), self.queue.as_str().into(), options, &body, properties).await?.await
        };
        match tokio::time::timeout(CONFIRM_TIMEOUT, published).await {
            Ok(Ok(Confirmation::Ack(None))) => {}
            Ok(Ok(_)) | Err(_) => return Err(StandError::Unconfirmed),
            Ok(Err(source)) => return Err(refused(source).into()),
        }
        for old in self.recalled.drain(..) {
            let acked = self.channel.basic_ack(old.delivery_tag, BasicAckOptions::default()).await;
            acked.map_err(refused)?;
        }
        let got = self.channel.basic_get(self.queue.as_str().into(), BasicGetOptions::default()).await;
        self.recalled.extend(got.map_err(refused)?.map(|got| got.delivery));
        self.memory = memory;
        Ok(())
    }
}

fn refused(object: &str, source: lapin::Error) -> DeclareError {
    DeclareError::Refused { object: format!("`{object}`"), source }
}

/// The queue that remembers.
pub(super) fn remembering(topology: &Topology) -> String {
    format!("{}.lanes", topology.work_queue())
}

/// A channel of the connection that holds the lock from now on.
async fn locked(connection: &Connection, work_queue: &str) -> Result<Channel, StandError> {
    let name = format!("{work_queue}.lanes.lock");
    lock(connection, &name, LOCK_TIMEOUT).await.map_err(|not_held| match not_held {
        NotHeld::ByOther => StandError::Locked { queue: work_queue.to_owned() },
        NotHeld::Refused(source) => refused(&name, source).into(),
    })
}

/// Everything that is remembered; after a crash in two messages. They stay unacknowledged.
async fn recall(channel: &Channel, queue: &str) -> lapin::Result<(Memory, Vec<Delivery>)> {
    let (mut memory, mut recalled) = (Memory::default(), Vec::new());
    while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await? {
        match serde_json::from_slice(&got.delivery.data) {
            Ok(one) => memory.join(one),
            Err(error) => tracing::warn!(queue, %error, "a message that is none of hookbro's is replaced"),
        }
        recalled.push(got.delivery);
    }
    Ok((memory, recalled))
}

async fn stands(connection: &Connection, queue: &str) -> Result<bool, DeclareError> {
    Ok(ready(connection, queue).await?.is_some())
}

/// Messages ready in a queue; none if it does not stand.
async fn ready(connection: &Connection, queue: &str) -> Result<Option<u64>, DeclareError> {
    // A refusal closes the channel.
    let channel = connection.create_channel().await.map_err(|source| refused(queue, source))?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    match channel.queue_declare(queue.into(), passive, FieldTable::default()).await {
        Ok(declared) => {
            let count = declared.message_count().into();
            channel.close(200, "hookbro has looked".into()).await.map_err(|source| refused(queue, source))?;
            Ok(Some(count))
        }
        Err(error) if not_found(&error).is_some() => Ok(None),
        Err(source) => Err(refused(queue, source)),
    }
}

/// The remembered lanes that the configuration no longer names and whose queues still stand.
async fn left_over(
    connection: &Connection,
    topology: &Topology,
    memory: &Memory,
) -> Result<Vec<Stranded>, DeclareError> {
    let mut found = Vec::new();
    for (lane, delays) in &memory.lanes {
        if topology.lane_ladders().any(|(name, _)| name == lane) {
            continue;
        }
        let (mut messages, mut standing) = (0, false);
        for queue in ladder_queues(&lane_queue(topology.work_queue(), lane), *delays) {
            let ready = ready(connection, &queue).await?;
            standing |= ready.is_some();
            messages += ready.unwrap_or(0);
        }
        if standing {
            found.push(Stranded { lane: lane.clone(), messages });
        }
    }
    Ok(found)
}
