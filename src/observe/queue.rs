//! Spans that wait for the collector: how many may, and what became of those that could not be sent. The SDK's own queue is
//! bounded too, but keeps its count to itself.

use crate::observe::{metrics::Metrics, trace::SpanLoss};
use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanProcessor},
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Most spans that wait, about 1 KiB each: a second's worth at a thousand events a second with a slow collector, and 8 MiB.
pub(super) const CAPACITY: usize = 8 * 1024;
/// A collector that is away must not fill the log: one line a minute, with what was lost since the last.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Lets spans through to the batching processor while there is room.
#[derive(Debug)]
pub(super) struct Bounded {
    pub(super) inner: BatchSpanProcessor,
    pub(super) tally: Arc<Tally>,
}

impl SpanProcessor for Bounded {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.tally.admit() {
            self.inner.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// How many spans wait, and how many were lost.
#[derive(Debug)]
pub(super) struct Tally {
    metrics: Arc<Metrics>,
    waiting: AtomicUsize,
    lost: Mutex<Lost>,
}

#[derive(Debug, Default)]
struct Lost {
    since_warning: usize,
    warned: Option<Instant>,
}

impl Tally {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, waiting: AtomicUsize::new(0), lost: Mutex::default() }
    }

    /// One span more, if there is room.
    fn admit(&self) -> bool {
        let room = |waiting| (waiting < CAPACITY).then_some(waiting + 1);
        let admitted = self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok();
        if !admitted {
            self.lose(SpanLoss::QueueFull, 1, "more spans were waiting for the collector than may");
        }
        admitted
    }

    /// `spans` have left the queue for a call.
    pub(super) fn take(&self, spans: usize) {
        self.waiting.fetch_sub(spans, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(super) fn sent(&self, spans: usize) {
        self.metrics.spans_exported.inc_by(count(spans));
    }

    pub(super) fn lose(&self, loss: SpanLoss, spans: usize, why: &str) {
        if spans == 0 {
            return;
        }
        self.metrics.spans_dropped.with_label_values(&[loss.as_str()]).inc_by(count(spans));
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        lost.since_warning += spans;
        if lost.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY) {
            tracing::warn!(
                spans.dropped = lost.since_warning,
                reason = loss.as_str(),
                cause = why,
                "spans were dropped"
            );
            *lost = Lost { since_warning: 0, warned: Some(Instant::now()) };
        }
    }
}

fn count(spans: usize) -> u64 {
    u64::try_from(spans).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_capacity_every_span_is_counted_and_none_waits() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let tally = Tally::new(Arc::clone(&metrics));
        let dropped = || metrics.spans_dropped.with_label_values(&["queue_full"]).get();
        assert!((0..CAPACITY).all(|_| tally.admit()));
        assert_eq!(dropped(), 0);
        assert!((0..10).all(|_| !tally.admit()));
        assert_eq!((dropped(), tally.waiting()), (10, CAPACITY));
        tally.take(512);
        assert!(tally.admit(), "what has left makes room");
        assert_eq!((dropped(), tally.waiting()), (10, CAPACITY - 511));
    }
}
