//! The private node: what is done to it, and what lies in its queues.

use crate::Error;
use hookbro::{process::secret::Secret, sources::rabbitmq as amqp};
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::Command;

pub(crate) const EXCHANGE: &str = "soak.events";
pub(crate) const QUEUE: &str = "soak.q";
/// Short, so that many events climb to the end and some die, within a run of a few minutes.
pub(crate) const DELAYS: &str = "200ms,400ms,800ms,1s";
const RUNGS: usize = 4;
/// What nodes of `scripts/broker` begin with.
const MEMORY: &str = "2GB";
/// Far below what a node needs to live.
const NO_MEMORY: &str = "1MB";
/// Added to every sync of the disk by `strace`.
const SLOW_SYNC: Duration = Duration::from_millis(200);

/// Removed, with its folder, when dropped.
pub(crate) struct Node {
    folder: PathBuf,
    pub(crate) url: String,
    pub(crate) version: String,
}

/// An event in the dead-letter queue.
pub(crate) struct DeadEvent {
    pub(crate) body: Vec<u8>,
    /// `None`: the broker's own hand, past the delivery limit.
    pub(crate) reason: Option<String>,
}

impl Node {
    pub(crate) async fn start(folder: &Path) -> Result<Self, Error> {
        let mut node = Self { folder: folder.to_owned(), url: String::new(), version: String::new() };
        // What a run left behind that was killed.
        node.script(&["remove"]).await?;
        node.url = node.script(&["start"]).await?;
        node.version = std::fs::read_to_string(folder.join("version"))?.trim().to_owned();
        Ok(node)
    }

    pub(crate) async fn kill(&self) -> Result<(), Error> {
        self.script(&["kill"]).await.map(drop)
    }

    pub(crate) async fn restart(&self) -> Result<(), Error> {
        self.script(&["start"]).await.map(drop)
    }

    /// Answers nothing for `lasting`, and keeps its connections.
    pub(crate) async fn freeze(&self, lasting: Duration) -> Result<(), Error> {
        let pid = self.script(&["pid"]).await?;
        run(Command::new("kill").args(["-STOP", &pid])).await?;
        tokio::time::sleep(lasting).await;
        run(Command::new("kill").args(["-CONT", &pid])).await.map(drop)
    }

    /// Blocks every connection that publishes for `lasting`.
    pub(crate) async fn alarm(&self, lasting: Duration) -> Result<(), Error> {
        let words = |limit| ["tool", "rabbitmqctl", "-q", "set_vm_memory_high_watermark", "absolute", limit];
        self.script(&words(NO_MEMORY)).await?;
        tokio::time::sleep(lasting).await;
        self.script(&words(MEMORY)).await.map(drop)
    }

    /// Every sync of the disk takes longer for `lasting`. False where this machine has no `strace`, or does not allow it.
    pub(crate) async fn slow_disk(&self, lasting: Duration) -> Result<bool, Error> {
        let pid = self.script(&["pid"]).await?;
        let slow = format!("inject=fsync,fdatasync:delay_enter={}", SLOW_SYNC.as_micros());
        let mut strace = Command::new("strace");
        strace.args(["-f", "-q", "-p", &pid, "-e", "trace=fsync,fdatasync", "-e", &slow, "-o", "/dev/null"]);
        let spawned = strace.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
        let Ok(mut tracing) = spawned else { return Ok(false) };
        let ended_early = tokio::time::timeout(lasting, tracing.wait()).await.is_ok();
        if let Some(tracer) = tracing.id() {
            // Asked to end, it lets go of the node; killed, it would take it along.
            run(Command::new("kill").args(["-TERM", &tracer.to_string()])).await?;
            tracing.wait().await?;
        }
        Ok(!ended_early)
    }

    /// Messages ready in every queue but the dead one.
    pub(crate) async fn left(&self) -> Result<u32, Error> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        let mut left = ready(&channel, QUEUE).await?;
        for rung in 1..=RUNGS {
            for kind in ["delay", "retry"] {
                left += ready(&channel, &format!("{QUEUE}.{kind}.{rung}")).await?;
            }
        }
        amqp::close(connection).await;
        Ok(left)
    }

    /// Takes every event out of the dead-letter queue.
    #[expect(
        clippy::disallowed_methods,
        reason = "the soak test empties the dead-letter queue at its end, to judge it"
    )]
    pub(crate) async fn dead(&self) -> Result<Vec<DeadEvent>, Error> {
        let connection = self.connect().await?;
        let channel = connection.create_channel().await?;
        let queue = format!("{QUEUE}.dead");
        let mut dead = Vec::new();
        while let Some(got) = channel.basic_get(queue.as_str().into(), BasicGetOptions::default()).await? {
            channel.basic_ack(got.delivery.delivery_tag, BasicAckOptions::default()).await?;
            let headers = got.delivery.properties.headers().as_ref();
            let reason = headers.and_then(|headers| match headers.inner().get("x-hookbro-reason")? {
                AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
                other => Some(format!("{other:?}")),
            });
            dead.push(DeadEvent { reason, body: got.delivery.data });
        }
        amqp::close(connection).await;
        Ok(dead)
    }

    async fn connect(&self) -> Result<lapin::Connection, Error> {
        Ok(amqp::Connector::new(Secret::fixed(&self.url)).connect("soak").await?)
    }

    async fn script(&self, words: &[&str]) -> Result<String, Error> {
        let mut command = command(words[0], &self.folder);
        run(command.args(&words[1..])).await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let removed = command("remove", &self.folder).into_std().status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("soak: the node in {} could not be removed", self.folder.display());
        }
    }
}

fn command(word: &str, folder: &Path) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/broker");
    let mut command = Command::new(script);
    command.arg(word).arg(folder);
    command
}

async fn run(command: &mut Command) -> Result<String, Error> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().await?;
    if !output.status.success() {
        return Err(format!("{:?}: {}", command.as_std(), output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

async fn ready(channel: &Channel, queue: &str) -> Result<u32, Error> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    Ok(channel.queue_declare(queue.into(), passive, FieldTable::default()).await?.message_count())
}
