//! Lists of events: filtered, page by page, newest first.

use super::{
    components::{event_table, gaps, query},
    list_query::Asked,
    page::{Place, Refused, page},
    state::{Console, told},
};
use crate::{
    event::Verdict,
    http::api::events,
    operate::{
        timeline::{MessageView, Timeline},
        told::{Line, Page},
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
    let asked = Asked::read(given.as_deref());
    let found = find(&console, asked.query()).await?;
    let content = html! {
        h1 { "Events" }
        (form(&asked))
        (gaps(&found.gaps))
        @if found.events.is_empty() {
            p.empty {
                @if found.next.is_some() { "None among those that were looked at; there may be older ones." }
                @else { "No event in the journal fits this." }
            }
        } @else {
            (event_table("Events, newest first, each by its latest delivery", &found.events))
        }
        @if let Some(next) = &found.next {
            p.next { a.button href=(asked.after("/events", next)) rel="next" { "Older events" } }
        }
    };
    Ok(page("Events", Place::Events, None, &content).into_response())
}

async fn find<T: Timeline, M: MessageView>(console: &Console<T, M>, query: String) -> Result<Page<Line>, Refused> {
    told(events::list(State(Arc::clone(&console.api)), RawQuery(Some(query))).await?.0)
}

fn form(asked: &Asked) -> Markup {
    html! {
        form.filter action="/events" {
            (asked.line("project", "Project", "any"))
            (asked.line("type", "Type", "any, as in com.gigs.sim.updated"))
            (asked.choice("outcome", "Outcome", Verdict::OUTCOMES))
            (asked.window())
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
        @if lines.is_empty() { p.empty { "Nothing that the journal knows of." } }
        @else { (event_table("Events that were given up or are tried again, newest first", &lines)) }
    })
}

/// The latest of one project.
pub(super) async fn of_project<T: Timeline, M: MessageView>(
    console: &Console<T, M>,
    project: &str,
    outcome: Option<&str>,
) -> Result<Page<Line>, Refused> {
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
