//! What the API answers, in words that may be passed on to whoever sent an event, or waits for it. What hookbro's own people
//! need beyond that is the detail beside it.

use super::{
    api_types::{Attempt, Call, Endpoint, Gap, Retry, Story, Svix},
    sanitize::Plain,
};
use jiff::Timestamp;
use std::fmt::Write as _;

/// UTC, in milliseconds: what both sides of a support case can compare.
pub fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

/// As [`time`], of a text that should be one.
pub fn time_of(text: &Plain) -> String {
    text.as_str().parse().map_or_else(|_| text.to_string(), time)
}

/// Words for a word of the API, or that word itself where it is a new one.
pub fn worded(word: &Plain, words: fn(&str) -> Option<&'static str>) -> &str {
    words(word.as_str()).unwrap_or(word.as_str())
}

/// Why a delivery did not end well; none where it did.
pub fn why(attempt: &Attempt) -> Option<String> {
    because(attempt.reason.as_ref(), attempt.detail.as_ref())
}

/// A reason in words, and the detail beside it.
pub fn because(reason: Option<&Plain>, detail: Option<&Plain>) -> Option<String> {
    match (reason.map(|reason| worded(reason, of_reason)), detail) {
        (Some(reason), Some(detail)) => Some(format!("{reason}: {detail}")),
        (Some(reason), None) => Some(reason.to_owned()),
        (None, Some(detail)) => Some(detail.to_string()),
        (None, None) => None,
    }
}

