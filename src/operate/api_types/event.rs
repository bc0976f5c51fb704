//! Events, one event's timeline, and projects.

use super::{
    change::Pause,
    scalar::{Outcome, Time, Undispatched},
};
use crate::{operate::sanitize::Plain, pipeline::journal};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

/// A page of events, newest first.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct EventPage {
    pub events: Vec<Line>,
    /// Cursor of the next page.
    pub next: Option<String>,
    #[serde(default)]
    pub gaps: Vec<Gap>,
}

/// An event by its latest delivery.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[schema(as = Event)]
pub struct Line {
    /// `null` where the event had no readable id; so with project and type.
    pub id: Option<Plain>,
    pub project: Option<Plain>,
    #[serde(rename = "type")]
    pub kind: Option<Plain>,
    /// That of the latest delivery.
    #[schema(value_type = Outcome)]
    #[serde(default)]
    pub outcome: Plain,
    pub last: Attempt,
}

/// One delivery of an event, as it is kept. Times are UTC, latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, ToSchema)]
pub struct Attempt {
    #[schema(value_type = Time)]
    pub at: Timestamp,
    pub attempt: i64,
    #[schema(value_type = Outcome)]
    pub outcome: Plain,
    /// HTTP status of Svix's answer.
    pub status: Option<i64>,
    /// Why it did not end well, as a word for machines.
    pub reason: Option<Plain>,
    /// The same in one line for people.
    pub detail: Option<Plain>,
    pub latency_ms: Option<f64>,
    /// From the delivery to its settlement, deferrals included.
    #[serde(default)]
    pub processing_ms: f64,
    /// Calls of Svix that it took.
    #[serde(default)]
    pub calls: i64,
    #[serde(default)]
    pub queue: Plain,
    pub routing_key: Option<Plain>,
    /// Svix's id of the message.
    pub message_id: Option<Plain>,
    /// When the next attempt is due at the earliest.
    #[schema(value_type = Option<Time>)]
    pub next_at: Option<Timestamp>,
}

/// A stretch of which the journal is not whole.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
pub struct Gap {
    #[schema(value_type = Time)]
    pub from: Timestamp,
    /// `null`: not over yet.
    #[schema(value_type = Option<Time>)]
    pub until: Option<Timestamp>,
    /// Deliveries known to be missing; `null` where it is not known.
    pub lost: Option<u64>,
}

impl From<&journal::Gap> for Gap {
    fn from(gap: &journal::Gap) -> Self {
        Self { from: gap.from, until: gap.until, lost: gap.lost }
    }
}

/// One event's timeline.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[schema(as = Timeline)]
pub struct Story {
    pub id: Plain,
    pub project: Option<Plain>,
    #[serde(rename = "type")]
    pub kind: Option<Plain>,
    /// That of the latest delivery; so with the reason.
    #[schema(value_type = Outcome)]
    #[serde(default)]
    pub outcome: Plain,
    pub reason: Option<Plain>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// Whether earlier deliveries are left out.
    #[serde(default)]
    pub truncated: bool,
    pub next_retry: Option<Retry>,
    pub svix: Svix,
    #[serde(default)]
    pub gaps: Vec<Gap>,
    /// The same id may stand for other events in other projects: ask with `?project=`.
    #[serde(default)]
    pub other_projects: Vec<Option<Plain>>,
}

/// The attempt that comes next.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Retry {
    pub attempt: i64,
    pub rung: i64,
    #[schema(value_type = Time)]
    pub due_at: Timestamp,
    /// 0 where it is due already.
    #[serde(default)]
    pub due_in_seconds: f64,
}

/// Whether Svix's side is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SvixState)]
pub enum State {
    Known,
    Absent,
}

/// What Svix tells, or why it does not: without a message only the state and the reason.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct Svix {
    pub state: State,
    /// Why it is not known, wholly or in part.
    pub reason: Option<Plain>,
    pub message: Option<Message>,
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
    /// Newest first.
    #[serde(default)]
    pub attempts: Vec<Call>,
    /// Whether there are more endpoints or attempts than are shown.
    #[serde(default)]
    pub truncated: bool,
    /// Why there are neither endpoints nor attempts; `not_dispatched`: an endpoint takes the message, and none was called
    /// yet.
    #[schema(value_type = Option<Undispatched>)]
    pub undispatched: Option<Plain>,
}

impl Svix {
    pub fn absent(why: &str) -> Self {
        Self {
            state: State::Absent,
            reason: Some(why.into()),
            message: None,
            endpoints: Vec::new(),
            attempts: Vec::new(),
            truncated: false,
            undispatched: None,
        }
    }
}

impl Serialize for Svix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Known<'a> {
            state: State,
            reason: &'a Option<Plain>,
            message: &'a Message,
            endpoints: &'a [Endpoint],
            attempts: &'a [Call],
            truncated: bool,
            undispatched: &'a Option<Plain>,
        }
        #[derive(Serialize)]
        struct Absent<'a> {
            state: State,
            reason: &'a Option<Plain>,
        }
        let Self { state, reason, message, endpoints, attempts, truncated, undispatched } = self;
        match message {
            Some(message) => {
                let (state, truncated) = (*state, *truncated);
                Known { state, reason, message, endpoints, attempts, truncated, undispatched }.serialize(serializer)
            }
            None => Absent { state: *state, reason }.serialize(serializer),
        }
    }
}

/// A message as Svix shows it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = SvixMessage)]
pub struct Message {
    pub id: Plain,
    pub created_at: Option<Plain>,
}

/// What became of a message at one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = SvixEndpoint)]
pub struct Endpoint {
    pub id: Plain,
    pub url: Plain,
    /// `success`, `pending`, `fail`, `sending`, `canceled`.
    pub status: Plain,
    pub next_attempt_at: Option<Plain>,
}

/// One call of Svix's to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[schema(as = SvixAttempt)]
pub struct Call {
    pub at: Plain,
    pub endpoint_id: Plain,
    pub url: Plain,
    pub status: Plain,
    /// 0 where no answer came.
    pub response_status: i64,
    /// What the endpoint answered, shortened.
    pub response: Plain,
    pub duration_ms: Option<i64>,
}

/// A page of projects by name.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ProjectPage {
    /// From when on it is summed, in whole hours.
    #[schema(value_type = Time)]
    pub since: Timestamp,
    pub projects: Vec<Project>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// What one project did in a stretch of time.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Project {
    /// `null` for what had no readable project.
    pub project: Option<Plain>,
    pub delivered: i64,
    pub duplicate: i64,
    pub retried: i64,
    pub dead: i64,
    pub released: i64,
    /// Accepted of all that were accepted or given up, 0 to 1; `null` if there were none.
    pub success_rate: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    #[schema(value_type = Option<Time>)]
    pub last_seen: Option<Timestamp>,
    pub last_error: Option<LastError>,
    /// The pause in force.
    pub paused: Option<Pause>,
}

/// The last delivery of a project that did not end well.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct LastError {
    #[schema(value_type = Time)]
    pub at: Timestamp,
    pub id: Option<Plain>,
    pub outcome: Plain,
    pub reason: Option<Plain>,
    pub status: Option<i64>,
    pub detail: Option<Plain>,
}
