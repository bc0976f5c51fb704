//! Copies that take the place of a delivery: in the dead queue, aside while its project is paused, or back at the end of the
//! queue that it came from.
//! Always confirmed before the original is acknowledged, so a crash repeats and never loses.

use super::{
    headers::{dead_properties, portable},
    publish::{PublishError, Publisher},
    topology::Topology,
};
use crate::{
    event::{Attempt, Dead, Released},
    observe::metrics::Metrics,
    pipeline::backoff::Backoff,
};
use lapin::{BasicProperties, Channel};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Longest time that a delivery stays unsettled, deferred by a halt or by a queue that does not take its copy. RabbitMQ
/// closes the channel of a consumer that acknowledges nothing for 30 minutes.
pub(super) const HOLD: Duration = Duration::from_secs(10 * 60);

/// Places copies.
#[derive(Debug)]
pub struct Copies {
    publisher: Publisher,
    dead_exchange: String,
    parked_exchange: String,
    metrics: Arc<Metrics>,
    /// No more waiting: the process ends now.
    cut: CancellationToken,
}

/// The original, apart from its body.
#[derive(Debug)]
pub(super) struct Original {
    pub delivery: Box<lapin::message::Delivery>,
    /// The queue that it came from, and the fanout exchange of that name.
    pub queue: Arc<str>,
    pub attempt: Attempt,
    pub received: Instant,
}

impl Copies {
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

    /// Places a copy in the dead queue; `from` is the delivery's channel.
    pub(super) async fn to_dead(&self, original: &Original, dead: &Dead, body: &[u8], from: &Channel) -> Placed {
        let properties = || dead_properties(&original.delivery.properties, dead, original.attempt.get());
        self.to(&self.dead_exchange, Released::DeadLettersAway, original, properties, body, from).await
    }

    /// Places a copy aside, where it waits for the end of its project's pause.
    pub(super) async fn to_parked(&self, original: &Original, body: &[u8], from: &Channel) -> Placed {
        let properties = || portable(&original.delivery.properties);
        self.to(&self.parked_exchange, Released::ParkingAway, original, properties, body, from).await
    }

    /// Tries again until [`HOLD`] after the delivery came in: a return at once would come back at once.
    async fn to(
        &self,
        exchange: &str,
        away: Released,
        original: &Original,
        properties: impl Fn() -> BasicProperties,
        body: &[u8],
        from: &Channel,
    ) -> Placed {
        let mut backoff = Backoff::new();
        loop {
            let error = match self.place(exchange, original, properties(), body, from).await {
                Ok(()) => return Placed::Confirmed,
                Err(NotPlaced::Why(why)) => return Placed::Not(why),
                Err(NotPlaced::Failed(error)) => error,
            };
            // The fanout exchange has the name of its queue.
            self.metrics.copies_failed.with_label_values(&[exchange]).inc();
            let wait = backoff.next_wait();
            if original.received.elapsed() + wait > HOLD {
                tracing::error!(%error, exchange, "a copy found no place in time; the event goes back to the broker");
                return Placed::Not(away);
            }
            tracing::warn!(%error, exchange, wait_ms = wait.as_millis(), "a copy found no place; trying again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.cut.cancelled() => return Placed::Not(Released::Stopping),
            }
        }
    }

    /// Places a copy at the end of the original's own queue. A plain return would count towards `x-delivery-limit`, which
    /// an outage of days must never use up, and would put the same event to the test first each time.
    pub(super) async fn to_own_queue(&self, original: &Original, body: &[u8], from: &Channel) -> Placed {
        let properties = portable(&original.delivery.properties);
        match self.place(&original.queue, original, properties, body, from).await {
            Ok(()) => Placed::Confirmed,
            Err(NotPlaced::Why(why)) => Placed::Not(why),
            Err(NotPlaced::Failed(error)) => {
                tracing::warn!(%error, queue = &*original.queue, "a held event goes back by a plain return");
                Placed::Not(Released::DeferredTooLong)
            }
        }
    }

    async fn place(
        &self,
        exchange: &str,
        original: &Original,
        properties: BasicProperties,
        body: &[u8],
        from: &Channel,
    ) -> Result<(), NotPlaced> {
        // Closed, the broker has taken the original back, and a copy would be a second event.
        if !from.status().connected() {
            return Err(NotPlaced::Why(Released::SessionEnded));
        }
        let routing_key = original.delivery.routing_key.as_str();
        tokio::select! {
            done = self.publisher.publish(exchange, routing_key, properties, body) => done.map_err(NotPlaced::Failed),
            () = self.cut.cancelled() => Err(NotPlaced::Why(Released::Stopping)),
        }
    }
}

/// What became of a copy.
#[derive(Debug)]
pub(super) enum Placed {
    /// The broker holds it.
    Confirmed,
    /// It does not, and the original must not be acknowledged.
    Not(Released),
}

#[derive(Debug)]
enum NotPlaced {
    Failed(PublishError),
    Why(Released),
}