/// [`why`], and when it is tried again.
pub fn prospect(attempt: &Attempt) -> Option<String> {
    let next = attempt.next_at.map(|at| format!("next attempt due {}", time(at)));
    let parts: Vec<_> = why(attempt).into_iter().chain(next).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// A stretch of which the journal is not whole.
pub fn gap(gap: &Gap) -> String {
    let until = gap.until.map_or_else(|| "now".to_owned(), time);
    let lost = match gap.lost {
        Some(1) => "1 delivery is".to_owned(),
        Some(lost) => format!("{lost} deliveries are"),
        None => "deliveries may be".to_owned(),
    };
    format!("{lost} missing in the journal between {} and {until}", time(gap.from))
}

pub fn story(story: &Story) -> String {
    let mut text = String::new();
    // Writing into a string never fails.
    let _infallible = tell(&mut text, story);
    text
}

fn tell(out: &mut String, story: &Story) -> std::fmt::Result {
    write!(out, "Event {}", story.id)?;
    if let Some(kind) = &story.kind {
        write!(out, ", {kind}")?;
    }
    if let Some(project) = &story.project {
        write!(out, ", of project {project}")?;
    }
    if let Some(last) = story.attempts.last() {
        let reason = last.reason.as_ref().map(|reason| format!(": {}", worded(reason, of_reason)));
        write!(out, "\nis {}{}.", worded(&last.outcome, of_outcome), reason.unwrap_or_default())?;
    }
    writeln!(out, "\n\nTo Svix")?;
    if story.truncated {
        writeln!(out, "  Earlier deliveries are left out.")?;
    }
    for attempt in &story.attempts {
        writeln!(out, "  {}", delivery(attempt))?;
    }
    if let Some(retry) = &story.next_retry {
        writeln!(out, "  {}", next(retry))?;
    }
    svix(out, &story.svix)?;
    if !story.gaps.is_empty() {
        writeln!(out, "\nNot whole")?;
        for one in &story.gaps {
            writeln!(out, "  {}", gap(one))?;
        }
    }
    Ok(())
}

fn delivery(attempt: &Attempt) -> String {
    let mut facts = facts(attempt);
    facts.extend(attempt.routing_key.as_ref().map(|key| format!("routing key {key}")));
    let facts = if facts.is_empty() { String::new() } else { format!(" ({})", facts.join("; ")) };
    let outcome = worded(&attempt.outcome, of_outcome);
    format!("{}  attempt {}: {outcome}{facts}", time(attempt.at), attempt.attempt)
}

/// What is known of a delivery beside its outcome.
pub fn facts(attempt: &Attempt) -> Vec<String> {
    let mut facts = Vec::new();
    match (attempt.status, attempt.latency_ms) {
        (Some(status), Some(ms)) => facts.push(format!("Svix answered {status} within {ms:.0} ms")),
        (Some(status), None) => facts.push(format!("Svix answered {status}")),
        (None, Some(ms)) => facts.push(format!("no answer within {ms:.0} ms")),
        (None, None) => {}
    }
    if attempt.calls > 1 {
        facts.push(format!("in {} calls", attempt.calls));
    }
    facts.extend(attempt.message_id.as_ref().map(|message| format!("message {message}")));
    facts.extend(why(attempt));
    facts
}

fn next(retry: &Retry) -> String {
    format!("{}  {}", time(retry.due_at), due(retry))
}

/// Which attempt comes next, and in what time.
pub fn due(retry: &Retry) -> String {
    let due = match retry.due_in_seconds {
        left if left > 0.0 => format!("in {}", wait(left)),
        _ => "which is over: it waits for its turn".to_owned(),
    };
    format!("attempt {} is due, at the earliest, after delay {}: {due}", retry.attempt, retry.rung)
}

/// Some seconds, as coarse as is of use.
pub fn wait(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds of a delay; `as` saturates")]
    let whole = seconds.ceil() as i64;
    match whole {
        ..120 => format!("{whole} s"),
        120..7200 => format!("{} min", whole / 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

fn svix(out: &mut String, svix: &Svix) -> std::fmt::Result {
    writeln!(out, "\nFrom Svix to the endpoints")?;
    if let Some(message) = &svix.message {
        let made = message.created_at.as_ref().map_or_else(|| "-".to_owned(), time_of);
        writeln!(out, "  {made}  message {}", message.id)?;
        if let Some(why) = &svix.undispatched {
            writeln!(out, "  {}", worded(why, of_dispatch))?;
        }
    }
    for endpoint in &svix.endpoints {
        let Endpoint { id, url, status, next_attempt_at } = endpoint;
        write!(out, "  {url} ({id}): {}", worded(status, of_endpoint))?;
        match next_attempt_at {
            Some(next) => writeln!(out, "; next attempt at {}", time_of(next))?,
            None => writeln!(out)?,
        }
        // Svix tells the newest first.
        for one in svix.attempts.iter().rev().filter(|one| one.endpoint_id == *id) {
            writeln!(out, "    {}", call(one))?;
        }
    }
    let known = |one: &&Call| svix.endpoints.iter().any(|endpoint| endpoint.id == one.endpoint_id);
    for one in svix.attempts.iter().rev().filter(|one| !known(one)) {
        writeln!(out, "  {} ({}), no longer an endpoint\n    {}", one.url, one.endpoint_id, call(one))?;
    }
    if svix.truncated {
        writeln!(out, "  Svix knows more endpoints or attempts than are shown.")?;
    }
    if let Some(reason) = &svix.reason {
        writeln!(out, "  Not known: {reason}.")?;
    }
    Ok(())
}

fn call(call: &Call) -> String {
    format!("{}  {}, {}", time_of(&call.at), worded(&call.status, of_call), answer(call))
}

/// What an endpoint answered.
pub fn answer(call: &Call) -> String {
    let took = call.duration_ms.map(|ms| format!(" within {ms} ms")).unwrap_or_default();
    let answer = match call.response_status {
        0 => format!("no answer{took}"),
        status => format!("answered {status}{took}"),
    };
    let quoted = if call.response.as_str().is_empty() { String::new() } else { format!(": \"{}\"", call.response) };
    format!("{answer}{quoted}")
}

/// What became of a delivery; [`None`] for an outcome that is not known here.
pub fn of_outcome(outcome: &str) -> Option<&'static str> {
    Some(match outcome {
        "delivered" => "accepted by Svix",
        "duplicate" => "already known to Svix",
        "retried" => "not accepted, to be tried again",
        "dead" => "given up",
        "released" => "put back to wait, without counting as an attempt",
        _ => return None,
    })
}

/// Why an event was given up or parked, or what is to be said of a repeat: one of [`crate::event::DeadReason`],
/// [`crate::event::HaltReason`], [`crate::event::ParkReason`] or [`crate::event::DISPATCH_REASONS`].
pub fn of_reason(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "malformed" => "it is no valid event",
        "unroutable" => "its project has no application in Svix",
        "refused" => "Svix refuses it, and would refuse it again",
        "too_large" => "it is larger than Svix takes",
        "exhausted" => "the last attempt failed too",
        "conflict" => "Svix has another event under the same id",
        "no_endpoint" => "the application has no endpoint to call",
        "filtered" => "no endpoint of the application takes it",
        "endpoints_disabled" => "the endpoints that would take it are disabled",
        "rescued" => "Svix had stored it without calling an endpoint, and was asked to send it",
        "unchecked" => "whether an endpoint was called for it could not be checked",
        "auth" => "Svix did not accept the access token",
        "unreachable" => "Svix could not be reached",
        "not_svix" => "something else than Svix answered",
        "rate_limited" => "Svix asked for a pause",
        "failing" => "Svix kept failing",
        "refusing" => "Svix refused event after event and accepted none",
        "provisioning" => "its application is missing, and cannot be created now",
        "paused" => "its project is paused, and its events wait until it is resumed",
        "circuit_open" => "the project's application fails, and its events wait until it accepts one again",
        "over_limit" => "the project's application has as much to do as it may, and further events wait",
        _ => return None,
    })
}

/// Why Svix shows no endpoint of a message: a [`crate::event::NoTaker`] or [`crate::event::NOT_DISPATCHED`].
pub fn of_dispatch(dispatch: &str) -> Option<&'static str> {
    Some(match dispatch {
        "no_endpoint" => "The application has no endpoint.",
        "filtered" => "No endpoint takes this message: the filters of all of them leave it out.",
        "endpoints_disabled" => "The endpoints that would take this message are disabled.",
        crate::event::NOT_DISPATCHED => "Svix has stored this message, and has not called an endpoint for it yet.",
        _ => return None,
    })
}

