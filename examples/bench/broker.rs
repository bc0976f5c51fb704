//! The private node that the contenders consume from, and what is published to it.

use crate::{Error, event::Shape};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// hookbro's default; the configuration of a run leaves it alone.
const EXCHANGE: &str = "gigs.events";
/// A quorum queue's leader may not exist at once after its declaration.
const SETTLE: Duration = Duration::from_secs(3);
/// Publishes whose confirms are awaited together; confirms of quorum queues come in groups.
const UNCONFIRMED: usize = 1000;

/// A private node; it is removed, with its folder, when dropped.
pub(crate) struct Node {
    folder: PathBuf,
    pub(crate) url: String,
    pub(crate) pid: u32,
    pub(crate) version: String,
}

impl Node {
    /// Blocks for some seconds. Run it outside the runtime's own threads.
    pub(crate) fn start() -> Result<Self, Error> {
        remove_leftovers()?;
        let folder = run_folder().join(format!("bench.{}", std::process::id()));
        // Made first: whatever fails from here on, the folder and what runs in it go.
        let mut node = Self { folder, url: String::new(), pid: 0, version: String::new() };
        std::fs::create_dir_all(&node.folder)?;
        node.url = script(&["start"], &node.folder)?;
        node.pid = script(&["pid"], &node.folder)?.parse()?;
        node.version = std::fs::read_to_string(node.folder.join("version"))?.trim().to_owned();
        Ok(node)
    }

    /// A file for what a contender says on standard error.
    pub(crate) fn log(&self, name: &str) -> Result<std::fs::File, Error> {
        Ok(std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(name))?)
    }

    pub(crate) fn log_text(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Err(error) = script(&["remove"], &self.folder) {
            eprintln!("bench: {error}");
        }
    }
}

fn run_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".run")
}

/// Nodes of runs that were killed before they could do it themselves.
fn remove_leftovers() -> Result<(), Error> {
    for entry in std::fs::read_dir(run_folder()).into_iter().flatten() {
        let path = entry?.path();
        let pid = path.file_name().and_then(|name| name.to_str()?.strip_prefix("bench.").map(str::to_owned));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            script(&["remove"], &path)?;
        }
    }
    Ok(())
}

fn script(words: &[&str], folder: &Path) -> Result<String, Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/broker");
    let output = Command::new(script).args(words).arg(folder).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("scripts/broker {}: {}", words.join(" "), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

pub(crate) async fn connect(url: &str) -> Result<Connection, Error> {
    Ok(Connection::connect(url, ConnectionProperties::default()).await?)
}

/// The driver's own connection.
pub(crate) struct Publisher {
    pub(crate) queue: String,
    connection: Connection,
    channel: Channel,
}

impl Publisher {
    /// `queue` exists already, declared by hookbro, so that every contender consumes from the same kind of queue.
    pub(crate) async fn open(url: &str, queue: &str) -> Result<Self, Error> {
        let connection = connect(url).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        tokio::time::sleep(SETTLE).await;
        Ok(Self { queue: queue.to_owned(), connection, channel })
    }

    /// Publishes events `0..count`, persistent, and returns when all are confirmed.
    pub(crate) async fn fill(&self, shape: Shape, count: u64) -> Result<(), Error> {
        self.fill_queue(&self.queue, shape, count).await
    }

    /// The same to another queue.
    pub(crate) async fn fill_queue(&self, queue: &str, shape: Shape, count: u64) -> Result<(), Error> {
        let mut confirms = Confirms::default();
        for number in 0..count {
            confirms.push(self.publish_to(queue, &shape.body(number)).await?).await?;
        }
        confirms.all().await
    }

    /// Publishes to the publishers' exchange, each event under its routing key, and returns when all are confirmed.
    pub(crate) async fn fill_keyed(&self, events: impl Iterator<Item = (&str, String)>) -> Result<(), Error> {
        let mut confirms = Confirms::default();
        for (key, body) in events {
            confirms.push(self.publish_keyed(key, &body).await?).await?;
        }
        confirms.all().await
    }

    /// Hands one event to the publishers' exchange; the answer resolves with its confirm.
    pub(crate) async fn publish_keyed(&self, key: &str, body: &str) -> Result<lapin::PublisherConfirm, Error> {
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        Ok(self.channel.basic_publish(EXCHANGE.into(), key.into(), options, body.as_bytes(), properties).await?)
    }

    pub(crate) async fn purge_queue(&self, queue: &str) -> Result<(), Error> {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await?;
        Ok(())
    }

    /// Hands one event to the broker; the answer resolves with its confirm.
    pub(crate) async fn publish(&self, body: &str) -> Result<lapin::PublisherConfirm, Error> {
        self.publish_to(&self.queue, body).await
    }

    async fn publish_to(&self, queue: &str, body: &str) -> Result<lapin::PublisherConfirm, Error> {
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        let options = BasicPublishOptions::default();
        Ok(self.channel.basic_publish("".into(), queue.into(), options, body.as_bytes(), properties).await?)
    }

    pub(crate) async fn ready(&self) -> Result<u32, Error> {
        let channel = self.connection.create_channel().await?;
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(self.queue.as_str().into(), options, FieldTable::default()).await?;
        let ready = queue.message_count();
        channel.close(200, "".into()).await?;
        Ok(ready)
    }

    pub(crate) async fn purge(&self) -> Result<(), Error> {
        self.channel.queue_purge(self.queue.as_str().into(), QueuePurgeOptions::default()).await?;
        Ok(())
    }
}

/// Confirms that are still to come, so many at most.
#[derive(Default)]
struct Confirms(Vec<lapin::PublisherConfirm>);

impl Confirms {
    async fn push(&mut self, confirm: lapin::PublisherConfirm) -> Result<(), Error> {
        self.0.push(confirm);
        if self.0.len() >= UNCONFIRMED { self.all().await } else { Ok(()) }
    }

    async fn all(&mut self) -> Result<(), Error> {
        for confirm in self.0.drain(..) {
            confirm.await?;
        }
        Ok(())
    }
}
