//! One delivery from a source: what is read of it, and the duty to settle it exactly once.

use crate::{
    event::{Attempt, Cause, Verdict},
    observe::{metrics::Metrics, trace::Trace},
};
use bytes::Bytes;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What the handler may look at. Headers are not among it: none is trusted. The trace that one may name decides nothing.
#[derive(Debug, Clone)]
pub struct Message {
    pub body: Bytes,
    pub attempt: Attempt,
    pub content_type: Option<String>,
    pub content_encoding: Option<String>,
    /// What of its message is not there as it was published.
    pub unreadable: Unreadable,
    /// What its headers take on the wire, about.
    pub header_bytes: usize,
    /// How often it has left the dead-letter queue for another climb, as its header says: for the log alone.
    pub replayed: i64,
    /// The queue that it came from, and the key that it was published under.
    pub queue: Arc<str>,
    pub routing_key: String,
    /// When this process received it.
    pub received: Instant,
    /// Until when its source lets it stay unsettled.
    pub deadline: Instant,
    /// The span of this attempt.
    pub trace: Trace,
    /// How long it waited at the source before this attempt.
    pub waited: Duration,
    /// How long it will wait should this attempt fail; `None` if this is the last.
    pub next_delay: Option<Duration>,
    /// Which lane it came on, counted from the default one.
    pub lane: usize,
    /// Why its source has given it up, as where it came back too often: nothing is sent, it is only to be recorded.
    pub given_up: Option<Cause>,
}

/// Properties of a message that could not be read as they were published, by their names, with commas between them.
#[derive(Debug, Clone, Default)]
pub struct Unreadable {
    /// An event must not be delivered without these.
    pub needed: String,
    /// A delivery can do without these.
    pub spare: String,
}

/// How a source learns the end of one delivery. [`Unsettled`] calls one of these two, once.
pub trait Receipt: Send + 'static {
    /// Carries out `verdict` at the source and answers what was really done: a verdict of `Dead` whose copy finds no
    /// place becomes `Released`.
    fn settle(self, verdict: Verdict, body: Bytes) -> impl Future<Output = Verdict> + Send;

    /// Gives the delivery back at once, from a destructor.
    fn give_back(self);
}

/// A message and the duty to settle it.
#[derive(Debug)]
pub struct Delivery<R: Receipt> {
    pub message: Message,
    pub token: Unsettled<R>,
}

/// The duty to settle one delivery. Settling consumes it; forgetting to is loud, and gives the event back.
#[must_use]
#[derive(Debug)]
pub struct Unsettled<R: Receipt> {
    receipt: Option<R>,
    metrics: Arc<Metrics>,
}

impl<R: Receipt> Unsettled<R> {
    pub fn new(receipt: R, metrics: Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self { receipt: Some(receipt), metrics }
    }

    /// Carries out `verdict`, counts it, and answers what was really done.
    pub async fn settle(mut self, verdict: Verdict, body: Bytes) -> Verdict {
        let Some(receipt) = self.receipt.take() else { return verdict };
        // Held over the await, so that a cancelled settlement still leaves the in-flight count right.
        let _in_flight = InFlight(Arc::clone(&self.metrics));
        let settled = receipt.settle(verdict, body).await;
        self.metrics.settled(&settled);
        settled
    }
}

impl<R: Receipt> Drop for Unsettled<R> {
    fn drop(&mut self) {
        let Some(receipt) = self.receipt.take() else { return };
        tracing::error!("a delivery was dropped without a verdict; it goes back to the broker");
        self.metrics.in_flight.dec();
        self.metrics.unsettled_drops.inc();
        receipt.give_back();
    }
}

struct InFlight(Arc<Metrics>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Released;
    use std::sync::mpsc;

    struct FakeReceipt(mpsc::Sender<&'static str>);

    impl Receipt for FakeReceipt {
        async fn settle(self, verdict: Verdict, _: Bytes) -> Verdict {
            self.0.send(verdict.outcome()).unwrap();
            verdict
        }
        fn give_back(self) {
            self.0.send("given back").unwrap();
        }
    }

    #[tokio::test]
    async fn a_verdict_reaches_the_broker_once_and_is_counted() {
        let (sender, settlements) = mpsc::channel();
        let metrics = Arc::new(Metrics::new().unwrap());
        let token = Unsettled::new(FakeReceipt(sender), Arc::clone(&metrics));
        assert_eq!(metrics.in_flight.get(), 1);
        let _ = token.settle(Verdict::Released(Released::Stopping), Bytes::new()).await;
        assert_eq!(settlements.iter().collect::<Vec<_>>(), ["released"]);
        assert_eq!(metrics.in_flight.get(), 0);
        assert_eq!(metrics.events_settled.with_label_values(&["released"]).get(), 1);
    }

    #[tokio::test]
    async fn forgetting_gives_the_event_back_and_is_counted() {
        let (sender, settlements) = mpsc::channel();
        let metrics = Arc::new(Metrics::new().unwrap());
        drop(Unsettled::new(FakeReceipt(sender), Arc::clone(&metrics)));
        assert_eq!(settlements.iter().collect::<Vec<_>>(), ["given back"]);
        assert_eq!(metrics.in_flight.get(), 0);
        assert_eq!(metrics.unsettled_drops.get(), 1);
    }
}
