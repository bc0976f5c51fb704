//! Every metric: name, help, labels and buckets in one place, passed in and never global.

use super::trace::SpanLoss;
use crate::event::{Attempt, DeadReason, HaltReason, Oddity, Verdict};
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
    core::Collector,
};
use std::collections::BTreeMap;

/// Seconds. From a loopback stand-in (0.5 ms) to `svix.timeout` (15 s by default).
const REQUEST_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0];
/// Seconds. From a fresh event to one that climbed the whole default ladder (about 7.2 h) or sat through an outage.
const AGE_BUCKETS: [f64; 14] =
    [0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 172_800.0];

/// All series of one process. Labels are bounded: no event id, no free text.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub events_received: IntCounterVec,
    pub events_settled: IntCounterVec,
    /// The usual one of `events_settled`, looked up once.
    delivered: IntCounter,
    pub project_events_settled: IntCounterVec,
    pub events_dead: IntCounterVec,
    pub events_odd: IntCounterVec,
    pub events_rescued: IntCounter,
    pub events_unchecked: IntCounter,
    pub unsettled_drops: IntCounter,
    pub settle_failures: IntCounter,
    pub svix_requests: IntCounterVec,
    pub svix_request_duration: Histogram,
    pub svix_in_flight_limit: IntGauge,
    pub event_age: Histogram,
    pub in_flight: IntGauge,
    pub copies_failed: IntCounterVec,
    pub dead_letters_vanished: IntCounter,
    pub policy_conflicts: IntGauge,
    pub queue_messages: IntGaugeVec,
    pub events_outstanding: IntGaugeVec,
    pub outstanding_bytes: IntGaugeVec,
    pub queue_unavailable: IntGaugeVec,
    pub paused: IntGaugeVec,
    pub projects_paused: IntGauge,
    pub circuits_open: IntGauge,
    pub events_parked: IntGaugeVec,
    pub parked_oldest_age: IntGaugeVec,
    pub parking_max_age: IntGauge,
    pub broker_connected: IntGauge,
    pub broker_reconnects: IntCounter,
    pub watchdog_reconnects: IntCounter,
    pub apps_provisioned: IntCounter,
    pub ingest_requests: IntCounterVec,
    pub ingest_request_duration: Histogram,
    pub ingest_events: IntCounter,
    pub spans_exported: IntCounter,
    pub spans_dropped: IntCounterVec,
    pub journal_entries: IntCounter,
    pub journal_lost: IntCounter,
    pub journal_bytes: IntGauge,
    pub journal_open: IntGauge,
}

