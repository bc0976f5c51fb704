//! Republishing: a copy takes the place of a delivery, in the dead-letter queue, in its project's queue of parked events, in a
//! delay queue, or back at the end of the queue that it came from. A copy is always confirmed before the original is
//! acknowledged, so a crash repeats and never loses.

use crate::{
    event::{Attempt, Dead, Parked, Released},
    observe::metrics::Metrics,
    pipeline::backoff::Backoff,
    sources::rabbitmq::{
        headers::{dead_properties, fresh_properties, parked_at, parked_properties, portable},
        parked_queues::{NoLot, ParkedQueues, is_gone},
        publish::{PublishError, Publisher},
        topology::Topology,
    },
};
use jiff::Timestamp;
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
    /// The exchange by which copies get into the dead-letter queue, and that queue, the label under which they are counted.
    dead_exchange: String,
    dead_queue: String,
    /// The label under which copies to queues of parked events are counted: each has a name of its own.
    parked_label: String,
    parked: Arc<ParkedQueues>,
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
    pub kind: QueueKind,
}

/// What kind of queue a delivery came from.
#[derive(Debug, Clone)]
pub enum QueueKind {
    /// A rung, which dead-letters to its next delay itself.
    Rung,
    /// Parked events. It belongs to no ladder: a retry is copied to this exchange.
    Parked { retry_by: Arc<str> },
    /// Notices of events that lie in the dead-letter queue already.
    Notices,
}

impl Original {
    /// Since when its copy has been parked, once it is. Only in a queue of parked events, which belongs to no ladder, it was
    /// hookbro that wrote that down.
    fn parked_since(&self) -> Timestamp {
        let since = match self.kind {
            QueueKind::Parked { .. } => parked_at(&self.delivery.properties),
            QueueKind::Rung | QueueKind::Notices => None,
        };
        since.unwrap_or_else(Timestamp::now)
    }
}

impl Republisher {
    pub fn new(
        publisher: Publisher,
        topology: &Topology,
        parked: Arc<ParkedQueues>,
        metrics: Arc<Metrics>,
        cut: CancellationToken,
    ) -> Self {
        let (dead_exchange, dead_queue) = (topology.copies().to_owned(), topology.dead().to_owned());
        let parked_label = topology.parked().to_owned();
        for queue in [&dead_queue, &parked_label] {
            metrics.copies_failed.with_label_values(&[queue]);
        }
        Self { publisher, dead_exchange, dead_queue, parked_label, parked, metrics, cut }
    }

    pub async fn close(&self) {
        self.publisher.close().await;
    }

    /// Publishes a copy to the dead-letter queue; `from` is the delivery's channel.
    pub async fn to_dead(&self, original: &Original, dead: &Dead, body: &[u8], from: &Channel) -> Republished {
        self.until_published(&Place::DeadLetters(dead), original, body, from).await
    }

    /// Publishes a copy to the queue of the project's parked events.
    pub async fn to_parked(&self, original: &Original, parked: &Parked, body: &[u8], from: &Channel) -> Republished {
        self.until_published(&Place::Parked(parked), original, body, from).await
    }

    /// Publishes a copy of a parked event to the delay queue that `exchange` leads to.
    pub async fn to_retry(&self, exchange: &str, original: &Original, body: &[u8], from: &Channel) -> Republished {
        self.until_published(&Place::Delay(exchange), original, body, from).await
    }

    /// Tries again until [`DEFER_LIMIT`] after the delivery arrived: an event returned at once would come back at once.
    async fn until_published(&self, to: &Place<'_>, original: &Original, body: &[u8], from: &Channel) -> Republished {
        let mut backoff = Backoff::new();
        let (queue, away) = match to {
            Place::DeadLetters(_) => (&*self.dead_queue, Released::DeadLettersAway),
            Place::Parked(_) => (&*self.parked_label, Released::ParkingAway),
            Place::Delay(exchange) => (*exchange, Released::DelayAway),
        };
        loop {
            let error = match self.publish_to(to, original, body, from).await {
                Ok(()) => return Republished::Confirmed,
                Err(NotPublished::Why(why)) => return Republished::Not(why),
                Err(NotPublished::Failed(error)) => error,
            };
            self.metrics.copies_failed.with_label_values(&[queue]).inc();
            let wait = backoff.next_wait();
            if original.received.elapsed() + wait > DEFER_LIMIT {
                tracing::error!(%error, queue, "copy of an event could not be published in time; the event returns to its queue");
                return Republished::Not(away);
            }
            tracing::warn!(%error, queue, wait_ms = wait.as_millis(), "copy of an event could not be published; trying again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.cut.cancelled() => return Republished::Not(Released::Stopping),
            }
        }
    }

    async fn publish_to(
        &self,
        to: &Place<'_>,
        original: &Original,
        body: &[u8],
        from: &Channel,
    ) -> Result<(), NotPublished> {
        let properties = &original.delivery.properties;
        match to {
            Place::DeadLetters(dead) => {
                let properties = dead_properties(properties, dead, original.attempt.get());
                self.publish_copy(&self.dead_exchange, original, properties, body, from).await
            }
            Place::Parked(parked) => {
                let lot = self.parked.lot(parked).await;
                let lot = lot.map_err(|error| NotPublished::Failed(Failed::NoLot(error)))?;
                let properties = parked_properties(properties, original.parked_since(), parked.reason);
                let published = self.publish_copy(&lot, original, properties, body, from).await;
                if let Err(NotPublished::Failed(Failed::Publish(error))) = &published
                    && is_gone(error)
                {
                    self.parked.forget(&lot);
                }
                published
            }
            Place::Delay(exchange) => {
                self.publish_copy(exchange, original, fresh_properties(properties), body, from).await
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
            done = self.publisher.publish(exchange, routing_key, properties, body) => done.map_err(|error| NotPublished::Failed(Failed::Publish(error))),
            () = self.cut.cancelled() => Err(NotPublished::Why(Released::Stopping)),
        }
    }
}

/// Where a copy goes.
enum Place<'a> {
    DeadLetters(&'a Dead),
    /// The queue of its project's parked events.
    Parked(&'a Parked),
    /// The delay queue behind this exchange.
    Delay(&'a str),
}

/// The result of a republish.
#[derive(Debug)]
pub enum Republished {
    /// The broker has the copy.
    Confirmed,
    /// It has not, and the original must not be acknowledged.
    Not(Released),
}

/// Why a copy was not published.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    NoLot(#[from] NoLot),
}

#[derive(Debug)]
enum NotPublished {
    Failed(Failed),
    Why(Released),
}
