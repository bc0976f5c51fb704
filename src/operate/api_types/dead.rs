//! Dead letters, and what is done to them.

use super::{
    change::Who,
    scalar::{Phrase, Reason, Status, Time, Work},
};
use crate::operate::sanitize::Plain;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A dead letter without its body.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Dead {
    /// `null` where the event had no readable id; so with project and type.
    pub id: Option<Plain>,
    pub project: Option<Plain>,
    #[serde(rename = "type")]
    pub kind: Option<Plain>,
    /// Why it was given up.
    #[schema(value_type = Reason)]
    pub reason: Plain,
    pub detail: Option<Plain>,
    /// Attempts made.
    pub attempts: Option<i64>,
    /// HTTP status of the last attempt.
    pub status: Option<i64>,
    #[schema(value_type = Option<Time>)]
    pub failed_at: Option<Timestamp>,
    /// How often it has been replayed before.
    pub replayed: i64,
    pub routing_key: Plain,
    /// How long its body is.
    pub bytes: u64,
}

/// A page of dead letters, oldest first.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct DeadPage {
    #[schema(max_items = 200)]
    pub events: Vec<Dead>,
    /// How many are meant in all.
    pub total: u64,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// A dead letter with headers and body.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct DeadFull {
    #[serde(flatten)]
    pub event: Dead,
    /// As text, redacted.
    pub body: Plain,
    /// AMQP properties and headers, redacted.
    #[schema(value_type = Object)]
    pub properties: Value,
}

/// The dead letters with one id.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct DeadWhole {
    #[schema(min_items = 1, max_items = 10)]
    pub events: Vec<DeadFull>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkState {
    Running,
    Done,
    Failed,
}

/// A replay or discard of dead letters.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct DeadJob {
    #[schema(value_type = Work)]
    pub action: Plain,
    pub state: WorkState,
    pub who: Who,
    /// What it is about, in words.
    pub filter: Plain,
    #[schema(value_type = Time)]
    pub started_at: Timestamp,
    #[schema(value_type = Option<Time>)]
    pub ended_at: Option<Timestamp>,
    pub examined: u64,
    /// Dealt with so far.
    pub events: u64,
    /// Where discarded events were written to before they went.
    pub file: Option<Plain>,
    /// Why it failed.
    pub detail: Option<Plain>,
}

/// The job, if there has been one.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct DeadJobAnswer {
    pub job: Option<DeadJob>,
}

/// What a change came to.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Dealt {
    #[schema(value_type = Work)]
    pub action: Plain,
    pub confirmed: bool,
    /// Dealt with, or without `confirm` how many it would be.
    pub events: u64,
    pub file: Option<Plain>,
    pub note: Option<Plain>,
}

/// A filter, or `all`; without `confirm` nothing is changed.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadAsked {
    #[serde(default, deserialize_with = "super::object::optional")]
    pub filter: Option<DeadFilterAsked>,
    #[serde(default)]
    pub all: bool,
    #[serde(default)]
    #[schema(default = false)]
    pub confirm: bool,
}

/// Which dead letters. What is not given excludes nothing.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeadFilter)]
pub struct DeadFilterAsked {
    #[schema(value_type = Option<Vec<Phrase>>, min_items = 1)]
    pub id: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<Phrase>>, min_items = 1)]
    pub project: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<Phrase>>, min_items = 1)]
    pub r#type: Option<Vec<String>>,
    #[schema(value_type = Option<Vec<Reason>>, min_items = 1)]
    pub reason: Option<Vec<String>>,
    /// JSON knows no whole numbers: 422.0 is one.
    #[schema(value_type = Option<Vec<Status>>, min_items = 1)]
    pub status: Option<Vec<f64>>,
    #[schema(value_type = Option<Time>)]
    pub since: Option<Timestamp>,
    #[schema(value_type = Option<Time>)]
    pub until: Option<Timestamp>,
}

impl DeadFilterAsked {
    /// What is given, by name, for the one parser of filters. A list that is given and empty is refused by its name.
    pub fn pairs(self) -> Result<Vec<(&'static str, String)>, &'static str> {
        let Self { id, project, r#type, reason, status, since, until } = self;
        let mut pairs = Vec::new();
        for (key, values) in [
            ("id", id),
            ("project", project),
            ("type", r#type),
            ("reason", reason),
            ("status", status.map(|all| all.iter().map(f64::to_string).collect())),
            ("since", since.map(|at| vec![at.to_string()])),
            ("until", until.map(|at| vec![at.to_string()])),
        ] {
            if values.as_ref().is_some_and(Vec::is_empty) {
                return Err(key);
            }
            pairs.extend(values.into_iter().flatten().map(|value| (key, value)));
        }
        Ok(pairs)
    }
}