impl Metrics {
    /// Registers every series. Fails only if two of them share a name, which a test would find.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name, help| registered(&registry, IntCounter::new(name, help)?);
        let gauge = |name, help| registered(&registry, IntGauge::new(name, help)?);
        let counters =
            |name, help, labels: &[&str]| registered(&registry, IntCounterVec::new(Opts::new(name, help), labels)?);
        let gauges =
            |name, help, labels: &[&str]| registered(&registry, IntGaugeVec::new(Opts::new(name, help), labels)?);
        gauges("hookbro_build_info", "Always 1; the version is the label.", &["version"])?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        let events_settled = counters("hookbro_events_settled_total", "Deliveries settled, by outcome.", &["outcome"])?;
        let metrics = Self {
            events_received: counters(
                "hookbro_events_received_total",
                "Deliveries from the broker, by attempt.",
                &["attempt"],
            )?,
            delivered: events_settled.with_label_values(&[Verdict::Delivered.outcome()]),
            events_settled,
            project_events_settled: counters(
                "hookbro_project_events_settled_total",
                "Deliveries settled, by project (those of metrics.projects, the rest is other) and outcome.",
                &["project", "outcome"],
            )?,
            events_dead: counters("hookbro_events_dead_total", "Events given up, by reason.", &["reason"])?,
            events_odd: counters(
                "hookbro_events_odd_total",
                "Events taken although something about them is unusual, by what it is.",
                &["oddity"],
            )?,
            events_rescued: counter(
                "hookbro_events_rescued_total",
                "Events that Svix had stored without calling an endpoint, and that hookbro asked it to send.",
            )?,
            events_unchecked: counter(
                "hookbro_events_unchecked_total",
                "Repeats of which Svix did not let hookbro see whether an endpoint is called for them.",
            )?,
            unsettled_drops: counter(
                "hookbro_deliveries_dropped_total",
                "Deliveries dropped without a verdict and given back; above 0 is a defect of hookbro.",
            )?,
            settle_failures: counter(
                "hookbro_settle_failures_total",
                "Settlements that did not reach the broker, which delivers those events again.",
            )?,
            svix_requests: counters(
                "hookbro_svix_requests_total",
                "Message calls to Svix, by HTTP status or kind of failure.",
                &["status"],
            )?,
            svix_request_duration: registered(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new("hookbro_svix_request_duration_seconds", "Duration of message calls to Svix.")
                        .buckets(REQUEST_BUCKETS.into()),
                )?,
            )?,
            event_age: registered(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new("hookbro_event_age_seconds", "From an event's own time to its acceptance.")
                        .buckets(AGE_BUCKETS.into()),
                )?,
            )?,
            svix_in_flight_limit: gauge(
                "hookbro_svix_in_flight_limit",
                "Calls to Svix that may be in flight now; adapts to latency and refusals.",
            )?,
            in_flight: gauge("hookbro_events_in_flight", "Deliveries received and not yet settled.")?,
            copies_failed: counters(
                "hookbro_copies_failed_total",
                "Copies that the broker did not take into this queue, each tried again: a length limit, an alarm, no leader.",
                &["queue"],
            )?,
            dead_letters_vanished: counter(
                "hookbro_dead_letters_vanished_total",
                "Messages by which the dead-letter queue shrank without a replay or discard of this process.",
            )?,
            policy_conflicts: gauge(
                "hookbro_broker_policy_conflicts",
                "Settings of broker policies that break a guarantee, as last asked; needs broker.management_url.",
            )?,
            queue_messages: gauges("hookbro_queue_messages", "Messages ready in each queue.", &["queue"])?,
            events_outstanding: gauges(
                "hookbro_events_outstanding",
                "Deliveries of each consumed queue that are received and not settled; its prefetch is the bound.",
                &["queue"],
            )?,
            outstanding_bytes: gauges(
                "hookbro_outstanding_bytes",
                "Bytes of these deliveries in memory, from queues and from parked events; broker.memory_budget is the bound.",
                &["from"],
            )?,
            queue_unavailable: gauges(
                "hookbro_queue_unavailable",
                "1 while this retry queue cannot be consumed; the other queues are.",
                &["queue"],
            )?,
            paused: gauges("hookbro_paused", "1 while nothing is sent to Svix for this reason.", &["reason"])?,
            projects_paused: gauge("hookbro_projects_paused", "Projects that an operator has paused.")?,
            circuits_open: gauge(
                "hookbro_circuits_open",
                "Destinations whose circuit is open: they fail, and are probed.",
            )?,
            events_parked: gauges(
                "hookbro_events_parked",
                "Events that are parked, by why they stay there.",
                &["reason"],
            )?,
            parked_oldest_age: gauges(
                "hookbro_parked_oldest_age_seconds",
                "How long the event that was parked first has been so, by why it stays there; 0 without one.",
                &["reason"],
            )?,
            parking_max_age: gauge(
                "hookbro_parking_max_age_seconds",
                "parking.max_age: an event that has been parked for so long is given up.",
            )?,
            broker_connected: gauge("hookbro_broker_connected", "1 while consuming is possible.")?,
            broker_reconnects: counter("hookbro_broker_reconnects_total", "Connections made again after a loss.")?,
            watchdog_reconnects: counter(
                "hookbro_watchdog_reconnects_total",
                "Connections closed by the stall detector: a queue with messages ready sent none, or the broker did not answer.",
            )?,
            apps_provisioned: counter("hookbro_apps_provisioned_total", "Svix applications created for projects.")?,
            ingest_requests: counters(
                "hookbro_ingest_requests_total",
                "Requests to POST /notifications, by the status of their answer.",
                &["status"],
            )?,
            ingest_request_duration: registered(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new("hookbro_ingest_request_duration_seconds", "Duration of POST /notifications.")
                        .buckets(REQUEST_BUCKETS.into()),
                )?,
            )?,
            ingest_events: counter("hookbro_ingest_events_total", "Events by HTTP that the broker confirmed.")?,
            spans_exported: counter("hookbro_spans_exported_total", "Spans that the collector took.")?,
            spans_dropped: counters(
                "hookbro_spans_dropped_total",
                "Spans that reached no collector, by reason; events are not affected.",
                &["reason"],
            )?,
            journal_entries: counter("hookbro_journal_entries_total", "Deliveries written to the journal.")?,
            journal_lost: counter("hookbro_journal_lost_total", "Deliveries that are missing in the journal.")?,
            journal_bytes: gauge(
                "hookbro_journal_bytes",
                "Bytes that the journal's entries take in the store, about.",
            )?,
            journal_open: gauge("hookbro_journal_open", "1 while the journal's store takes entries.")?,
            registry,
        };
        #[cfg(target_os = "linux")]
        metrics.registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        metrics.show_zeros();
        Ok(metrics)
    }

    /// Counts a verdict that has reached the broker.
    pub fn settled(&self, verdict: &Verdict) {
        if matches!(verdict, Verdict::Delivered) {
            self.delivered.inc();
            return;
        }
        self.events_settled.with_label_values(&[verdict.outcome()]).inc();
        if let Verdict::Dead(dead) = verdict {
            self.events_dead.with_label_values(&[dead.reason.as_str()]).inc();
        }
    }

    /// Attempts that have ended: what was given back or parked is not among them.
    pub fn ended(&self) -> u64 {
        let ended = ["delivered", "duplicate", "retried", "dead"]
            .map(|outcome| self.events_settled.with_label_values(&[outcome]).get());
        ended.iter().sum()
    }

    /// The counter of deliveries that are this attempt.
    pub fn received(&self, attempt: Attempt) -> IntCounter {
        self.events_received.with_label_values(&[attempt.get().to_string()])
    }

    /// Deliveries of all queues that are received and not settled.
    pub fn outstanding(&self) -> u64 {
        let series = self.events_outstanding.collect();
        let values = series.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_gauge().get_value());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers below the prefetch")]
        let sum = values.sum::<f64>() as u64;
        sum
    }

    /// Shows `reason` as the one that holds, or none.
    pub fn show_halt(&self, reason: Option<HaltReason>) {
        for each in HaltReason::ALL {
            self.paused.with_label_values(&[each.as_str()]).set((Some(each) == reason).into());
        }
    }

    /// The process as its own `process_*` series show it: CPU in seconds, memory in bytes, open descriptors.
    pub fn process(&self) -> BTreeMap<String, f64> {
        let families = self.registry.gather().into_iter().filter(|family| family.name().starts_with("process_"));
        let value =
            |metric: &prometheus::proto::Metric| metric.get_counter().get_value().max(metric.get_gauge().get_value());
        families
            .filter_map(|f| Some((f.name().trim_start_matches("process_").to_owned(), value(f.get_metric().first()?))))
            .collect()
    }

    /// The text that a scraper reads, in Prometheus' exposition format 0.0.4.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// Series that exist from the start: an alert on a rate must not wait for the first event of its kind.
    fn show_zeros(&self) {
        for outcome in Verdict::OUTCOMES {
            self.events_settled.with_label_values(&[outcome]);
        }
        for reason in DeadReason::ALL {
            self.events_dead.with_label_values(&[reason.as_str()]);
        }
        for oddity in Oddity::ALL {
            self.events_odd.with_label_values(&[oddity.as_str()]);
        }
        for reason in SpanLoss::ALL {
            self.spans_dropped.with_label_values(&[reason.as_str()]);
        }
        self.show_halt(None);
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}
