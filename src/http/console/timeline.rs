//! The timeline of one event, step by step: the text that the picture is drawn from.

use super::{
    components::{Level, badge, sign},
    endpoints::RESEND,
    page::sentence,
};
use crate::operate::{
    api_types::{Attempt, Call, Story},
    describe,
    sanitize::Plain,
};
use jiff::Timestamp;
use maud::{Markup, html};

/// Deliveries to Svix, oldest first, and the one to come.
pub(super) fn to_svix(story: &Story) -> Markup {
    html! {
        section aria-labelledby="to-svix" {
            h2 #to-svix { "To Svix" }
            @if story.truncated { p.faint { "Earlier deliveries are not shown." } }
            ol.timeline {
                @for attempt in &story.attempts { (delivery(attempt)) }
                @if let Some(retry) = &story.next_retry {
                    li.step.coming {
                        (sign(Level::Unknown))
                        div {
                            p { strong { "Attempt " (retry.attempt) " is scheduled" } " " (stamp(retry.due_at)) }
                            p { (sentence(&describe::due(retry))) }
                        }
                    }
                }
            }
        }
    }
}

fn delivery(attempt: &Attempt) -> Markup {
    let outcome = attempt.outcome.as_str();
    html! {
        li class={"step " (Level::of_outcome(outcome).class())} {
            (sign(Level::of_outcome(outcome)))
            div {
                p { strong { "Attempt " (attempt.attempt) } " " (stamp(attempt.at)) }
                p { (sentence(describe::worded(&attempt.outcome, describe::of_outcome))) }
                @for fact in describe::facts(attempt) { p.fact { (sentence(&fact)) } }
                p.fact.faint { "from queue " code { (attempt.queue) } }
                @if let Some(key) = &attempt.routing_key { p.fact.faint { "routing key " code { (key) } } }
            }
        }
    }
}

/// What Svix did with the message, endpoint by endpoint.
pub(super) fn to_endpoints(story: &Story, proof: &Markup) -> Markup {
    let svix = &story.svix;
    let known = |call: &&Call| svix.endpoints.iter().any(|endpoint| endpoint.id == call.endpoint_id);
    html! {
        section aria-labelledby="to-endpoints" {
            h2 #to-endpoints { "From Svix to endpoints" }
            @if let Some(message) = &svix.message {
                p { "Message " code { (message.id) } @if let Some(at) = &message.created_at { " " (stamp_of(at)) } }
                @if let Some(why) = &svix.undispatched { p.empty { (describe::worded(why, describe::of_dispatch)) } }
            }
            @for endpoint in &svix.endpoints {
                div.endpoint {
                    h3 { (endpoint.url) }
                    p {
                        (badge(Level::of_svix(endpoint.status.as_str()), describe::worded(&endpoint.status, describe::of_endpoint)))
                        @if let Some(next) = &endpoint.next_attempt_at { " next attempt " (stamp_of(next)) }
                    }
                    p.faint { code { (endpoint.id) } }
                    @if let Some(project) = &story.project {
                        form method="post" action=(RESEND) {
                            (proof)
                            input type="hidden" name="id" value=(story.id);
                            input type="hidden" name="project" value=(project);
                            input type="hidden" name="endpoint" value=(endpoint.id);
                            button.quiet aria-label={"Deliver again to " (endpoint.url)} { "Deliver again" }
                        }
                    }
                    // Svix lists the newest first.
                    (calls(svix.attempts.iter().rev().filter(|call| call.endpoint_id == endpoint.id)))
                }
            }
            @if svix.attempts.iter().any(|call| !known(&call)) {
                div.endpoint {
                    h3 { "Deleted endpoints" }
                    (calls(svix.attempts.iter().rev().filter(|call| !known(call))))
                }
            }
            @if svix.truncated { p.faint { "Svix has more endpoints or attempts than are shown." } }
            @if let Some(reason) = &svix.reason { p.empty { "Unknown: " (reason) "." } }
        }
    }
}

fn calls<'a>(calls: impl Iterator<Item = &'a Call>) -> Markup {
    html! {
        ol.timeline {
            @for call in calls {
                @let level = Level::of_svix(call.status.as_str());
                li class={"step " (level.class())} {
                    (sign(level))
                    div {
                        p { strong { (sentence(describe::worded(&call.status, describe::of_call))) } " " (stamp_of(&call.at)) }
                        p.fact { (sentence(&describe::answer(call))) }
                    }
                }
            }
        }
    }
}

fn stamp(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (describe::time(at)) } }
}

fn stamp_of(text: &Plain) -> Markup {
    html! { span.stamp { (describe::time_of(text)) } }
}
