//! Confirmed, mandatory publishing on a connection of its own: a broker in memory or disk alarm blocks every write of a
//! connection that publishes, and acknowledgements must not wait behind that.

use super::{
    connect::{ConnectError, Connector, close, not_found},
    headers::PERSISTENT,
    settings::Access,
    topology::entrance::{Entrance, LastProof, NotProved, Proof},
};
use crate::event::Event;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable, ShortString},
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// A broker that confirms nothing for so long has raised an alarm or lost its majority.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// Publishes that wait for their confirm at once, each on a channel of its own; RabbitMQ allows 2,047 channels.
pub const CHANNELS: usize = 128;

/// Bytes of messages that are written at once; of a larger one, only one. lapin keeps a copy of each until it is written.
const BYTES: u32 = 16 * 1024 * 1024;

/// Why a message is not safely in a queue. Whatever the variant, it may be published again.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("publishing to exchange `{exchange}` failed: {source}")]
    Channel { exchange: String, source: lapin::Error },
    #[error("exchange `{exchange}` leads to no queue for routing key `{routing_key}`")]
    Unroutable { exchange: String, routing_key: String },
    #[error(
        "the broker refused the message for exchange `{exchange}`: a queue behind it is full or has no leader; a policy may limit \
         its length, see `rabbitmqctl list_queues name policy operator_policy messages`"
    )]
    Nacked { exchange: String },
    /// Known before anything was written, so nothing piles up behind the alarm.
    #[error("the broker blocks publishers: its memory or disk alarm is on")]
    Blocked,
    #[error("{0}")]
    NotProved(#[from] NotProved),
    /// Some queue took it, and it need not have been ours.
    #[error("the binding to the work queue was gone when the broker confirmed")]
    Gone,
    #[error("the broker confirmed nothing within {CONFIRM_TIMEOUT:?}; an alarm may block publishers")]
    Unconfirmed,
}

/// The properties of a new event, apart from its body. Persistent, JSON.
#[derive(Debug, Clone, Default)]
pub struct EventProperties {
    /// `message_id`
    pub id: Option<String>,
    /// `type`
    pub kind: Option<String>,
    /// Headers of text.
    pub headers: Vec<(&'static str, String)>,
}

impl EventProperties {
    pub fn of(event: &Event) -> Self {
        Self { id: Some(event.id.to_string()), kind: Some(event.kind.to_string()), headers: Vec::new() }
    }

    pub fn to_amqp(&self) -> BasicProperties {
        let mut properties =
            BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(PERSISTENT);
        // Both are at most 255 bytes in AMQP and one more in Svix; a longer one travels in the body alone.
        if let Some(id) = self.id.clone().and_then(|id| ShortString::try_new(id).ok()) {
            properties = properties.with_message_id(id);
        }
        if let Some(kind) = self.kind.clone().and_then(|kind| ShortString::try_new(kind).ok()) {
            properties = properties.with_type(kind);
        }
        if self.headers.is_empty() {
            return properties;
        }
        let mut table = FieldTable::default();
        for (name, value) in &self.headers {
            table.insert((*name).into(), AMQPValue::LongString(value.as_str().into()));
        }
        properties.with_headers(table)
    }
}

/// One publishing connection, opened when first needed and again after a failure.
///
/// Each publish has a channel to itself until it is confirmed: lapin 4.12 hands a returned message to whichever confirm of
/// the channel comes next, so that among several an unroutable one could pass for confirmed.
#[derive(Debug)]
pub struct Publisher {
    connector: Connector,
    name: &'static str,
    connection: tokio::sync::Mutex<Option<Open>>,
    /// The bindings that must be proved before and after each publish.
    entrance: Option<Entrance>,
    idle: Mutex<Vec<Channel>>,
    slots: Semaphore,
    bytes: Semaphore,
}

impl Publisher {
    pub fn new(access: impl Into<Access>, name: &'static str) -> Self {
        Self {
            connector: Connector::new(access),
            name,
            connection: tokio::sync::Mutex::default(),
            entrance: None,
            idle: Mutex::default(),
            slots: Semaphore::new(CHANNELS),
            bytes: Semaphore::new(BYTES as usize),
        }
    }

