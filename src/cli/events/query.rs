//! Which events are asked for, as options and as parameters of the API, and the walk through their pages.

use super::api::{Answered, Api, ApiError};
use crate::{
    cli::project::project,
    event::{EventId, EventType, ProjectId, Verdict},
    operate::api_types::EventPage,
};
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;

/// Events of a page at most; the API gives no more.
pub(super) const PAGE: usize = 200;

/// A parameter of the API and its value.
pub(super) type Pair = (&'static str, String);

#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// The event with this id; several projects may use it.
    #[arg(long, value_name = "ID", value_parser = event_id)]
    id: Option<EventId>,
    /// Events of this project.
    #[arg(long, value_name = "PROJECT", value_parser = project)]
    project: Option<ProjectId>,
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    kind: Option<EventType>,
    /// Events whose latest delivery has this outcome.
    #[arg(long, value_parser = PossibleValuesParser::new(Verdict::OUTCOMES))]
    outcome: Option<String>,
}

impl FilterArgs {
    pub(super) fn pairs(&self) -> Vec<Pair> {
        let given = [
            ("id", self.id.as_ref().map(ToString::to_string)),
            ("project", self.project.as_ref().map(ToString::to_string)),
            ("type", self.kind.as_ref().map(ToString::to_string)),
            ("outcome", self.outcome.clone()),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// A point in time as the API takes it.
pub(super) fn time(name: &'static str, at: Option<Timestamp>) -> Option<Pair> {
    at.map(|at| (name, at.to_string()))
}

pub(super) fn event_id(text: &str) -> Result<EventId, String> {
    EventId::try_new(text.to_owned()).map_err(|error| format!("not an event id: it {error}"))
}

fn kind(text: &str) -> Result<EventType, String> {
    EventType::try_new(text.to_owned()).map_err(|error| format!("not an event type: it {error}"))
}

/// A walk from the newest event backwards.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    api: &'a Api,
    query: Vec<Pair>,
    from: From,
}

#[derive(Debug)]
enum From {
    Newest,
    Cursor(String),
    Ended,
}

impl<'a> Pages<'a> {
    pub(super) fn new(api: &'a Api, query: Vec<Pair>) -> Self {
        Self { api, query, from: From::Newest }
    }

    /// The next page, which may be empty though others follow; none after the last. `wanted` more events are of use.
    pub(super) async fn next(&mut self, wanted: usize) -> Result<Option<Answered<EventPage>>, ApiError> {
        let mut query = self.query.clone();
        query.push(("limit", wanted.clamp(1, PAGE).to_string()));
        match &self.from {
            From::Newest => {}
            From::Cursor(cursor) => query.push(("cursor", cursor.clone())),
            From::Ended => return Ok(None),
        }
        let answered: Answered<EventPage> = self.api.get(&["events"], &query).await?;
        self.from = match (&self.from, &answered.value.next) {
            (_, None) => From::Ended,
            // It would never end.
            (From::Cursor(before), Some(next)) if before == next => {
                return Err(self.api.foreign("its pages lead back to themselves"));
            }
            (_, Some(next)) => From::Cursor(next.clone()),
        };
        Ok(Some(answered))
    }
}
