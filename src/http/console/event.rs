//! One event: its state, its swim lanes, its timeline, and a description to pass on.

use super::{
    components::{Level, badge, gaps, project_link},
    endpoints::RESEND,
    form::Forms,
    page::{Live, NavItem, Refused, page, sentence},
    pauses,
    state::Console,
    swim_lanes, timeline,
};
use crate::{
    event::{ParkReason, ProjectId},
    http::api::{events, query::read},
    operate::{
        api_types::Story,
        describe,
        timeline::{MessageView, Timeline},
    },
    pipeline::pauses::Paused,
};
use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse as _, Response},
};
use jiff::Timestamp;
use maud::{Markup, html};
use std::sync::Arc;

/// Between two refreshes of an event that is still under way: each asks Svix three times.
const LIVE_SECONDS: u32 = 5;

/// `GET /events/{id}`.
pub(super) async fn one<T: Timeline, M: MessageView>(
    State(console): State<Arc<Console<T, M>>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let story = events::story(&console.api, id.clone(), read(query.as_deref())?).await?;
    let from = query.map_or_else(|| format!("/events/{id}"), |query| format!("/events/{id}?{query}"));
    let live = Live { from: &from, every_seconds: LIVE_SECONDS };
    let title = format!("Event {}", story.id);
    let content = content(&story, &console.forms, &console.api.board.paused());
    Ok(page(&title, NavItem::Events, under_way(&story).then_some(live), &content).into_response())
}

/// Whether there is more to come of it.
fn under_way(story: &Story) -> bool {
    let waits = |status: &str| matches!(status, "pending" | "sending");
    story.attempts.last().is_some_and(|last| matches!(last.outcome.as_str(), "retried" | "released"))
        || story.svix.endpoints.iter().any(|endpoint| waits(endpoint.status.as_str()))
}

fn content(story: &Story, forms: &Forms, paused: &Paused) -> Markup {
    let last = story.attempts.last();
    let outcome = last.map_or("", |last| last.outcome.as_str());
    html! {
        p.above {
            "Event"
            @if let Some(kind) = &story.kind { " · " (kind) }
            @if let Some(project) = &story.project { " · project " (project_link(project)) }
        }
        h1.id { (story.id) }
        div #state data-live {
            p.state {
                (badge(Level::of_outcome(outcome), outcome))
                @if let Some(last) = last {
                    strong { (sentence(describe::worded(&last.outcome, describe::of_outcome))) }
                    @if let Some(why) = describe::why(last) { span { (sentence(&why)) } }
                }
                @if let Some(retry) = &story.next_retry { span { (sentence(&describe::due(retry))) } }
            }
            (parked(story, paused))
            (ends(story))
            @if outcome == "dead" { p { a.button href={"/dead?id=" (story.id)} { "Replay or discard it" } } }
        }
        (others(story))
        (gaps(&story.gaps))
        section aria-labelledby="picture" {
            h2 #picture { "What happened" }
            div.picture #lanes data-live { (swim_lanes::picture(story, Timestamp::now())) }
        }
        div.pair #steps data-live { (timeline::to_svix(story)) (timeline::to_endpoints(story, &forms.proof(RESEND))) }
        section aria-labelledby="words" {
            h2 #words { "As text" }
            p.faint { "Paste this into a ticket. It contains nothing of the event's body." }
            div.copy data-copy="description" {
                pre #description data-live tabindex="0" aria-labelledby="words" { (describe::story(story)) }
            }
        }
    }
}

/// That it is parked, where the journal and the pauses agree on that.
fn parked(story: &Story, paused: &Paused) -> Markup {
    let kept = story
        .attempts
        .last()
        .and_then(|last| last.reason.as_ref())
        .is_some_and(|why| why.as_str() == ParkReason::Paused.as_str());
    let project = story.project.as_ref().and_then(|project| ProjectId::try_new(project.to_string()).ok());
    let pause = project.as_ref().filter(|_| kept).and_then(|project| paused.get_key_value(project));
    html! {
        @if let Some((project, pause)) = pause {
            (pauses::note(pause))
            p { a.button href={"/projects/" (project)} { "Resume the project" } }
        }
    }
}

/// What the endpoints made of it, in one line.
fn ends(story: &Story) -> Markup {
    let endpoints = &story.svix.endpoints;
    let of = |status: &str| endpoints.iter().filter(|endpoint| endpoint.status.as_str() == status).count();
    html! {
        @if !endpoints.is_empty() {
            p.state {
                @for status in ["success", "pending", "sending", "fail", "canceled"] {
                    @if of(status) > 0 {
                        (badge(Level::of_svix(status), &format!(
                            "{} of {} endpoints: {}", of(status), endpoints.len(), describe::of_endpoint(status).unwrap_or(status)
                        )))
                    }
                }
            }
        }
    }
}

/// The same id in other projects.
fn others(story: &Story) -> Markup {
    html! {
        @if !story.other_projects.is_empty() {
            p.note {
                "Other projects have an event with this id:"
                @for project in story.other_projects.iter().flatten() {
                    " " a href={"/events/" (story.id) "?project=" (project)} { (project) }
                }
            }
        }
    }
}
