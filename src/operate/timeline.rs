//! Reading the journal, and what Svix says about a message: the two things that a timeline is put together from.

use super::{
    api_types::{Attempt, Call, Endpoint, Message, Project},
    sanitize::Plain,
};
use crate::{
    event::{EventId, ProjectId},
    pipeline::journal::Gap,
};
use jiff::Timestamp;

pub use crate::pipeline::journal::Unread;

/// An event with its latest delivery first in mind.
#[derive(Debug, Clone, PartialEq)]
pub struct EventLine {
    /// Its row in the journal, for the cursor.
    pub row_id: i64,
    pub project: Option<Plain>,
    pub id: Option<Plain>,
    pub kind: Option<Plain>,
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
    /// Where to go on. There may be one though the page is short, since the store reads a bounded number at a time.
    pub next: Option<i64>,
}

/// Everything that is kept of one event.
#[derive(Debug, Clone)]
pub struct EventStory {
    pub project: Option<Plain>,
    pub kind: Option<Plain>,
    /// Oldest first.
    pub attempts: Vec<Attempt>,
    /// Whether there were more than are kept in one answer; the oldest are left out.
    pub truncated: bool,
}

/// A page of projects by name.
#[derive(Debug, Clone, Default)]
pub struct ProjectPage {
    pub projects: Vec<Project>,
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

/// Svix's side of one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SvixSide {
    pub message: Message,
    pub endpoints: Vec<Endpoint>,
    /// Newest first.
    pub attempts: Vec<Call>,
    /// Whether there are more endpoints or attempts than are shown.
    pub truncated: bool,
    /// Why there is none of either: a [`crate::event::NoTaker`], or [`crate::event::NOT_DISPATCHED`] where an endpoint takes
    /// the message. None where some are shown, or it is not known.
    pub undispatched: Option<&'static str>,
    /// Why endpoints or attempts could not be read, if they could not.
    pub missing: Option<String>,
}

/// Whoever can say what became of a message after it was accepted.
pub trait MessageView: Send + Sync + 'static {
    /// What the events of a project go to, by the name that an operator finds it by.
    fn destination(&self, project: &ProjectId) -> Plain;

    /// Bounded in time. A refusal is one line in hookbro's words; [`None`] if there is no such message.
    fn message(
        &self,
        project: &ProjectId,
        event: &EventId,
    ) -> impl Future<Output = Result<Option<SvixSide>, String>> + Send;
}
