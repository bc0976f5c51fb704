//! Copies that take the place of a delivery: in the dead queue, or back at the end of the queue that it came from.
//! Always confirmed before the original is acknowledged, so a crash repeats and never loses.

use super::{
    connect::Backoff,
    headers::{dead_properties, portable},
    publish::{PublishError, Publisher},
};
use crate::{
    domain::{Attempt, Dead, Released},
    ports::delivery::HOLD,
};
use lapin::{BasicProperties, Channel};
use std::{sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Places copies.
#[derive(Debug)]
pub struct Copies {
    publisher: Publisher,
    dead_exchange: String,
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
    pub fn new(publisher: Publisher, dead_exchange: String, cut: CancellationToken) -> Self {
        Self { publisher, dead_exchange, cut }
    }

    pub async fn close(&self) {
        self.publisher.close().await;
    }

    /// Places a copy in the dead queue. Tries again until [`HOLD`] after the delivery came in; `from` is its channel.
    pub(super) async fn to_dead(&self, original: &Original, dead: &Dead, body: &[u8], from: &Channel) -> Placed {
        let mut backoff = Backoff::new();
        loop {
            let properties = dead_properties(&original.delivery.properties, dead, original.attempt.get());
            let error = match self.place(&self.dead_exchange, original, properties, body, from).await {
                Ok(()) => return Placed::Confirmed,
                Err(NotPlaced::Why(why)) => return Placed::Not(why),
                Err(NotPlaced::Failed(error)) => error,
            };
            let wait = backoff.next_wait();
            if original.received.elapsed() + wait > HOLD {
                tracing::error!(%error, "no copy reached the dead queue in time; the event goes back to the broker");
                return Placed::Not(Released::DeadQueueAway);
            }
            tracing::warn!(%error, wait_ms = wait.as_millis(), "copy to the dead queue failed; trying again");
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
                Placed::Not(Released::HeldTooLong)
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