    /// One whose [`Publisher::publish`] proves more: that `entrance` led to our queue.
    pub fn through(access: impl Into<Access>, name: &'static str, entrance: Entrance) -> Self {
        Self { entrance: Some(entrance), ..Self::new(access, name) }
    }

    /// Returns once the broker has taken responsibility for the message in at least one queue. At most [`CHANNELS`] calls
    /// are with the broker at once; the others wait.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<(), PublishError> {
        let _slot = self.slots.acquire().await;
        let publish = self.publish_on_own_channel(exchange, routing_key, properties, body);
        // Given up, the channel goes with the future: a late answer must not meet the next publish.
        let (channel, confirmation) =
            tokio::time::timeout(CONFIRM_TIMEOUT, publish).await.unwrap_or(Err(PublishError::Unconfirmed))?;
        // To a channel that it has refused once, RabbitMQ 3.10 refuses all that comes, even after the limit is lifted.
        if !matches!(confirmation, Confirmation::Nack(_)) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(channel);
        }
        taken(confirmation, exchange, routing_key)
    }

    pub async fn close(&self) {
        let open = self.connection.lock().await.take();
        if let Some(open) = open {
            close(open.connection).await;
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn publish_on_own_channel(
        &self,
        exchange: &str,
        routing_key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<(Channel, Confirmation), PublishError> {
        let failed = |source| PublishError::Channel { exchange: exchange.into(), source };
        let (channel, proof) = self.channel(exchange).await?;
        let confirm = async {
            let bytes = u32::try_from(body.len()).map_or(BYTES, |bytes| bytes.min(BYTES));
            // Never closed. Given back before the confirm: a queue that does not answer holds up nobody's bytes.
            let being_written = self.bytes.acquire_many(bytes).await;
            let written =
                channel.basic_publish(exchange.into(), routing_key.into(), mandatory(), body, properties).await?;
            drop(being_written);
            written.await
        };
        let confirm = confirm.await;
        let Some(proof) = proof else { return Ok((channel, confirm.map_err(failed)?)) };
        let held = match &confirm {
            Ok(Confirmation::Ack(None)) => proof.holds().await,
            Ok(Confirmation::Ack(Some(_))) => false,
            Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => true,
            Err(error) => not_found(error).is_none(),
        };
        if !held && let Some(open) = &mut *self.connection.lock().await {
            open.last_proof.doubt(&proof);
        }
        match confirm.map_err(failed)? {
            Confirmation::Ack(None) if !held => Err(PublishError::Gone),
            confirmation => Ok((channel, confirmation)),
        }
    }

    /// A channel to publish on, and the proof of the entrance if there is one.
    async fn channel(&self, exchange: &str) -> Result<(Channel, Option<Arc<Proof>>), PublishError> {
        let failed = |source| PublishError::Channel { exchange: exchange.into(), source };
        let mut open = self.connection.lock().await;
        let Open { connection, last_proof } = match open.take().filter(|open| open.connection.status().connected()) {
            Some(kept) => open.insert(kept),
            None => {
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
                let connection = self.connector.connect(self.name).await?;
                open.insert(Open { connection, last_proof: LastProof::default() })
            }
        };
        if connection.status().blocked() {
            return Err(PublishError::Blocked);
        }
        let proof = match &self.entrance {
            Some(entrance) => Some(last_proof.proof(entrance, &self.connector, connection).await?),
            None => None,
        };
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(channel) = idle.filter(|channel| channel.status().connected()) {
            return Ok((channel, proof));
        }
        let channel = connection.create_channel().await.map_err(failed)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
        Ok((channel, proof))
    }
}

/// A connection, and what was proved on it.
#[derive(Debug)]
struct Open {
    connection: Connection,
    last_proof: LastProof,
}

fn mandatory() -> BasicPublishOptions {
    BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() }
}

/// Whether a confirm means that a queue took its message.
fn taken(confirmation: Confirmation, exchange: &str, routing_key: &str) -> Result<(), PublishError> {
    match confirmation {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) => {
            Err(PublishError::Unroutable { exchange: exchange.into(), routing_key: routing_key.into() })
        }
        Confirmation::Nack(_) | Confirmation::NotRequested => Err(PublishError::Nacked { exchange: exchange.into() }),
    }
}
