//! What query strings ask for. What is not given excludes nothing; what is not named here is refused.

use super::scalar::{Cursor, Ident, Limit, Moment, Outcome, Phrase, Reason, Status, TimeOrAgo};
use serde::Deserialize;
use utoipa::IntoParams;

/// Which events.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct EventQuery {
    /// Event id.
    pub id: Option<Ident>,
    /// Project id.
    pub project: Option<Ident>,
    /// Event type.
    #[serde(rename = "type")]
    pub kind: Option<Ident>,
    /// Outcome of the latest delivery.
    pub outcome: Option<Outcome>,
    /// From then on.
    pub since: Option<Moment>,
    /// Before then.
    pub until: Option<Moment>,
    /// `next` of the page before.
    pub cursor: Option<Cursor>,
    /// Entries of a page.
    pub limit: Limit,
}

/// Which of those events that have one id.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct OneEventQuery {
    /// Where two projects use one id.
    pub project: Option<Ident>,
}

/// Which projects, and since when it is summed what they did.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ProjectQuery {
    /// Only this one.
    pub project: Option<Ident>,
    /// From the hour of then on; a day ago by default.
    pub since: Option<Moment>,
    /// `next` of the page before.
    pub cursor: Option<Ident>,
    /// Entries of a page.
    pub limit: Limit,
}

/// Which changes.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct AuditQuery {
    /// Only changes to this project.
    pub project: Option<Ident>,
    /// `next` of the page before.
    pub cursor: Option<Cursor>,
    /// Entries of a page.
    pub limit: Limit,
}

/// Which dead letters. [`crate::operate::dead_letters::DeadLetterFilter`] reads what is given.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DeadQuery {
    /// Event id.
    #[param(value_type = Option<Phrase>)]
    pub id: Option<String>,
    /// Project id.
    #[param(value_type = Option<Phrase>)]
    pub project: Option<String>,
    /// Event type.
    #[serde(rename = "type")]
    #[param(value_type = Option<Phrase>)]
    pub kind: Option<String>,
    /// Why it was given up.
    #[param(value_type = Option<Reason>)]
    pub reason: Option<String>,
    /// HTTP status of the last attempt.
    #[param(value_type = Option<Status>)]
    pub status: Option<String>,
    /// Given up then or later: RFC 3339, or how long ago, as `2h`.
    #[param(value_type = Option<TimeOrAgo>)]
    pub since: Option<String>,
    /// Given up before then: RFC 3339, or how long ago, as `2h`.
    #[param(value_type = Option<TimeOrAgo>)]
    pub until: Option<String>,
    /// `next` of the page before.
    pub cursor: Option<Cursor>,
    /// Entries of a page.
    pub limit: Limit,
}

impl DeadQuery {
    /// What of it is a filter, by name.
    pub fn filter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { id, project, kind, reason, status, since, until, cursor: _, limit: _ } = self;
        let given = [
            ("id", id),
            ("project", project),
            ("type", kind),
            ("reason", reason),
            ("status", status),
            ("since", since),
            ("until", until),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)))
    }
}

/// Nothing can be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Nothing {}

impl IntoParams for Nothing {
    fn into_params(
        _: impl Fn() -> Option<utoipa::openapi::path::ParameterIn>,
    ) -> Vec<utoipa::openapi::path::Parameter> {
        Vec::new()
    }
}