/// What Svix made of a message at one endpoint, by the word of its API.
pub fn of_endpoint(status: &str) -> Option<&'static str> {
    Some(match status {
        "success" => "received",
        "pending" => "failed, to be tried again by Svix",
        "sending" => "being sent",
        "fail" => "failed, given up by Svix",
        "canceled" => "cancelled",
        _ => return None,
    })
}

/// What one call of Svix's to an endpoint came to.
pub fn of_call(status: &str) -> Option<&'static str> {
    Some(match status {
        "success" => "received",
        "pending" => "waiting",
        "sending" => "being sent",
        "fail" => "failed",
        "canceled" => "cancelled",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{DISPATCH_REASONS, DeadReason, HaltReason, NOT_DISPATCHED, NoTaker, ParkReason, Verdict};
    use serde_json::json;

    #[test]
    fn a_timeline_is_told_in_words() {
        let sample = json!({
            "id": "evt_1", "project": "gigs", "type": "com.gigs.sim.updated", "outcome": "retried", "reason": null,
            "attempts": [{
                "at": "2026-08-03T06:00:00.1Z", "attempt": 1, "status": 503, "outcome": "retried", "reason": null,
                "detail": "503 Service Unavailable", "latency_ms": 34.6, "processing_ms": 35, "calls": 1, "queue": "q",
                "routing_key": "x\u{1b}[2J\n.y", "message_id": null, "next_at": "2026-08-03T06:00:05.1Z"
            }],
            "next_retry": {"attempt": 2, "rung": 1, "due_at": "2026-08-03T06:00:05.1Z", "due_in_seconds": 4.2},
            "svix": {
                "state": "known", "message": {"id": "msg_1", "created_at": "2026-08-03T06:00:00Z"},
                "endpoints": [
                    {"id": "ep_1", "url": "https://a.example", "status": "pending",
                     "next_attempt_at": "2026-08-03T06:05:00Z"},
                    {"id": "ep_2", "url": "https://b.example", "status": "surprised", "next_attempt_at": null}
                ],
                "attempts": [{
                    "at": "2026-08-03T06:00:01Z", "endpoint_id": "ep_1", "url": "https://a.example", "status": "fail",
                    "response_status": 500, "response": "o\u{202e}h\u{9b}31m\n", "duration_ms": 7
                }],
                "truncated": false, "reason": null
            },
            "gaps": [{"from": "2026-08-03T06:00:00Z", "until": null, "lost": 2}],
        });
        let sample: Story = serde_json::from_value(sample).unwrap();
        assert_eq!(
            story(&sample),
            "Event evt_1, com.gigs.sim.updated, of project gigs\n\
             is not accepted, to be tried again.\n\n\
             To Svix\n\
             \x20 2026-08-03 06:00:00.100 UTC  attempt 1: not accepted, to be tried again (Svix answered 503 within 35 ms; \
             503 Service Unavailable; routing key x\\u{1b}[2J\\n.y)\n\
             \x20 2026-08-03 06:00:05.100 UTC  attempt 2 is due, at the earliest, after delay 1: in 5 s\n\n\
             From Svix to the endpoints\n\
             \x20 2026-08-03 06:00:00.000 UTC  message msg_1\n\
             \x20 https://a.example (ep_1): failed, to be tried again by Svix; next attempt at 2026-08-03 06:05:00.000 UTC\n\
             \x20   2026-08-03 06:00:01.000 UTC  failed, answered 500 within 7 ms: \
             \"o\\u{202e}h\\u{9b}31m\\n\"\n\
             \x20 https://b.example (ep_2): surprised\n\n\
             Not whole\n\
             \x20 2 deliveries are missing in the journal between 2026-08-03 06:00:00.000 UTC and now\n"
        );
    }

    #[test]
    fn waits_are_as_coarse_as_is_of_use() {
        for (seconds, words) in [(0.2, "1 s"), (119.0, "119 s"), (1200.0, "20 min"), (21_600.0, "6 h 0 min")] {
            assert_eq!(wait(seconds), words);
        }
    }

    #[test]
    fn every_outcome_and_reason_has_words() {
        for outcome in Verdict::OUTCOMES {
            assert!(of_outcome(outcome).is_some(), "{outcome}");
        }
        let dead = DeadReason::ALL.map(DeadReason::as_str);
        let parked = HaltReason::ALL.map(HaltReason::as_str).into_iter().chain(ParkReason::ALL.map(ParkReason::as_str));
        for reason in dead.into_iter().chain(parked).chain(DISPATCH_REASONS) {
            assert!(of_reason(reason).is_some(), "{reason}");
        }
        for dispatch in NoTaker::ALL.map(NoTaker::as_str).into_iter().chain([NOT_DISPATCHED]) {
            assert!(of_dispatch(dispatch).is_some(), "{dispatch}");
        }
        assert_eq!((of_outcome("lost"), of_reason("lost"), of_endpoint("lost")), (None, None, None));
    }
}
