//! Reading the journal, and what Svix says about a message: the two things that a timeline is put together from.

use crate::{
    event::{AppId, EventId},
    pipeline::journal::Gap,
};
use jiff::Timestamp;
use serde::Serialize;

pub use crate::pipeline::journal::Unread;

/// One delivery of an event, as it is kept. Times are UTC, latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    pub at: Timestamp,
    pub attempt: i64,
    pub outcome: String,
    pub status: Option<i64>,
    pub reason: Option<String>,
    pub detail: Option<String>,
    pub latency_ms: Option<f64>,
    pub in_hand_ms: f64,
    pub calls: i64,
    pub queue: String,
    pub routing_key: Option<String>,
    pub message_id: Option<String>,
    /// When the next attempt is due at the earliest.
    pub next_at: Option<Timestamp>,
}

/// An event with its latest delivery first in mind.
#[derive(Debug, Clone, PartialEq)]
pub struct EventLine {
    /// Its row in the journal, for the cursor.
    pub row_id: i64,
    pub project: Option<String>,
    pub id: Option<String>,
    pub kind: Option<String>,
    pub last: Attempt,
}

/// Which events are asked for; what is not given excludes nothing. Outcomes are those of the latest delivery.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    pub id: Option<String>,
    pub project: Option<String>,
    pub kind: Option<String>,
    pub outcome: Option<&'static str>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Only what lies before this row.
    pub before: Option<i64>,
    pub limit: usize,
}

/// A page of events, newest first.
#[derive(Debug, Clone, Default)]
pub struct EventPage {
    pub events: Vec<EventLine>,
    /// Where to go on. There may be one though the page is short, since the store looks at a bounded number at a time.
    pub next: Option<i64>,
}

/// Everything that is kept of one event.
#[derive(Debug, Clone)]
pub struct EventStory {
    pub project: Option<String>,
    pub kind: Option<String>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// Whether there were more than are kept in one answer; the oldest are left out.
    pub truncated: bool,
}

/// What one project did in a stretch of time.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectLine {
    /// `null` for what had no readable project.
    pub project: Option<String>,
    pub delivered: i64,
    pub duplicate: i64,
    pub retried: i64,
    pub dead: i64,
    pub released: i64,
    /// Accepted of all that were accepted or given up, 0 to 1; `null` if there were none.
    pub success_rate: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub last_seen: Option<Timestamp>,
    pub last_error: Option<LastError>,
}

/// The last delivery of a project that did not end well.
#[derive(Debug, Clone, Serialize)]
pub struct LastError {
    pub at: Timestamp,
    pub id: Option<String>,
    pub outcome: String,
    pub reason: Option<String>,
    pub status: Option<i64>,
    pub detail: Option<String>,
}

/// A page of projects by name.
#[derive(Debug, Clone, Default)]
pub struct ProjectPage {
    pub projects: Vec<ProjectLine>,
    /// The name to go on after.
    pub next: Option<String>,
}

/// A journal that can be read.
pub trait Timeline: Send + Sync + 'static {
    fn events(&self, query: &EventQuery) -> impl Future<Output = Result<EventPage, Unread>> + Send;

    /// The stories of every event with this id, one per project; none if it is unknown.
    fn stories(&self, id: &str, project: Option<&str>) -> impl Future<Output = Result<Vec<EventStory>, Unread>> + Send;

    /// Projects by name after `after`, with what they did since `since` in whole hours.
    fn projects(
        &self,
        named: Option<&str>,
        since: Timestamp,
        after: Option<&str>,
        limit: usize,
    ) -> impl Future<Output = Result<ProjectPage, Unread>> + Send;

    /// What is missing between two times.
    fn gaps(&self, from: Timestamp, until: Timestamp) -> impl Future<Output = Result<Vec<Gap>, Unread>> + Send;
}

/// A message as Svix shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SvixMessage {
    pub id: String,
    pub created_at: Option<String>,
}

/// What became of a message at one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SvixEndpoint {
    pub id: String,
    pub url: String,
    /// `success`, `pending`, `fail`, `sending`, `canceled`.
    pub status: String,
    pub next_attempt_at: Option<String>,
}

/// One call of Svix's to one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SvixAttempt {
    pub at: String,
    pub endpoint_id: String,
    pub url: String,
    pub status: String,
    /// 0 where no answer came.
    pub response_status: i64,
    /// What the endpoint answered, shortened.
    pub response: String,
    pub duration_ms: Option<i64>,
}

/// Svix's side of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SvixSide {
    pub message: SvixMessage,
    pub endpoints: Vec<SvixEndpoint>,
    /// Newest first.
    pub attempts: Vec<SvixAttempt>,
    /// Whether there are more endpoints or attempts than are shown.
    pub truncated: bool,
    /// Why there is none of either: a [`crate::event::NoTaker`], or [`crate::event::NOT_DISPATCHED`] where an endpoint takes
    /// the message. None where some are shown, or it is not known.
    pub undispatched: Option<&'static str>,
    /// Why endpoints or attempts could not be told, if they could not.
    pub missing: Option<String>,
}

/// Whoever can say what became of a message after it was accepted.
pub trait MessageView: Send + Sync + 'static {
    /// Bounded in time. A refusal is one line in hookbro's words; [`None`] if there is no such message.
    fn message(&self, app: &AppId, event: &EventId) -> impl Future<Output = Result<Option<SvixSide>, String>> + Send;
}
