//! The pause record: which projects are paused, in a queue that every replica reads.
//!
//! Each change adds a message with the whole record and a higher version; the highest version counts. So the number of
//! messages shows a replica that something has changed, and nobody takes a message out just to look. Whoever reads or changes
//! the record has its lock.

use super::{
    connect::{ConnectError, Connector, close},
    exclusive::{ASK_EVERY, NotHeld, counts, lock},
    headers::delivery_count,
    publish::{EventProperties, PublishError, Publisher},
    settings::Settings,
    topology::{Queue, Topology},
};
use crate::{
    event::ProjectId,
    pipeline::pauses::{Pause, PauseStore, Paused, PausesAway},
};
use jiff::Timestamp;
use lapin::{
    Channel, Connection,
    message::Delivery,
    options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions},
};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// Longest look or change, its waits for a connection and the lock included: an operator waits for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for the lock alone.
const LOCK_PATIENCE: Duration = Duration::from_secs(4);
/// Messages in the queue at most, of at most a megabyte each. So many changes between two looks would go unnoticed until
/// [`READ_EVERY`].
const MOST_VERSIONS: usize = 16;
/// Messages read at most: a bound for a queue that something else fills.
const MOST_READ: usize = 2 * MOST_VERSIONS;
/// How long a replica relies on the number of messages alone.
const READ_EVERY: Duration = Duration::from_secs(60);
/// Longest wait for messages that were returned to be in the queue again, and for a rewrite that no change needs.
const COURTESY: Duration = Duration::from_secs(1);
/// After so many readings the record is written anew: each counts towards the queue's delivery limit, a million.
const OFTEN: i64 = 1_000;

/// The pauses of one topology's projects.
#[derive(Debug)]
pub struct PauseRecord {
    connector: Connector,
    /// On a connection of its own. An alarm blocks one that publishes, and the one that reads must return what it has taken out.
    publisher: Publisher,
    queue: Queue,
    lock: String,
    seen: Mutex<Seen>,
}

/// What this process has of the record.
#[derive(Debug, Default)]
struct Seen {
    link: Option<Link>,
    last: Option<LastRead>,
    /// The highest version known. A lower one counts only when it is found twice: what a killed process had taken out may not
    /// be back yet.
    version: u64,
}

/// What was read last on this connection.
#[derive(Debug)]
struct LastRead {
    at: Instant,
    /// Messages that were in the queue.
    count: u32,
    paused: Paused,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    /// Counts messages. What reads has a channel of its own, whose end returns what it has taken out.
    looking: Channel,
}

/// One version, as it is in a message.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Version {
    version: u64,
    paused: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Entry {
    project: String,
    since: Timestamp,
    identity: String,
    claimed: Option<String>,
    reason: Option<String>,
}

/// Why the record cannot be read or changed.
#[derive(Debug, thiserror::Error)]
enum RecordError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Broker(#[from] lapin::Error),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("another process has held `{0}` for {LOCK_PATIENCE:?}")]
    Locked(String),
    #[error("the broker took longer than {PATIENCE:?}")]
    Slow,
    #[error("it has lost its latest version; if it was purged, ask again")]
    Older,
    #[error("another process has changed it at the same moment; ask again")]
    Raced,
    #[error("it holds messages that hookbro did not write; purge it, which resumes all projects, and pause them again")]
    Foreign,
}

impl PauseRecord {
    pub fn new(settings: &Settings, topology: &Topology) -> Self {
        let queue = topology.pauses();
        Self {
            connector: Connector::new(settings.access.clone()),
            publisher: Publisher::new(settings.access.clone(), "hookbro pauses"),
            lock: topology.lock(&queue.name),
            queue,
            seen: Mutex::default(),
        }
    }

    /// Closes the connection. A change that is being made ends with the process.
    pub async fn close(&self) {
        let link = self.seen.try_lock().ok().and_then(|mut seen| seen.link.take());
        if let Some(link) = link {
            close(link.connection).await;
        }
    }

    /// Does `work`, and connects anew the next time if it fails.
    async fn within<T>(
        &self,
        verb: &str,
        work: impl AsyncFnOnce(&mut Seen) -> Result<T, RecordError>,
    ) -> Result<T, PausesAway> {
        let mut seen = self.seen.lock().await;
        // Its connection is not kept if the work fails or whoever waits goes away: the lock ends with it.
        let mut now = Seen { link: seen.link.take(), last: seen.last.take(), version: seen.version };
        let done = tokio::time::timeout(PATIENCE, work(&mut now)).await.unwrap_or(Err(RecordError::Slow));
        seen.version = now.version;
        if done.is_ok() {
            *seen = now;
        } else if let Some(link) = now.link {
            tokio::spawn(close(link.connection));
        }
        let queue = &self.queue.name;
        done.map_err(|error| {
            PausesAway(format!("cannot {verb} the record of paused projects, queue `{queue}`: {error}"))
        })
    }

