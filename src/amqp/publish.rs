//! Confirmed, mandatory publishing on a connection of its own: a broker in memory or disk alarm blocks every write of a
//! connection that publishes, and acknowledgements must not wait behind that.

use super::connect::{ConnectError, close, connect};
use crate::ports::secret::Secret;
use lapin::{
    BasicProperties, Channel, Confirmation, Connection,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use std::time::Duration;
use tokio::sync::Mutex;

/// A broker that confirms nothing for so long has raised an alarm or lost its majority.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// `delivery_mode` of a message that survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// Why a message is not safely in a queue. Whatever the variant, it may be published again.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("publishing to exchange `{exchange}` failed: {source}")]
    Channel { exchange: String, source: lapin::Error },
    #[error("exchange `{exchange}` leads to no queue for routing key `{routing_key}`")]
    Unroutable { exchange: String, routing_key: String },
    #[error("the broker refused the message for exchange `{exchange}`")]
    Nacked { exchange: String },
    #[error("the broker confirmed nothing within {CONFIRM_TIMEOUT:?}; an alarm may block publishers")]
    Unconfirmed,
}

/// What a freshly published event says about itself, apart from its body. Persistent, JSON.
#[derive(Debug, Clone, Default)]
pub struct EventProperties {
    /// `message_id`
    pub id: Option<String>,
    /// `type`
    pub kind: Option<String>,
}

impl EventProperties {
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
        properties
    }
}

/// One publishing connection, made when first needed and made anew after a failure. Many calls may wait for their
/// confirms at once.
#[derive(Debug)]
pub struct Publisher {
    url: Secret,
    name: &'static str,
    open: Mutex<Option<(Connection, Channel)>>,
}

impl Publisher {
    pub fn new(url: Secret, name: &'static str) -> Self {
        Self { url, name, open: Mutex::new(None) }
    }

    /// Returns once the broker has taken responsibility for the message in at least one queue.
    pub async fn publish(
        &self,
        exchange: &str,
        routing_key: &str,
        properties: BasicProperties,
        body: &[u8],
    ) -> Result<(), PublishError> {
        let failed = |source| PublishError::Channel { exchange: exchange.into(), source };
        let publish = async {
            let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
            let channel = self.channel().await?;
            let confirm = channel
                .basic_publish(exchange.into(), routing_key.into(), options, body, properties)
                .await
                .map_err(failed)?;
            confirm.await.map_err(failed)
        };
        let confirmation =
            tokio::time::timeout(CONFIRM_TIMEOUT, publish).await.unwrap_or(Err(PublishError::Unconfirmed));
        match confirmation {
            Ok(Confirmation::Ack(None)) => Ok(()),
            Ok(Confirmation::Ack(Some(_))) => {
                Err(PublishError::Unroutable { exchange: exchange.into(), routing_key: routing_key.into() })
            }
            Ok(Confirmation::Nack(_) | Confirmation::NotRequested) => {
                Err(PublishError::Nacked { exchange: exchange.into() })
            }
            Err(error) => {
                // Whoever fails next opens a new connection; the others' confirms fail with this one.
                self.open.lock().await.take_if(|(_, channel)| !channel.status().connected());
                Err(error)
            }
        }
    }

    pub async fn close(&self) {
        if let Some((connection, _)) = self.open.lock().await.take() {
            close(connection).await;
        }
    }

    async fn channel(&self) -> Result<Channel, PublishError> {
        let mut open = self.open.lock().await;
        if let Some((_, channel)) = open.as_ref().filter(|(_, channel)| channel.status().connected()) {
            return Ok(channel.clone());
        }
        let connection = connect(&self.url, self.name).await?;
        let failed = |source| PublishError::Channel { exchange: String::new(), source };
        let channel = connection.create_channel().await.map_err(failed)?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.map_err(failed)?;
        *open = Some((connection, channel.clone()));
        Ok(channel)
    }
}
