//! The overview: health summary, counters, projects with problems, and recent problems.

use super::{
    components::{self, Level, number, sign},
    events::trouble,
    health_summary::{self, Answer, settled},
    page::{Live, NavItem, Refused, page, sentence},
    pauses,
    projects::worst,
    state::Console,
};
use crate::{
    event::Verdict,
    http::{counts::Counts, ops::Ops},
    operate::timeline::{MessageView, Timeline},
};
use axum::{
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Between two refreshes of an open page: the depths are asked for each 5 s, the rest moves all the time.
const LIVE_SECONDS: u32 = 3;

/// `GET /`.
pub(super) async fn home<T: Timeline, M: MessageView>(State(console): State<Arc<Console<T, M>>>) -> Response {
    let (worst, trouble) = tokio::join!(worst(&console), trouble(&console));
    let content = html! {
        (now(&console))
        section aria-labelledby="which" {
            h2 #which { "Projects with problems" }
            (shown(worst))
        }
        section aria-labelledby="last" {
            h2 #last { "Recent problems" }
            (shown(trouble))
        }
    };
    let live = Live { from: "/live", every_seconds: LIVE_SECONDS };
    page("Overview", NavItem::Overview, Some(live), &content).into_response()
}

/// `GET /live`: what changes of the overview, for the script.
pub(super) async fn live<T: Timeline, M: MessageView>(State(console): State<Arc<Console<T, M>>>) -> Html<String> {
    Html(now(&console).into_string())
}

/// A part of the page that the journal fills; without it, why it is empty.
fn shown(part: Result<Markup, Refused>) -> Markup {
    part.unwrap_or_else(|refused| html! { p.note.watch { (sign(Level::Watch)) (sentence(refused.0.detail())) } })
}

fn now<T, M>(console: &Console<T, M>) -> Markup {
    let answers = health_summary::answers(&console.ops, &console.throughput);
    let level = answers.iter().map(|answer| answer.level).max().unwrap_or(Level::Unknown);
    // The headline names the first problem of the worst kind.
    let problem = answers.iter().find(|answer| answer.level == level).map_or("", |answer| answer.answer.as_str());
    let problem = ["Yes: ", "No: ", "A little: "].iter().find_map(|word| problem.strip_prefix(word)).unwrap_or(problem);
    let headline = match level {
        Level::Good => "All events are being delivered".to_owned(),
        Level::Unknown => "No events so far".to_owned(),
        Level::Watch | Level::Bad => sentence(problem).trim_end_matches('.').to_owned(),
    };
    html! {
        div.headline #headline data-live { h1 class=(level.class()) { (sign(level)) (headline) } }
        div.health-summary {
            @for Answer { name, question, level, answer, detail, link } in &answers {
                section class={"tile " (level.class())} id={"tile-" (name)} data-live aria-labelledby={"ask-" (name)} {
                    h2 id={"ask-" (name)} { (question) }
                    p.answer { (sign(*level)) span { (sentence(answer)) } }
                    @for one in detail { p { (one) } }
                    @if let Some((to, text)) = link { p { a href=(to) { (text) } } }
                }
            }
        }
        (counters(&console.ops))
        (pauses::all(&console.api.board.paused(), pauses::NAMED))
    }
}

fn counters(ops: &Ops) -> Markup {
    let Counts { ready, outstanding, delayed, dead, parked, .. } = ops.counts();
    let parked_row = (parked > 0).then_some(("parked", parked));
    let counts =
        [("ready", ready), ("in progress", outstanding), ("waiting for retry", delayed), ("dead letters", dead)]
            .into_iter();
    let counts = counts.chain(parked_row);
    html! {
        dl.counters #counters data-live aria-label="Counters" {
            div.group {
                dt.over { "Now" }
                @for (name, n) in counts { div { dt { (name) } dd { (number(n)) } } }
            }
            div.group {
                dt.over { "Since hookbro started" }
                @for outcome in Verdict::OUTCOMES { div { dt { (outcome) } dd { (number(settled(ops, outcome))) } } }
            }
        }
        @if ops.metrics.unsettled_drops.get() > 0 {
            (components::badge(Level::Watch, "deliveries were returned to the broker without an outcome"))
        }
    }
}
