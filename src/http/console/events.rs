//! Lists of events: filtered, page by page, newest first.

use super::{
    Console,
    page::{Place, Refused, page},
    parts::{event_table, gaps, query},
    told,
};
use crate::{
    domain::Verdict,
    http::api::events,
    ports::{
        timeline::{MessageView, Timeline},
        told::{Line, Page},
    },
};
use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use url::form_urlencoded;

/// Stretches of time to choose from: word, name, length in seconds.
const WINDOWS: [(&str, &str, u64); 3] =
    [("1h", "last hour", 3_600), ("24h", "last 24 hours", 86_400), ("7d", "last 7 days", 604_800)];
/// Events that the overview shows.
const FEW: &str = "8";

/// What the form asks for; a field that is left empty asks for nothing.
#[derive(Debug, Default)]
struct Asked(BTreeMap<String, String>);

impl Asked {
    fn read(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned();
        Self(
            pairs.map(|(name, value)| (name, value.trim().to_owned())).filter(|(_, value)| !value.is_empty()).collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The same in the words of `/api/v1`, which also says what is wrong with it.
    fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.0 {
            match WINDOWS.iter().find(|(word, _, _)| name == "window" && word == value) {
                Some((_, _, seconds)) => {
                    query.append_pair("since", &(Timestamp::now() - Duration::from_secs(*seconds)).to_string())
                }
                None => query.append_pair(name, value),
            };
        }
        query.finish()
    }

    /// The address of the page after this one.
    fn after(&self, next: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.0.iter().filter(|(name, _)| *name != "cursor"));
        format!("/events?{}", query.append_pair("cursor", next).finish())
    }
}

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
            p.next { a.button href=(asked.after(next)) rel="next" { "Older events" } }
        }
    };
    Ok(page("Events", Place::Events, None, &content).into_response())
}

async fn find<T: Timeline, M: MessageView>(console: &Console<T, M>, query: String) -> Result<Page<Line>, Refused> {
    told(events::list(State(Arc::clone(&console.api)), RawQuery(Some(query))).await?.0)
}

fn form(asked: &Asked) -> Markup {
    let text = |name: &'static str, label: &'static str, hint: &'static str| {
        html! {
            div.field {
                label for=(name) { (label) }
                input id=(name) name=(name) value=[asked.get(name)] placeholder=(hint) maxlength="256"
                    autocapitalize="off" autocomplete="off" spellcheck="false";
            }
        }
    };
    html! {
        form.filter action="/events" {
            (text("project", "Project", "any"))
            (text("type", "Type", "any, as in com.gigs.sim.updated"))
            div.field {
                label for="outcome" { "Outcome" }
                select #outcome name="outcome" {
                    option value="" { "any" }
                    @for outcome in Verdict::OUTCOMES {
                        option selected[asked.get("outcome") == Some(outcome)] { (outcome) }
                    }
                }
            }
            div.field {
                label for="window" { "Time" }
                select #window name="window" {
                    option value="" { "any" }
                    @for (word, name, _) in WINDOWS {
                        option value=(word) selected[asked.get("window") == Some(word)] { (name) }
                    }
                }
            }
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
