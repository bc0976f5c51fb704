//! What operators ask to be changed, what it came to, and who did it: the audit, pauses, endpoints.

use super::scalar::{Ending, Nil, Time};
use crate::{
    event::ProjectId,
    operate::{
        audit::{Actor, AuditLine},
        endpoint_admin,
        sanitize::Plain,
    },
    pipeline::pauses,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who made a change.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Who {
    /// `local`; `token:` and the first twelve hexadecimal digits of the token's SHA-256; or `cli:` and the user of the
    /// operating system who ran a command.
    #[schema(value_type = String, pattern = "^(local|token:[0-9a-f]{12}|cli:.+)$")]
    pub identity: Plain,
    /// The name that the caller gave itself in `x-hookbro-user`; nobody has checked it.
    pub claimed: Option<Plain>,
}

impl From<&Actor> for Who {
    fn from(actor: &Actor) -> Self {
        Self { identity: actor.identity.to_string().into(), claimed: actor.claimed().map(Plain::new) }
    }
}

/// What one operator changed.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Change {
    #[schema(value_type = Time)]
    pub at: Timestamp,
    pub who: Who,
    /// A word for machines, as `dead.replay`.
    pub action: Plain,
    pub project: Option<Plain>,
    /// What it was done to: an event, an endpoint, a queue.
    pub target: Option<Plain>,
    /// What was asked for, in one line.
    pub detail: Option<Plain>,
    /// `null` while it is under way, and for ever if the process ended midway.
    #[schema(value_type = Option<Ending>)]
    pub outcome: Option<Plain>,
    #[schema(value_type = Option<Time>)]
    pub ended_at: Option<Timestamp>,
    pub outcome_detail: Option<Plain>,
}

impl From<AuditLine> for Change {
    fn from(line: AuditLine) -> Self {
        let (ended_at, outcome, outcome_detail) = match line.ended {
            Some(end) => (Some(end.at), Some(end.outcome.into()), end.detail.map(Into::into)),
            None => (None, None, None),
        };
        Self {
            at: line.at,
            who: Who { identity: line.identity.into(), claimed: line.claimed.map(Into::into) },
            action: line.action.into(),
            project: line.project.map(Into::into),
            target: line.target.map(Into::into),
            detail: line.detail.map(Into::into),
            outcome,
            ended_at,
            outcome_detail,
        }
    }
}

/// A page of changes, newest first.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct AuditPage {
    #[schema(max_items = 200)]
    pub changes: Vec<Change>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// A pause in force.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Pause {
    #[schema(value_type = Time)]
    pub since: Timestamp,
    pub who: Who,
    pub reason: Option<Plain>,
}

impl From<&pauses::Pause> for Pause {
    fn from(pause: &pauses::Pause) -> Self {
        let who = Who { identity: pause.identity.as_str().into(), claimed: pause.claimed.as_deref().map(Plain::new) };
        Self { since: pause.since, who, reason: pause.reason.as_deref().map(Plain::new) }
    }
}

/// A pause with the project that it is of.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct NamedPause {
    pub project: Plain,
    #[schema(value_type = Time)]
    pub since: Timestamp,
    pub who: Who,
    pub reason: Option<Plain>,
}

impl NamedPause {
    pub fn of(project: &ProjectId, pause: &pauses::Pause) -> Self {
        let Pause { since, who, reason } = pause.into();
        Self { project: project.as_str().into(), since, who, reason }
    }
}

/// The projects that are paused.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct PausedList {
    #[schema(max_items = 1000)]
    pub paused: Vec<NamedPause>,
}

/// Why a project is paused or resumed.
#[derive(Debug, Clone, Default, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Why, for those who find it.
    #[serde(default)]
    #[schema(max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*$")]
    pub reason: Option<String>,
}

/// A project that goes on.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Resumed {
    pub project: Plain,
    #[schema(value_type = Nil)]
    pub paused: (),
}

/// Where a project's messages are delivered.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ProjectEndpoint {
    pub id: Plain,
    pub url: Plain,
    pub disabled: bool,
    /// `null`: all.
    #[schema(value_type = Option<Vec<String>>)]
    pub event_types: Option<Vec<Plain>>,
}

impl From<endpoint_admin::Endpoint> for ProjectEndpoint {
    fn from(endpoint: endpoint_admin::Endpoint) -> Self {
        let endpoint_admin::Endpoint { id, url, disabled, event_types } = endpoint;
        let event_types = event_types.map(|types| types.into_iter().map(Into::into).collect());
        Self { id: id.into(), url: url.into(), disabled, event_types }
    }
}

/// A project's endpoints, newest first.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct EndpointPage {
    #[schema(max_items = 500)]
    pub endpoints: Vec<ProjectEndpoint>,
    /// Whether there are more than are shown.
    pub truncated: bool,
}

/// An example to be sent.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TestAsked {
    /// Any with an example in its schema; without one, that which every Svix has.
    #[schema(pattern = "^[a-zA-Z0-9._-]{1,256}$", default = "svix.ping")]
    pub r#type: Option<String>,
}

/// An example that was sent.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Tested {
    pub message_id: Plain,
    pub r#type: Plain,
}

/// From when on what failed is delivered again.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoverAsked {
    #[schema(value_type = Time)]
    pub since: Timestamp,
}

/// A recovery that Svix has begun.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Recovering {
    pub task_id: Plain,
}

/// Which endpoint of which project gets a message again.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResendAsked {
    #[schema(pattern = "^(?!app_)[a-zA-Z0-9_-]{1,256}$")]
    pub project: String,
    #[schema(pattern = "^[a-zA-Z0-9_-]{1,256}$")]
    pub endpoint: String,
}

/// A message that Svix delivers again.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct Resent {
    pub id: Plain,
}

/// Nothing can be said about a link; an empty object keeps the content type that other sites cannot send.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortalAsked {}

/// A link that logs its bearer in.
#[derive(Clone, Deserialize, Serialize, ToSchema)]
pub struct Portal {
    /// A secret.
    pub url: String,
    pub note: Option<Plain>,
}
