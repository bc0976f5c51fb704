//! Declares a [`Topology`], and lists what differs from it on the broker.

use super::{Fork, Queue, Topology};
use crate::sources::rabbitmq::connect::{not_found, precondition_failed};
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use std::fmt;

/// Why the topology is not declared.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// A retry cannot help: an operator must decide.
    #[error(
        "{object} exists with other properties than the configuration asks for: {broker_says}; its arguments cannot be \
         changed in place: restore the old settings, or move its messages with `hookbro topology migrate`"
    )]
    Differs { object: String, broker_says: String },
    #[error("cannot declare {object}: {source}")]
    Refused { object: String, source: lapin::Error },
}

/// Declares everything, the far end first. An object that exists with the same arguments is left alone.
pub async fn declare(connection: &Connection, topology: &Topology) -> Result<(), DeclareError> {
    declare_topic_exchange(connection, &topology.topic_exchange).await?;
    let mut channel = open(connection).await?;
    for name in &topology.fanouts {
        let done = channel
            .exchange_declare(name.as_str().into(), ExchangeKind::Fanout, durable_exchange(), FieldTable::default())
            .await;
        check(done, || format!("exchange `{name}`"))?;
    }
    if let Some(fork) = &topology.fork {
        declare_fork(&channel, fork).await?;
    }
    for queue in &topology.queues {
        // A refusal closes the channel that it came on; the next object would then fail without a reason of its own.
        channel = if channel.status().connected() { channel } else { open(connection).await? };
        let done = channel.queue_declare(queue.name.as_str().into(), durable_queue(), queue.table()).await;
        check(done, || queue_object(&queue.name))?;
    }
    for binding in &topology.bindings {
        let done = channel
            .queue_bind(
                binding.queue.as_str().into(),
                binding.exchange.as_str().into(),
                binding.routing_key.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await;
        check(done, || format!("binding of `{}` to `{}`", binding.queue, binding.exchange))?;
    }
    // Last, when everything that it leads to is in place.
    if let Some(fork) = &topology.fork {
        bind_fork(&channel, fork, &topology.topic_exchange).await?;
    }
    Ok(())
}

/// A queue's name in errors.
pub(in crate::sources::rabbitmq) fn queue_object(name: &str) -> String {
    format!("queue `{name}`")
}

async fn declare_fork(channel: &Channel, fork: &Fork) -> Result<(), DeclareError> {
    let name = fork.exchange.as_str();
    let done = channel.exchange_declare(name.into(), ExchangeKind::Topic, internal_exchange(), fork.table()).await;
    check(done, || format!("exchange `{name}`"))
}

async fn bind_fork(channel: &Channel, fork: &Fork, topic_exchange: &str) -> Result<(), DeclareError> {
    for key in &fork.bindings {
        let (to, from, options) = (fork.exchange.as_str(), topic_exchange, ExchangeBindOptions::default());
        let bound =
            channel.exchange_bind(to.into(), from.into(), key.as_str().into(), options, FieldTable::default()).await;
        check(bound, || format!("binding of exchange `{to}` to `{from}`"))?;
    }
    Ok(())
}

/// One object that is not as the configuration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub object: String,
    /// The broker's message where it differs; none where it is missing.
    pub broker_says: Option<String>,
}

impl Difference {
    /// Whether it differs, rather than being missing.
    pub fn blocks(&self) -> bool {
        self.broker_says.is_some()
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.broker_says {
            Some(says) => write!(f, "{} differs: {says}", self.object),
            None => write!(f, "{} is missing", self.object),
        }
    }
}

/// The objects that are missing or differ; changes nothing. Each object is asked for on a channel of its own, because a refusal
/// closes it.
pub async fn differences(connection: &Connection, topology: &Topology) -> Result<Vec<Difference>, DeclareError> {
    let mut found = Vec::new();
    let forks = topology.fork.iter().map(|fork| &fork.exchange);
    for name in topology.fanouts.iter().chain(forks).chain([&topology.topic_exchange]) {
        let object = format!("exchange `{name}`");
        let done = open(connection)
            .await?
            .exchange_declare(
                name.as_str().into(),
                ExchangeKind::Fanout,
                ExchangeDeclareOptions { passive: true, ..durable_exchange() },
                FieldTable::default(),
            )
            .await;
        note(&mut found, &object, done)?;
    }
    for queue in &topology.queues {
        note(&mut found, &format!("queue `{}`", queue.name), probe_queue(connection, queue).await?)?;
    }
    Ok(found)
}

/// A queue that exists is declared again with our arguments, which compares them and changes nothing; only one that
/// is missing must not be declared, since that would create it.
async fn probe_queue(connection: &Connection, queue: &Queue) -> Result<lapin::Result<()>, DeclareError> {
    let passive = QueueDeclareOptions { passive: true, ..durable_queue() };
    let exists =
        open(connection).await?.queue_declare(queue.name.as_str().into(), passive, FieldTable::default()).await;
    if let Err(error) = exists {
        return Ok(Err(error));
    }
    let same = open(connection).await?.queue_declare(queue.name.as_str().into(), durable_queue(), queue.table()).await;
    Ok(same.map(drop))
}

fn note(found: &mut Vec<Difference>, object: &str, done: lapin::Result<()>) -> Result<(), DeclareError> {
    let Err(source) = done else { return Ok(()) };
    let object = object.to_owned();
    let broker_says = precondition_failed(&source);
    if broker_says.is_none() && not_found(&source).is_none() {
        return Err(DeclareError::Refused { object, source });
    }
    found.push(Difference { object, broker_says });
    Ok(())
}

/// The publishers' exchange belongs to them: whatever its properties, it is used as it is.
pub(super) async fn declare_topic_exchange(connection: &Connection, name: &str) -> Result<(), DeclareError> {
    let object = || format!("exchange `{name}`");
    let passive = ExchangeDeclareOptions { passive: true, ..durable_exchange() };
    let exists = open(connection)
        .await?
        .exchange_declare(name.into(), ExchangeKind::Topic, passive, FieldTable::default())
        .await;
    match exists {
        Err(error) if not_found(&error).is_some() => {
            let made = open(connection)
                .await?
                .exchange_declare(name.into(), ExchangeKind::Topic, durable_exchange(), FieldTable::default())
                .await;
            check(made, object)
        }
        other => check(other, object),
    }
}

async fn open(connection: &Connection) -> Result<Channel, DeclareError> {
    connection.create_channel().await.map_err(|source| DeclareError::Refused { object: "a channel".into(), source })
}

fn durable_exchange() -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() }
}

/// Publishers cannot reach it, only the exchange that it is bound to.
fn internal_exchange() -> ExchangeDeclareOptions {
    ExchangeDeclareOptions { internal: true, ..durable_exchange() }
}

fn durable_queue() -> QueueDeclareOptions {
    QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }
}

fn check<T>(done: lapin::Result<T>, object: impl FnOnce() -> String) -> Result<(), DeclareError> {
    done.map(drop).map_err(|source| match precondition_failed(&source) {
        Some(broker_says) => DeclareError::Differs { object: object(), broker_says },
        None => DeclareError::Refused { object: object(), source },
    })
}
