//! Which events are asked for, as options and as parameters of the API.

use crate::event::{EventId, EventType, ProjectId, Verdict};
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;

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
    /// Events whose latest delivery ended so.
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
    EventId::try_new(text.to_owned()).map_err(|error| format!("no event is called so: it {error}"))
}

pub(super) fn project(text: &str) -> Result<ProjectId, String> {
    ProjectId::try_new(text.to_owned()).map_err(|error| format!("no project is called so: it {error}"))
}

fn kind(text: &str) -> Result<EventType, String> {
    EventType::try_new(text.to_owned()).map_err(|error| format!("no type is called so: it {error}"))
}
