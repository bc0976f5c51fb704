//! Publishes events that came by HTTP to the publishers' exchange: persistent, mandatory, confirmed.

use super::{
    publish::{EventProperties, PublishError, Publisher},
    topology::topic,
};
use crate::{
    event::Event,
    pipeline::{
        backoff::Backoff,
        intake::{Intake, NotTaken, TraceHeaders},
    },
};
use std::time::Duration;

/// How long one event is tried for: long enough to outlast a lost connection, and well below the half minute after which
/// HTTP clients commonly give up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Publishes as publishers do, on a connection of its own, and confirms no event that may not have reached our queues.
#[derive(Debug)]
pub struct BrokerIntake {
    publisher: Publisher,
    exchange: String,
    /// The keys that lead to hookbro's own queues: another team's queue on the same exchange would satisfy `mandatory` too.
    bindings: Vec<String>,
}

impl BrokerIntake {
    pub fn new(publisher: Publisher, exchange: String, bindings: Vec<String>) -> Self {
        Self { publisher, exchange, bindings }
    }

    pub async fn close(&self) {
        self.publisher.close().await;
    }

    /// Tries again after a lost connection, a refusal or a missing exchange; an alarm lasts, and is reported at once.
    async fn publish(&self, event: &Event, properties: &EventProperties) -> Result<(), PublishError> {
        let key = event.routing_key();
        let mut backoff = Backoff::new();
        loop {
            let error = match self.publisher.publish(&self.exchange, &key, properties.to_amqp(), event.body()).await {
                Err(error @ (PublishError::Channel { .. } | PublishError::Nacked { .. } | PublishError::Gone)) => error,
                result => return result,
            };
            tracing::debug!(%error, "event that came by HTTP is not published yet; trying again");
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}

impl Intake for BrokerIntake {
    async fn put(&self, event: &Event, trace: &TraceHeaders) -> Result<(), NotTaken> {
        let key = event.routing_key();
        if !self.bindings.iter().any(|pattern| topic::matches(pattern, &key)) {
            return Err(NotTaken::Unroutable(key));
        }
        let properties = EventProperties { headers: trace.0.clone(), ..EventProperties::of(event) };
        match tokio::time::timeout(PATIENCE, self.publish(event, &properties)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(PublishError::Unroutable { routing_key, .. })) => Err(NotTaken::Unroutable(routing_key)),
            // Where the broker is, and what is wrong with the way there, is no business of whoever posts events.
            Ok(Err(PublishError::Connect(error))) => {
                tracing::warn!(%error, "cannot connect to the broker to publish events that came by HTTP");
                Err(NotTaken::Away("the broker cannot be reached".to_owned()))
            }
            Ok(Err(error)) => Err(NotTaken::Away(error.to_string())),
            Err(_) => Err(NotTaken::Away(format!("the broker confirmed nothing within {PATIENCE:?}"))),
        }
    }
}
