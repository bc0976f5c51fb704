//! What was given up: lists to select from. What is done with a selection is known to `deal`.

use super::{
    components::{Level, badge, count, event_link, number, project_link, time},
    dead_letter_actions::{ACTION, job},
    list_query::Asked,
    page::{Place, Refused, page},
    state::Changes,
};
use crate::{
    event::DeadReason,
    http::{api::dead::refused, problem::Problem},
    operate::{
        audit::Audit,
        dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterHead, DeadLetters, FilterError},
        sanitize::Plain,
        words,
    },
};
use axum::http::StatusCode;
use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Events of a page.
const PAGE: usize = 50;

/// `GET /dead`.
pub(super) async fn list<D: DeadLetters, A: Audit>(
    State(changes): State<Arc<Changes<D, A>>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let asked = Asked::read(query.as_deref());
    let filter = filter(&asked)?;
    let skip: u64 = asked.cursor()?.unwrap_or(0);
    let found = changes.desk.page(filter.clone(), skip, PAGE).await.map_err(refused)?;
    let seen = skip.saturating_add(found.letters.len() as u64);
    let content = html! {
        h1 { "Given up" }
        p.lead { "Events that were refused for good, or failed to the last attempt. They are kept until somebody decides." }
        @if let Some(last) = changes.desk.job() { (job(&last)) }
        form.filter action="/dead" {
            (asked.line("project", "Project", "any"))
            (asked.line("type", "Type", "any"))
            (asked.choice("reason", "Reason", DeadReason::ALL.map(DeadReason::as_str)))
            (asked.line("id", "Event id", "any"))
            (asked.window())
            div.field.do { button { "Show" } a href="/dead" { "Clear" } }
        }
        @if found.letters.is_empty() {
            p.empty { @if filter.is_all() { "Nothing was given up." } @else { "No event that was given up fits this." } }
        } @else {
            form.select method="post" action=(ACTION) data-select[seen < found.total] {
                (changes.forms.proof(ACTION))
                @for (name, value) in kept(&filter) { input type="hidden" name=(name) value=(value); }
                (table(&found.letters))
                div.bar {
                    label.check {
                        input type="checkbox" name="all" value="yes";
                        "All " (count(found.total, "event", "events"))
                        @if !filter.is_all() { " that fit the filter" }
                        @if seen < found.total { ", shown or not" }
                    }
                    button.strong name="work" value="replay" { "Replay…" }
                    button.danger name="work" value="discard" { "Discard…" }
                }
            }
        }
        @if seen < found.total && !found.letters.is_empty() {
            p.next {
                a.button href=(asked.after("/dead", &seen.to_string())) rel="next" { "Younger events" }
                span.faint { (number(skip + 1)) " to " (number(seen)) " of " (number(found.total)) }
            }
        }
    };
    Ok(page("Given up", Place::Dead, None, &content).into_response())
}

fn filter(asked: &Asked) -> Result<DeadLetterFilter, Problem> {
    let given = ["id", "project", "type", "reason"].into_iter();
    let given = given.filter_map(|key| Some((key, asked.get(key)?.to_owned())));
    let since = asked.since().map(|since| ("since", since.to_string()));
    let wrong = |error: FilterError| Problem::new(StatusCode::BAD_REQUEST, error.to_string());
    DeadLetterFilter::parse(given.chain(since)).map_err(wrong)
}

/// The filter as fields, so that a decision is about what was seen.
fn kept(filter: &DeadLetterFilter) -> Vec<(&'static str, String)> {
    let mut kept = Vec::new();
    let mut keep = |name, values: &[String]| kept.extend(values.iter().map(|value| (name, value.clone())));
    keep("only", &filter.ids);
    keep("project", &filter.projects);
    keep("type", &filter.kinds);
    kept.extend(filter.reasons.iter().map(|reason| ("reason", reason.as_str().to_owned())));
    kept.extend(filter.since.map(|since| ("since", since.to_string())));
    kept
}

fn table(events: &[DeadLetterHead]) -> Markup {
    let shown = |text: &Option<String>| text.as_deref().map(Plain::new);
    html! {
        table.cards {
            caption.away { "Events that were given up, oldest first" }
            thead { tr {
                th scope="col" { span.away { "Selected" } }
                th scope="col" { "Given up" }
                th scope="col" { "Reason" }
                th scope="col" { "Event" }
                th scope="col" { "Type" }
                th scope="col" { "Project" }
                th scope="col" { "Why" }
            } }
            tbody {
                @for (n, DeadLetterHead { letter: event, .. }) in events.iter().enumerate() {
                    @let (id, project, kind) = (shown(&event.id), shown(&event.project), shown(&event.kind));
                    tr {
                        td.pick data-name="Select" {
                            @if let Some(value) = &event.id {
                                input type="checkbox" name="id" value=(value) id={"pick-" (n)} aria-label={"Select " (Plain::new(value))};
                            } @else {
                                span.faint title="An event without a readable id is dealt with by a filter" { "–" }
                            }
                        }
                        td data-name="Given up" { @match event.failed_at { Some(at) => (time(at)), None => span.faint { "–" } } }
                        td data-name="Reason" { (badge(Level::Bad, event.reason.as_str())) }
                        td data-name="Event" { @match &id { Some(id) => (event_link(id, project.as_ref())), None => span.faint { "not readable" } } }
                        td data-name="Type" { @match &kind { Some(kind) => (kind), None => span.faint { "–" } } }
                        td data-name="Project" { @match &project { Some(project) => (project_link(project)), None => span.faint { "–" } } }
                        td.why data-name="Why" { (why(event)) }
                    }
                }
            }
        }
    }
}

fn why(event: &DeadLetter) -> Markup {
    let reason = words::of_reason(event.reason.as_str()).unwrap_or(event.reason.as_str());
    let mut facts = vec![match &event.detail {
        Some(detail) => format!("{reason}: {}", Plain::new(detail)),
        None => reason.to_owned(),
    }];
    facts.extend(event.attempts.filter(|attempts| *attempts > 1).map(|attempts| format!("after {attempts} attempts")));
    facts.extend((event.replayed > 0).then(|| format!("replayed before, {} times", event.replayed)));
    html! { (facts.join("; ")) }
}
