//! Answers of `/api/v1`, as far as they are told in words. Strings are plain from here on; members that are new are passed
//! over.

use crate::cli::plain::Plain;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// A page of events, each as it came.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub events: Vec<Value>,
    pub next: Option<String>,
    #[serde(default)]
    pub gaps: Vec<Gap>,
}

/// One of its events.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub id: Option<Plain>,
    pub project: Option<Plain>,
    #[serde(rename = "type")]
    pub kind: Option<Plain>,
    pub last: Attempt,
}

/// One delivery.
#[derive(Debug, Deserialize)]
pub(super) struct Attempt {
    pub at: Timestamp,
    pub attempt: i64,
    pub outcome: Plain,
    pub status: Option<i64>,
    pub reason: Option<Plain>,
    pub detail: Option<Plain>,
    pub latency_ms: Option<f64>,
    #[serde(default)]
    pub calls: i64,
    pub routing_key: Option<Plain>,
    pub message_id: Option<Plain>,
    pub next_at: Option<Timestamp>,
}

/// A stretch of which the journal is not whole.
#[derive(Debug, Deserialize)]
pub(super) struct Gap {
    pub from: Timestamp,
    pub until: Option<Timestamp>,
    pub lost: Option<u64>,
}

/// One event's timeline.
#[derive(Debug, Deserialize)]
pub(super) struct Story {
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
}

#[derive(Debug, Deserialize)]
pub(super) struct Retry {
    pub attempt: i64,
    pub rung: i64,
    pub due_at: Timestamp,
    /// 0 where it is due already.
    #[serde(default)]
    pub due_in_seconds: f64,
}

/// What Svix tells, or why it does not.
#[derive(Debug, Deserialize)]
pub(super) struct Svix {
    pub reason: Option<Plain>,
    pub message: Option<Message>,
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    #[serde(default)]
    pub attempts: Vec<Call>,
    #[serde(default)]
    pub truncated: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub id: Plain,
    pub created_at: Option<Plain>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Endpoint {
    pub id: Plain,
    pub url: Plain,
    pub status: Plain,
    pub next_attempt_at: Option<Plain>,
}

/// One call of Svix's to an endpoint.
#[derive(Debug, Deserialize)]
pub(super) struct Call {
    pub at: Plain,
    pub endpoint_id: Plain,
    pub url: Plain,
    pub status: Plain,
    pub response_status: i64,
    pub response: Plain,
    pub duration_ms: Option<i64>,
}
