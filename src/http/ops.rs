//! What operators and probes ask: metrics, liveness, readiness, status. Answers come from the ports alone.

use super::counts::{Counts, Queues};
use crate::observe::{
    health::{Broker, Health, Journal, Svix, Unavailable},
    metrics::Metrics,
};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

/// Content type of Prometheus' text format.
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the pages are made of.
#[derive(Debug, Clone)]
pub struct Ops {
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    /// Names of the objects on the broker, as `/status` shows them.
    pub topology: Value,
    pub queues: Queues,
}

impl Ops {
    pub(super) fn counts(&self) -> Counts {
        Counts::of(&self.queues, &self.health, &self.metrics)
    }
}

/// `/metrics`, `/livez`, `/readyz`, `/status`.
pub fn router(ops: Ops) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .with_state(ops)
}

async fn metrics(State(ops): State<Ops>) -> Response {
    match ops.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn livez(State(ops): State<Ops>) -> (StatusCode, String) {
    match ops.health.alive() {
        Ok(()) => (StatusCode::OK, "alive\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn readyz(State(ops): State<Ops>) -> (StatusCode, &'static str) {
    match *ops.health.broker.borrow() {
        Broker::Connected { .. } => (StatusCode::OK, "ready\n"),
        Broker::Connecting { .. } => (StatusCode::SERVICE_UNAVAILABLE, "not connected to the broker\n"),
        Broker::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

async fn status(State(ops): State<Ops>) -> Json<Value> {
    let health = &ops.health;
    Json(json!({
        "versions": {"hookbro": env!("CARGO_PKG_VERSION")},
        "uptime_seconds": health.uptime().as_secs(),
        "broker": broker(&health.broker.borrow()),
        "topology": ops.topology,
        "svix": svix(&health.svix.borrow()),
        "journal": journal(&health.journal.borrow(), &ops.metrics),
        "in_flight": ops.metrics.in_flight.get(),
        "events": ops.counts(),
        "queues": *health.queues.borrow(),
        "circuits": *health.circuits.borrow(),
        "stalled": *health.stalled.borrow(),
        "unavailable": unavailable(&health.unavailable.borrow()),
        "process": ops.metrics.process(),
    }))
}

fn broker(broker: &Broker) -> Value {
    match broker {
        Broker::Connecting { last_error } => json!({"state": "connecting", "last_error": last_error}),
        Broker::Connected { since } => json!({"state": "connected", "since": rfc3339(*since)}),
        Broker::Draining => json!({"state": "draining"}),
    }
}

fn unavailable(queues: &BTreeMap<String, Unavailable>) -> Value {
    let queues = queues.iter().map(|(queue, Unavailable { detail, since })| {
        (queue.clone(), json!({"detail": detail, "since": rfc3339(*since)}))
    });
    Value::Object(queues.collect())
}

fn journal(journal: &Journal, metrics: &Metrics) -> Value {
    let (state, detail, since) = match journal {
        Journal::Off => ("off", None, None),
        Journal::Opening => ("opening", None, None),
        Journal::Open { since } => ("open", None, Some(*since)),
        Journal::Away { detail, since } => ("away", Some(detail), Some(*since)),
    };
    let (entries, lost) = (metrics.journal_entries.get(), metrics.journal_lost.get());
    json!({"state": state, "detail": detail, "since": since.map(rfc3339), "entries": entries, "lost": lost})
}

fn svix(svix: &Svix) -> Value {
    match svix {
        Svix::Ok => json!({"state": "ok", "reason": null, "until": null}),
        // Whether it takes events only an event can show, and none has come since the probe succeeded.
        Svix::Untried { reason } => json!({
            "state": "ok",
            "reason": null,
            "until": null,
            "detail": format!("the halt ({reason}) is over by its probe; hookbro awaits a first event to try"),
        }),
        Svix::Halted { reason, detail, since, until } => json!({
            "state": "paused",
            "reason": reason.as_str(),
            "detail": detail,
            "since": rfc3339(*since),
            "until": until.map(rfc3339),
        }),
    }
}

fn rfc3339(time: SystemTime) -> Option<String> {
    jiff::Timestamp::try_from(time).ok().map(|time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::HaltReason;

    fn ops() -> Ops {
        Ops {
            metrics: Arc::new(Metrics::new().unwrap()),
            health: Arc::new(Health::new()),
            topology: json!({"exchange": "x"}),
            queues: Queues::default(),
        }
    }

    #[tokio::test]
    async fn ready_means_connected_and_a_pause_does_not_enter() {
        let ops = ops();
        assert_eq!(readyz(State(ops.clone())).await.0, StatusCode::SERVICE_UNAVAILABLE);
        ops.health.broker.send_replace(Broker::Connected { since: SystemTime::now() });
        let (reason, since) = (HaltReason::Auth, SystemTime::now());
        ops.health.svix.send_replace(Svix::Halted { reason, detail: "no".into(), since, until: None });
        assert_eq!(readyz(State(ops.clone())).await.0, StatusCode::OK);
        assert_eq!(livez(State(ops.clone())).await.0, StatusCode::OK);
        let Json(said) = status(State(ops.clone())).await;
        assert_eq!(said["svix"]["state"], "paused");
        assert_eq!(said["svix"]["reason"], "auth");
        assert_eq!(said["broker"]["state"], "connected");
        ops.health.svix.send_replace(Svix::Untried { reason });
        let Json(said) = status(State(ops)).await;
        assert_eq!(said["svix"]["state"], "ok");
        assert!(said["svix"]["detail"].as_str().unwrap().contains("(auth)"));
    }

    #[tokio::test]
    async fn where_undelivered_events_are_adds_up() {
        let dead = "q.dead".to_owned();
        let consumed = ["q", "q.retry.1"].map(str::to_owned).into();
        let ops = Ops { queues: Queues { consumed, dead }, ..ops() };
        let depths = [("q", 1), ("q.retry.1", 2), ("q.delay.1", 10), ("q.dead", 100)];
        ops.health.queues.send_replace(depths.map(|(queue, ready)| (queue.to_owned(), ready)).into());
        ops.health.parked.send_replace(1_000);
        ops.metrics.events_outstanding.with_label_values(&["q"]).set(10_000);
        ops.metrics.events_outstanding.with_label_values(&["q.retry.1"]).set(20_000);
        let Json(status) = status(State(ops)).await;
        let expected = json!({
            "ready": 3, "outstanding": 30_000, "delayed": 10, "parked": 1_000, "dead": 100, "undelivered": 31_113,
        });
        assert_eq!(status["events"], expected);
    }

    #[tokio::test]
    async fn every_documented_metric_is_shown_from_the_start() {
        let text = ops().metrics.text().unwrap();
        for name in [
            "hookbro_events_settled_total{outcome=\"delivered\"}",
            "hookbro_events_dead_total{reason=\"exhausted\"}",
            "hookbro_svix_request_duration_seconds_bucket",
            "hookbro_event_age_seconds_bucket",
            "hookbro_events_in_flight",
            "hookbro_paused{reason=\"auth\"}",
            "hookbro_broker_connected",
            "hookbro_broker_reconnects_total",
            "hookbro_apps_provisioned_total",
            "hookbro_build_info{version=",
            "process_resident_memory_bytes",
        ] {
            assert!(text.contains(name), "{name} is missing");
        }
    }
}
