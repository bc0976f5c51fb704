//! The overview: health at a glance, counters, which project is in trouble, and what went wrong last.

use super::{
    components::{self, Level, number, sign},
    events::trouble,
    health_summary::{self, Answer, Where, settled},
    page::{Live, Place, Refused, page, sentence},
    pauses,
    projects::worst,
    state::Console,
};
use crate::{
    event::Verdict,
    http::ops::Ops,
    operate::timeline::{MessageView, Timeline},
};
use axum::{
    extract::State,
    response::{Html, IntoResponse as _, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Between two looks of an open page: the depths are asked for each 5 s, the rest moves all the time.
const LIVE_SECONDS: u32 = 3;

/// `GET /`.
pub(super) async fn home<T: Timeline, M: MessageView>(State(console): State<Arc<Console<T, M>>>) -> Response {
    let (worst, trouble) = tokio::join!(worst(&console), trouble(&console));
    let content = html! {
        (now(&console))
        section aria-labelledby="which" {
            h2 #which { "Which project?" }
            (shown(worst))
        }
        section aria-labelledby="last" {
            h2 #last { "What went wrong last?" }
            (shown(trouble))
        }
    };
    let live = Live { from: "/live", every_seconds: LIVE_SECONDS };
    page("Overview", Place::Overview, Some(live), &content).into_response()
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
    let answers = health_summary::answers(&console.ops, &console.pace);
    let level = answers.iter().map(|answer| answer.level).max().unwrap_or(Level::Unknown);
    let headline = match level {
        Level::Good => "All is well",
        Level::Unknown => "Quiet so far",
        Level::Watch => "Something wants a look",
        Level::Bad => "Something is wrong",
    };
    html! {
        div.headline #headline data-live { h1 class=(level.class()) { (sign(level)) (headline) } }
        div.glance {
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
    let Where { ready, in_hand, waiting, dead, held } = Where::of(ops);
    let aside = (held > 0).then_some(("kept aside (paused projects)", held));
    let places = [("ready", ready), ("in hand", in_hand), ("waiting", waiting), ("given up", dead)].into_iter();
    let places = places.chain(aside);
    html! {
        dl.counters #counters data-live aria-label="Counters" {
            div.group {
                dt.over { "Now" }
                @for (name, n) in places { div { dt { (name) } dd { (number(n)) } } }
            }
            div.group {
                dt.over { "Since the start" }
                @for outcome in Verdict::OUTCOMES { div { dt { (outcome) } dd { (number(settled(ops, outcome))) } } }
            }
        }
        @if ops.metrics.unsettled_drops.get() > 0 {
            (components::badge(Level::Watch, "deliveries were dropped without a verdict"))
        }
    }
}