    async fn link<'s>(&self, link: &'s mut Option<Link>) -> Result<&'s Link, RecordError> {
        if let Some(kept) = link.take().filter(|link| link.looking.status().connected()) {
            return Ok(link.insert(kept));
        }
        let connection = self.connector.connect("hookbro pauses").await?;
        let looking = connection.create_channel().await?;
        let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
        looking.queue_declare(self.queue.name.as_str().into(), durable, self.queue.table()).await?;
        Ok(link.insert(Link { connection, looking }))
    }

    async fn look(&self, seen: &mut Seen) -> Result<Paused, RecordError> {
        let link = self.link(&mut seen.link).await?;
        let (messages, _) = counts(&link.looking, &self.queue.name).await?;
        if let Some(last) = &seen.last
            && last.count == messages
            && last.at.elapsed() < READ_EVERY
        {
            return Ok(last.paused.clone());
        }
        self.change(seen, |paused| paused).await
    }

    /// Reads the record, and writes it if `change` makes a difference.
    async fn change(&self, seen: &mut Seen, change: impl FnOnce(Paused) -> Paused) -> Result<Paused, RecordError> {
        let link = self.link(&mut seen.link).await?;
        let channel = lock(&link.connection, &self.lock, LOCK_PATIENCE).await.map_err(|not_held| match not_held {
            NotHeld::ByOther => RecordError::Locked(self.lock.clone()),
            NotHeld::Refused(source) => source.into(),
        })?;
        let (newest, mut messages) = read(&channel, &self.queue.name).await?;
        if newest.version < seen.version {
            seen.version = newest.version;
            return Err(RecordError::Older);
        }
        seen.version = newest.version;
        let before = paused(newest.paused);
        let after = change(before.clone());
        let next = Version { version: newest.version + 1, paused: entries(&after) };
        if after != before {
            self.write(&next).await?;
            // One that was published without the lock, as behind an alarm that has just ended, may have come first.
            let (now, added) = read(&channel, &self.queue.name).await?;
            if now != next {
                return Err(RecordError::Raced);
            }
            seen.version = next.version;
            if messages.len() >= MOST_VERSIONS {
                remove(&channel, &messages).await?;
                messages.clear();
            }
            messages.extend(added);
        } else if messages.iter().any(|message| delivery_count(&message.properties) >= OFTEN) {
            match tokio::time::timeout(COURTESY, self.write(&next)).await.unwrap_or(Err(RecordError::Slow)) {
                Ok(()) => remove(&channel, &messages).await?,
                Err(error) => tracing::warn!(%error, "the record of paused projects could not be written anew"),
            }
            messages.clear();
        }
        // Returns what was taken out, and then lets others read.
        channel.close(200, "hookbro returns the record of pauses".into()).await?;
        let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        self.returned(&link.looking, count).await?;
        link.looking.queue_delete(self.lock.as_str().into(), QueueDeleteOptions::default()).await?;
        seen.last = Some(LastRead { at: Instant::now(), count, paused: after.clone() });
        Ok(after)
    }

    /// Waits until the messages are in the queue again: a channel is closed a moment before what it had taken out is back.
    async fn returned(&self, looking: &Channel, count: u32) -> lapin::Result<()> {
        let began = Instant::now();
        while counts(looking, &self.queue.name).await?.0 < count && began.elapsed() < COURTESY {
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    async fn write(&self, version: &Version) -> Result<(), RecordError> {
        let body = serde_json::to_vec(version)?;
        let properties = EventProperties::default().to_amqp();
        let published = self.publisher.publish("", &self.queue.name, properties, &body).await;
        // Changes are rare.
        self.publisher.close().await;
        Ok(published?)
    }
}

impl PauseStore for PauseRecord {
    async fn all(&self) -> Result<Paused, PausesAway> {
        self.within("read", async |seen| self.look(seen).await).await
    }

    async fn pause(&self, project: &ProjectId, pause: &Pause) -> Result<Paused, PausesAway> {
        let add = |mut paused: Paused| {
            paused.entry(project.clone()).or_insert_with(|| pause.clone());
            paused
        };
        self.within("change", async |seen| self.change(seen, add).await).await
    }

    async fn resume(&self, project: &ProjectId) -> Result<Paused, PausesAway> {
        let remove = |mut paused: Paused| {
            paused.remove(project);
            paused
        };
        self.within("change", async |seen| self.change(seen, remove).await).await
    }
}

/// The version that counts, and all messages, which stay unacknowledged.
async fn read(channel: &Channel, queue: &str) -> Result<(Version, Vec<Delivery>), RecordError> {
    let (mut newest, mut messages) = (None::<Version>, Vec::new());
    while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await? {
        match serde_json::from_slice::<Version>(&got.delivery.data) {
            Ok(found) if newest.as_ref().is_none_or(|newest| newest.version < found.version) => newest = Some(found),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(queue, %error, "the record of pauses holds a message that hookbro did not write")
            }
        }
        messages.push(got.delivery);
        if messages.len() > MOST_READ {
            return Err(RecordError::Foreign);
        }
    }
    match newest {
        None if !messages.is_empty() => Err(RecordError::Foreign),
        newest => Ok((newest.unwrap_or_default(), messages)),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "older versions of the record are no events, and the newest is confirmed"
)]
async fn remove(channel: &Channel, messages: &[Delivery]) -> lapin::Result<()> {
    for message in messages {
        channel.basic_ack(message.delivery_tag, BasicAckOptions::default()).await?;
    }
    Ok(())
}

fn paused(entries: Vec<Entry>) -> Paused {
    let named = |entry: Entry| {
        let Entry { project, since, identity, claimed, reason } = entry;
        // Only this file writes the record. What names no project pauses none.
        Some((ProjectId::try_new(project).ok()?, Pause { since, identity, claimed, reason }))
    };
    entries.into_iter().filter_map(named).collect()
}

fn entries(paused: &Paused) -> Vec<Entry> {
    let entry = |(project, pause): (&ProjectId, &Pause)| {
        let Pause { since, identity, claimed, reason } = pause.clone();
        Entry { project: project.to_string(), since, identity, claimed, reason }
    };
    paused.iter().map(entry).collect()
}
