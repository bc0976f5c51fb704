//! Republishing: a copy takes the place of a delivery, in the dead-letter queue, in the queue of parked events, or back at the end
//! of the queue that it came from. A copy is always confirmed before the original is acknowledged, so a crash repeats and never
//! loses.

use crate::{
    event::{Attempt, Dead, Released},
    observe::metrics::Metrics,
    pipeline::backoff::Backoff,
    sources::rabbitmq::{
        headers::{dead_properties, portable},
        publish::{PublishError, Publisher},
        topology::Topology,
    },
};
use lapin::{BasicProperties, Channel};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Longest time that a delivery stays unsettled, deferred by a halt or by a queue that refuses its copy. RabbitMQ
/// closes the channel of a consumer that acknowledges nothing for 30 minutes.
pub const DEFER_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Publishes copies.
#[derive(Debug)]
pub struct Republisher {
    publisher: Publisher,
    dead_exchange: String,
    parked_exchange: String,
    metrics: Arc<Metrics>,
    /// No more waiting: the process ends now.
    cut: CancellationToken,
}

/// The original, apart from its body.
#[derive(Debug)]
pub struct Original {
    pub delivery: Box<lapin::message::Delivery>,
    /// The queue that it came from, and the fanout exchange of that name.
    pub queue: Arc<str>,
    pub attempt: Attempt,
    pub received: Instant,
}

impl Republisher {
    pub fn new(publisher: Publisher, topology: &Topology, metrics: Arc<Metrics>, cut: CancellationToken) -> Self {
        let (dead_exchange, parked_exchange) = (topology.dead().to_owned(), topology.parked().to_owned());
        for queue in [&dead_exchange, &parked_exchange] {
            metrics.copies_failed.with_label_values(&[queue]);
        }
        Self { publisher, dead_exchange, parked_exchange, metrics, cut }
    }

    pub async fn close(&self) {
        self.publisher.close().await;
    }

    /// Publishes a copy to the dead-letter queue; `from` is the delivery's channel.
    pub async fn to_dead(&self, original: &Original, dead: &Dead, body: &[u8], from: &Channel) -> Republished {
        let properties = || dead_properties(&original.delivery.properties, dead, original.attempt.get());
        self.to(&self.dead_exchange, Released::DeadLettersAway, original, properties, body, from).await
    }

    /// Publishes a copy to the queue of parked events, where it waits for the end of its project's pause.
    pub async fn to_parked(&self, original: &Original, body: &[u8], from: &Channel) -> Republished {
        let properties = || portable(&original.delivery.properties);
        self.to(&self.parked_exchange, Released::ParkingAway, original, properties, body, from).await
    }

    /// Tries again until [`DEFER_LIMIT`] after the delivery arrived: an event returned at once would come back at once.
    async fn to(
        &self,
        exchange: &str,
        away: Released,
        original: &Original,
        properties: impl Fn() -> BasicProperties,
        body: &[u8],
        from: &Channel,
    ) -> Republished {
        let mut backoff = Backoff::new();
        loop {
            let error = match self.publish_copy(exchange, original, properties(), body, from).await {
                Ok(()) => return Republished::Confirmed,
                Err(NotPublished::Why(why)) => return Republished::Not(why),
                Err(NotPublished::Failed(error)) => error,
            };
            // The fanout exchange has the name of its queue.
            self.metrics.copies_failed.with_label_values(&[exchange]).inc();
            let wait = backoff.next_wait();
            if original.received.elapsed() + wait > DEFER_LIMIT {
                tracing::error!(%error, exchange, "copy of an event could not be published in time; the event returns to its queue");
                return Republished::Not(away);
            }
            tracing::warn!(%error, exchange, wait_ms = wait.as_millis(), "copy of an event could not be published; trying again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.cut.cancelled() => return Republished::Not(Released::Stopping),
            }
        }
    }

    /// Publishes a copy to the end of the original's own queue. A plain return would count towards `x-delivery-limit`, which
    /// an outage of days must never use up, and would deliver the same event first each time.
    pub async fn to_own_queue(&self, original: &Original, body: &[u8], from: &Channel) -> Republished {
        let properties = portable(&original.delivery.properties);
        match self.publish_copy(&original.queue, original, properties, body, from).await {
            Ok(()) => Republished::Confirmed,
            Err(NotPublished::Why(why)) => Republished::Not(why),
            Err(NotPublished::Failed(error)) => {
                tracing::warn!(%error, queue = &*original.queue, "copy of a deferred event could not be published; the event returns to its queue");
                Republished::Not(Released::DeferredTooLong)
            }
        }
    }

    async fn publish_copy(
        &self,
        exchange: &str,
        original: &Original,
        properties: BasicProperties,
        body: &[u8],
        from: &Channel,
    ) -> Result<(), NotPublished> {
        // Closed, the broker has taken the original back, and a copy would be a second event.
        if !from.status().connected() {
            return Err(NotPublished::Why(Released::SessionEnded));
        }
        let routing_key = original.delivery.routing_key.as_str();
        tokio::select! {
            done = self.publisher.publish(exchange, routing_key, properties, body) => done.map_err(NotPublished::Failed),
            () = self.cut.cancelled() => Err(NotPublished::Why(Released::Stopping)),
        }
    }
}

/// The result of a republish.
#[derive(Debug)]
pub enum Republished {
    /// The broker has the copy.
    Confirmed,
    /// It has not, and the original must not be acknowledged.
    Not(Released),
}

#[derive(Debug)]
enum NotPublished {
    Failed(PublishError),
    Why(Released),
}
