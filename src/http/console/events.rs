//! Lists of events: filtered, page by page, newest first.

use super::{
    components::{event_table, gaps, query},
    list_query::ListQuery,
    page::{NavItem, Refused, page},
    state::Console,
};
use crate::{
    event::Verdict,
    http::api::{events, query::read},
    operate::{
        api_types::EventPage,
        timeline::{MessageView, Timeline},
    },
};
use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Events that the overview shows.
const FEW: &str = "8";

/// `GET /events`.
pub(super) async fn list<T: Timeline, M: MessageView>(
    State(console): State<Arc<Console<T, M>>>,
    RawQuery(given): RawQuery,
) -> Result<Response, Refused> {
    let list_query = ListQuery::read(given.as_deref());
    let found = find(&console, list_query.query()).await?;
    let content = html! {
        h1 { "Events" }
        (form(&list_query))
        (gaps(&found.gaps))
        @if found.events.is_empty() {
            p.empty {
                @if found.next.is_some() { "No match in this part of the journal; older events may match." }
                @else { "No event in the journal matches this filter." }
            }
        } @else {
            (event_table("Events, newest first, each by its latest delivery", &found.events))
        }
        @if let Some(next) = &found.next {
            p.next { a.button href=(list_query.after("/events", next)) rel="next" { "Older events" } }
        }
    };
    Ok(page("Events", NavItem::Events, None, &content).into_response())
}

async fn find<T: Timeline, M: MessageView>(console: &Console<T, M>, query: String) -> Result<EventPage, Refused> {
    Ok(events::find(&console.api, read(Some(&query))?).await?)
}

fn form(list_query: &ListQuery) -> Markup {
    html! {
        form.filter action="/events" {
            (list_query.line("project", "Project", "any"))
            (list_query.line("type", "Type", "any, as in com.gigs.sim.updated"))
            (list_query.choice("outcome", "Outcome", Verdict::OUTCOMES))
            (list_query.window())
            div.field.do { button { "Show" } a href="/events" { "Clear" } }
        }
    }
}

/// The last few that were given up or are tried again.
pub(super) async fn trouble<T: Timeline, M: MessageView>(console: &Console<T, M>) -> Result<Markup, Refused> {
    let (dead, retried) = tokio::join!(
        find(console, format!("outcome=dead&limit={FEW}")),
        find(console, format!("outcome=retried&limit={FEW}"))
    );
    let mut lines: Vec<_> = dead?.events.into_iter().chain(retried?.events).collect();
    lines.sort_by_key(|line| std::cmp::Reverse(line.last.at));
    lines.truncate(FEW.parse().unwrap_or(1));
    Ok(html! {
        @if lines.is_empty() { p.empty { "The journal has no problems." } }
        @else { (event_table("Dead letters and events waiting for a retry, newest first", &lines)) }
    })
}

/// The latest of one project.
pub(super) async fn of_project<T: Timeline, M: MessageView>(
    console: &Console<T, M>,
    project: &str,
    outcome: Option<&str>,
) -> Result<EventPage, Refused> {
    let wanted = [("project", Some(project)), ("outcome", outcome), ("limit", Some("20"))];
    find(console, query(&wanted)).await
}

/// Whether the journal has events of this type.
pub(super) async fn has_type<T: Timeline, M: MessageView>(
    console: &Console<T, M>,
    kind: &str,
) -> Result<bool, Refused> {
    let page = find(console, query(&[("type", Some(kind)), ("limit", Some("1"))])).await?;
    // A page may be short though there is more to look at.
    Ok(!page.events.is_empty() || page.next.is_some())
}
