//! Answers of `/api/v1`, as far as they are told in words. Strings are plain from here on; members that are new are passed
//! over.

use crate::operate::sanitize::Plain;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// A page of events; each as it came, or as a [`Line`].
#[derive(Debug, Deserialize)]
pub struct Page<Event = Value> {
    pub events: Vec<Event>,
    pub next: Option<String>,
    #[serde(default)]
    pub gaps: Vec<Gap>,
}

/// One of its events.
#[derive(Debug, Deserialize)]
pub struct Line {
    pub id: Option<Plain>,
    pub project: Option<Plain>,
    #[serde(rename = "type")]
    pub kind: Option<Plain>,
    pub last: Attempt,
}

/// One delivery.
#[derive(Debug, Deserialize)]
pub struct Attempt {
    pub at: Timestamp,
    pub attempt: i64,
    pub outcome: Plain,
    pub status: Option<i64>,
    pub reason: Option<Plain>,
    pub detail: Option<Plain>,
    pub latency_ms: Option<f64>,
    #[serde(default)]
    pub calls: i64,
    /// How long hookbro had it in hand.
    #[serde(default)]
    pub in_hand_ms: f64,
    pub queue: Option<Plain>,
    pub routing_key: Option<Plain>,
    pub message_id: Option<Plain>,
    pub next_at: Option<Timestamp>,
}

/// A stretch of which the journal is not whole.
#[derive(Debug, Deserialize)]
pub struct Gap {
    pub from: Timestamp,
    pub until: Option<Timestamp>,
    pub lost: Option<u64>,
}

/// One event's timeline.
#[derive(Debug, Deserialize)]
pub struct Story {
    pub id: Plain,
    pub project: Option<Plain>,
    #[serde(rename = "type")]
    pub kind: Option<Plain>,
    pub attempts: Vec<Attempt>,
    #[serde(default)]
    pub truncated: bool,
    pub next_retry: Option<Retry>,
    pub svix: Svix,
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// The same id of other projects.
    #[serde(default)]
    pub other_projects: Vec<Option<Plain>>,
}

#[derive(Debug, Deserialize)]
pub struct Retry {
    pub attempt: i64,
    pub rung: i64,
    pub due_at: Timestamp,
    /// 0 where it is due already.
    #[serde(default)]
    pub due_in_seconds: f64,
}

/// What Svix tells, or why it does not.
#[derive(Debug, Deserialize)]
pub struct Svix {
    pub reason: Option<Plain>,
    pub message: Option<Message>,
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    #[serde(default)]
    pub attempts: Vec<Call>,
    #[serde(default)]
    pub truncated: bool,
    /// Why there are neither endpoints nor attempts.
    pub undispatched: Option<Plain>,
}

#[derive(Debug, Deserialize)]
pub struct Message {
    pub id: Plain,
    pub created_at: Option<Plain>,
}

#[derive(Debug, Deserialize)]
pub struct Endpoint {
    pub id: Plain,
    pub url: Plain,
    pub status: Plain,
    pub next_attempt_at: Option<Plain>,
}

/// One call of Svix's to an endpoint.
#[derive(Debug, Deserialize)]
pub struct Call {
    pub at: Plain,
    pub endpoint_id: Plain,
    pub url: Plain,
    pub status: Plain,
    pub response_status: i64,
    pub response: Plain,
    pub duration_ms: Option<i64>,
}

/// A page of projects.
#[derive(Debug, Deserialize)]
pub struct Projects {
    pub since: Timestamp,
    pub projects: Vec<Project>,
    pub next: Option<String>,
}

/// What one project did of late.
#[derive(Debug, Deserialize)]
pub struct Project {
    pub project: Option<Plain>,
    pub delivered: i64,
    pub duplicate: i64,
    pub retried: i64,
    pub dead: i64,
    pub released: i64,
    pub success_rate: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub last_seen: Option<Timestamp>,
    pub last_error: Option<LastError>,
}

/// Its last delivery that did not end well.
#[derive(Debug, Deserialize)]
pub struct LastError {
    pub at: Timestamp,
    pub id: Option<Plain>,
    pub outcome: Plain,
    pub reason: Option<Plain>,
    pub status: Option<i64>,
    pub detail: Option<Plain>,
}
