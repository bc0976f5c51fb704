//! The list of dead letters, to select from; `dead_letter_actions` replays and discards them.

use super::{
    components::{Level, badge, count, event_link, number, project_link, time},
    dead_letter_actions::{ACTION, job},
    list_query::ListQuery,
    page::{NavItem, Refused, page},
    state::Changes,
};
use crate::{
    event::DeadReason,
    http::{api::dead::refused, problem::Problem},
    operate::{
        audit::Audit,
        dead_letters::{DeadLetter, DeadLetterFilter, DeadLetterHead, DeadLetters, FilterError},
        describe,
        sanitize::Plain,
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
    let list_query = ListQuery::read(query.as_deref());
    let filter = filter(&list_query)?;
    let skip: u64 = list_query.cursor()?.unwrap_or(0);
    let found = changes.operations.page(filter.clone(), skip, PAGE).await.map_err(refused)?;
    let seen = skip.saturating_add(found.letters.len() as u64);
    let content = html! {
        h1 { "Dead letters" }
        p.lead { "These events could not be delivered: Svix rejected them, or every attempt failed. They stay here until you replay or discard them." }
        @if let Some(last) = changes.operations.job() { (job(&last)) }
        form.filter action="/dead" {
            (list_query.line("project", "Project", "any"))
            (list_query.line("type", "Type", "any"))
            (list_query.choice("reason", "Reason", DeadReason::ALL.map(DeadReason::as_str)))
            (list_query.line("id", "Event id", "any"))
            (list_query.window())
            div.field.do { button { "Show" } a href="/dead" { "Clear" } }
        }
        @if found.letters.is_empty() {
            p.empty { @if filter.is_all() { "There are no dead letters." } @else { "No dead letters match this filter." } }
        } @else {
            form.select method="post" action=(ACTION) data-select[seen < found.total] {
                (changes.forms.proof(ACTION))
                @for (name, value) in kept(&filter) { input type="hidden" name=(name) value=(value); }
                (table(&found.letters))
                div.bar {
                    label.check {
                        input type="checkbox" name="all" value="yes";
                        "All " (count(found.total, "dead letter", "dead letters"))
                        @if !filter.is_all() { " that match the filter" }
                        @if seen < found.total { ", including those on other pages" }
                    }
                    button.strong name="work" value="replay" { "Replay…" }
                    button.danger name="work" value="discard" { "Discard…" }
                }
            }
        }
        @if seen < found.total && !found.letters.is_empty() {
            p.next {
                a.button href=(list_query.after("/dead", &seen.to_string())) rel="next" { "Newer dead letters" }
                span.faint { (number(skip + 1)) " to " (number(seen)) " of " (number(found.total)) }
            }
        }
    };
    Ok(page("Dead letters", NavItem::DeadLetters, None, &content).into_response())
}

fn filter(list_query: &ListQuery) -> Result<DeadLetterFilter, Problem> {
    let given = ["id", "project", "type", "reason"].into_iter();
    let given = given.filter_map(|key| Some((key, list_query.get(key)?.to_owned())));
    let since = list_query.since().map(|since| ("since", since.to_string()));
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
            caption.away { "Dead letters, oldest first" }
            thead { tr {
                th scope="col" { span.away { "Selected" } }
                th scope="col" { "Failed at" }
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
                                span.faint title="This event has no readable id: select it with a filter" { "–" }
                            }
                        }
                        td data-name="Failed" { @match event.failed_at { Some(at) => (time(at)), None => span.faint { "–" } } }
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
    let reason = describe::of_reason(event.reason.as_str()).unwrap_or(event.reason.as_str());
    let mut facts = vec![match &event.detail {
        Some(detail) => format!("{reason}: {}", Plain::new(detail)),
        None => reason.to_owned(),
    }];
    facts.extend(event.attempts.filter(|attempts| *attempts > 1).map(|attempts| format!("after {attempts} attempts")));
    facts.extend((event.replayed > 0).then(|| format!("replayed before, {} times", event.replayed)));
    html! { (facts.join("; ")) }
}
