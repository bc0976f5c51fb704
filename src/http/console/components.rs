//! Pieces that several pages show alike.

use super::page::{NavItem, page, sentence};
use crate::{
    event::{EventId, ProjectId},
    operate::{
        api_types::{Gap, Line},
        describe,
        sanitize::Plain,
    },
};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use url::form_urlencoded;

/// How good or bad something is: by sign and word too, not by colour alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Good,
    Unknown,
    Watch,
    Bad,
}

impl Level {
    pub fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unknown => "unknown",
            Self::Watch => "watch",
            Self::Bad => "bad",
        }
    }

    pub fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Unknown => "?",
            Self::Watch => "!",
            Self::Bad => "✕",
        }
    }

    /// That of an outcome of a delivery.
    pub fn of_outcome(outcome: &str) -> Self {
        match outcome {
            "delivered" | "duplicate" => Self::Good,
            "retried" => Self::Watch,
            "dead" => Self::Bad,
            _ => Self::Unknown,
        }
    }

    /// That of a word of Svix's, for an endpoint or a call.
    pub fn of_svix(status: &str) -> Self {
        match status {
            "success" => Self::Good,
            "pending" | "sending" => Self::Watch,
            "fail" => Self::Bad,
            _ => Self::Unknown,
        }
    }
}

pub(super) fn sign(level: Level) -> Markup {
    html! { span class={"sign " (level.class())} aria-hidden="true" { (level.sign()) } }
}

pub(super) fn badge(level: Level, text: &str) -> Markup {
    html! { span class={"badge " (level.class())} { (sign(level)) (text) } }
}

/// To the second in a list, to the millisecond for whoever asks.
pub(super) fn time(at: Timestamp) -> Markup {
    html! {
        time datetime=(at) title=(describe::time(at)) { (at.strftime("%m-%d").to_string()) " " (at.strftime("%H:%M:%S").to_string()) }
    }
}

/// A link to an event's timeline where its id can be part of an address, else the id alone.
pub(super) fn event_link(id: &Plain, project: Option<&Plain>) -> Markup {
    let of = project.filter(|project| is_project(project)).map(|project| format!("?project={project}"));
    html! {
        @if EventId::try_new(id.as_str().to_owned()).is_ok() {
            a.id href={"/events/" (id) (of.unwrap_or_default())} { (id) }
        } @else {
            span.id { (id) }
        }
    }
}

pub(super) fn project_link(project: &Plain) -> Markup {
    html! {
        @if is_project(project) { a href={"/projects/" (project)} { (project) } } @else { span { (project) } }
    }
}

fn is_project(project: &Plain) -> bool {
    ProjectId::try_new(project.as_str().to_owned()).is_ok()
}

/// Events, each by its latest delivery.
pub(super) fn event_table(caption: &str, lines: &[Line]) -> Markup {
    html! {
        table.cards {
            caption.away { (caption) }
            thead { tr {
                th scope="col" { "When" }
                th scope="col" { "Outcome" }
                th scope="col" { "Event" }
                th scope="col" { "Type" }
                th scope="col" { "Project" }
                th scope="col" { "Why, and what next" }
            } }
            tbody {
                @for line in lines {
                    @let last = &line.last;
                    tr {
                        td data-name="When" { (time(last.at)) }
                        td data-name="Outcome" { (badge(Level::of_outcome(last.outcome.as_str()), last.outcome.as_str())) }
                        td data-name="Event" { @match &line.id {
                            Some(id) => (event_link(id, line.project.as_ref())),
                            None => span.faint { "not readable" },
                        } }
                        td data-name="Type" { @match &line.kind { Some(kind) => (kind), None => span.faint { "–" } } }
                        td data-name="Project" { @match &line.project {
                            Some(project) => (project_link(project)),
                            None => span.faint { "–" },
                        } }
                        td.why data-name="Why" { @match describe::prospect(last) {
                            Some(why) => (why),
                            None => span.faint { (describe::worded(&last.outcome, describe::of_outcome)) },
                        } }
                    }
                }
            }
        }
    }
}

/// What is missing in the journal, where something is.
pub(super) fn gaps(gaps: &[Gap]) -> Markup {
    html! {
        @if !gaps.is_empty() {
            div.note.watch {
                (sign(Level::Watch))
                div { @for gap in gaps { p { (sentence(&describe::gap(gap))) } } }
            }
        }
    }
}

/// A number with thin spaces between its thousands.
pub(super) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `one thing`, `2 things`.
pub(super) fn count(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(n), if n == 1 { one } else { many })
}

/// A query string of what is wanted.
pub(super) fn query(wanted: &[(&str, Option<&str>)]) -> String {
    let given = wanted.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish()
}

/// Who acts, as the audit has it.
pub(super) fn who(identity: &str, claimed: Option<&str>) -> String {
    match claimed {
        Some(name) => format!("{} ({identity})", Plain::new(name)),
        None => identity.to_owned(),
    }
}

/// How long ago something was, as coarse as is of use.
pub(super) fn ago(at: Timestamp) -> String {
    format!("{} ago", describe::wait(Timestamp::now().duration_since(at).as_secs_f64().max(0.0)))
}

/// The page after a change was made.
pub(super) fn done(said: &Markup, back: &str, name: &str) -> Response {
    let content = html! {
        h1 { (sign(Level::Good)) " " (sentence("done")) }
        (said)
        p { a href=(back) { (name) } }
    };
    page("Done", NavItem::Elsewhere, None, &content).into_response()
}
