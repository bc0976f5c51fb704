//! From a settled delivery to the line that the journal keeps of it.

use crate::{
    event::{Attempt, Cause, Dispatch, Event, HaltReason, MAX_ROUTING_KEY, Verdict},
    pipeline::{journal::Entry, sink::Outcome},
};
use jiff::Timestamp;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What the calls for one delivery came to. Probes of a pause are none of them.
#[derive(Debug, Default)]
pub struct Calls {
    made: u32,
    status: Option<u16>,
    latency: Option<Duration>,
    message: Option<Box<str>>,
    halted: Option<(HaltReason, Cause)>,
    repeat: Option<Dispatch>,
}

impl Calls {
    pub fn came_to(&mut self, outcome: &Outcome, latency: Duration) {
        self.made = self.made.saturating_add(1);
        self.status = outcome.status();
        self.latency = Some(latency);
        match outcome {
            Outcome::Accepted(stored) => self.message.clone_from(&stored.message),
            Outcome::Repeated(repeat) => {
                self.message.clone_from(&repeat.message);
                self.repeat = Some(repeat.dispatch);
            }
            Outcome::Halt { reason, cause, .. } => self.halted = Some((*reason, cause.clone())),
            _ => {}
        }
    }
}

/// What of a delivery outlives its settlement.
#[derive(Debug)]
pub struct Origin {
    pub attempt: Attempt,
    pub queue: Arc<str>,
    pub routing_key: String,
    pub received: Instant,
    /// The wait before the attempt after this one.
    pub next_delay: Option<Duration>,
}

/// The line about a delivery, once `verdict` was carried out.
pub fn entry(origin: Origin, verdict: &Verdict, event: Option<Event>, calls: Calls) -> Entry {
    let Origin { attempt, queue, routing_key, received, next_delay } = origin;
    let (mut project, mut id) = (None, None);
    let (reason, cause) = match verdict {
        Verdict::Delivered => (None, None),
        Verdict::Duplicate => {
            let detail = calls.repeat.and_then(Dispatch::detail);
            (calls.repeat.and_then(Dispatch::reason), detail.map(|detail| Cause { status: None, detail }))
        }
        Verdict::Retry(cause) => (None, Some(cause.clone())),
        Verdict::Dead(dead) => {
            (project, id) = (dead.project.clone(), dead.event_id.clone());
            (Some(dead.reason.as_str()), Some(dead.cause.clone()))
        }
        Verdict::Parked(parked) => {
            let why = || Cause { status: None, detail: parked.reason.detail().to_owned() };
            (Some(parked.reason.as_str()), Some(parked.cause.clone().unwrap_or_else(why)))
        }
        // Why it was deferred says more than that it went back.
        Verdict::Released(why) => match calls.halted {
            Some((reason, cause)) => (Some(reason.as_str()), Some(cause)),
            None => (None, Some(Cause { status: None, detail: why.as_str().to_owned() })),
        },
    };
    let kind = event.as_ref().map(|event| event.kind.detached());
    let usual = event.as_ref().is_some_and(|event| {
        routing_key.strip_prefix(event.project.as_str()).and_then(|rest| rest.strip_prefix('.'))
            == Some(event.kind.as_str())
    });
    if let Some(event) = event {
        (project, id) = (Some(event.project), Some(event.id));
    }
    Entry {
        at: Timestamp::now(),
        // Detached: what waits to be written must not keep whole bodies in memory.
        project: project.map(|project| project.detached()),
        event: id.map(|id| id.detached()),
        kind,
        queue,
        routing_key: (!usual).then(|| plain(&routing_key, MAX_ROUTING_KEY)),
        attempt,
        outcome: verdict.outcome(),
        reason,
        status: calls.status.or_else(|| cause.as_ref().and_then(|cause| cause.status)),
        latency: calls.latency,
        calls: calls.made,
        processing: received.elapsed(),
        message: calls.message,
        detail: cause.map(|cause| plain(&cause.detail, MAX_DETAIL)),
        next_after: next_delay.filter(|_| matches!(verdict, Verdict::Retry(_))),
    }
}

/// Longest detail kept, in bytes: a line to read, not a page.
const MAX_DETAIL: usize = 300;

/// `text` without control characters, which a terminal obeys and PostgreSQL refuses (NUL), and not too long.
fn plain(text: &str, most: usize) -> String {
    let mut plain = String::with_capacity(text.len().min(most));
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        if plain.len() + c.len_utf8() > most {
            break;
        }
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Dead, DeadReason, Released};
    use bytes::Bytes;

    const BODY: &str = r#"{"id":"evt_1","project":"gigs","type":"t","data":{}}"#;

    fn made(verdict: &Verdict, key: &str, calls: Calls) -> Entry {
        let event = Event::parse(Bytes::from_static(BODY.as_bytes()), 1000).unwrap();
        let origin = Origin {
            attempt: Attempt::FIRST,
            queue: "q".into(),
            routing_key: key.to_owned(),
            received: Instant::now(),
            next_delay: Some(Duration::from_secs(5)),
        };
        entry(origin, verdict, Some(event), calls)
    }

    #[test]
    fn a_line_names_event_call_and_next_attempt() {
        let cause = Cause { status: Some(503), detail: "no\n\0good".into() };
        let mut calls = Calls::default();
        calls.came_to(&Outcome::Failed { cause: cause.clone(), wait: None }, Duration::from_millis(7));
        let entry = made(&Verdict::Retry(cause), "gigs.t", calls);
        assert_eq!(entry.project.unwrap().as_str(), "gigs");
        assert_eq!(entry.event.unwrap().as_str(), "evt_1");
        assert_eq!((entry.outcome, entry.status, entry.calls), ("retried", Some(503), 1));
        assert_eq!(entry.latency, Some(Duration::from_millis(7)));
        assert_eq!(entry.next_after, Some(Duration::from_secs(5)));
        assert_eq!(entry.detail.as_deref(), Some("no  good"));
        assert_eq!(entry.routing_key, None, "it follows from project and type");
        let other = made(&Verdict::Duplicate, "gigs.u\0", Calls::default());
        assert_eq!(other.routing_key.as_deref(), Some("gigs.u "));
    }

    #[test]
    fn an_event_that_was_deferred_says_why_and_a_malformed_one_what_is_known() {
        let mut calls = Calls::default();
        let cause = Cause { status: Some(401), detail: "refused".into() };
        for _ in 0..3 {
            calls.came_to(
                &Outcome::Halt { reason: HaltReason::Auth, cause: cause.clone(), wait: None },
                Duration::from_millis(1),
            );
        }
        let deferred = made(&Verdict::Released(Released::DeferredTooLong), "gigs.t", calls);
        assert_eq!((deferred.reason, deferred.calls, deferred.outcome), (Some("auth"), 3, "released"));
        let dead = Dead { reason: DeadReason::Malformed, cause, project: None, event_id: None };
        let origin = Origin {
            attempt: Attempt::FIRST,
            queue: "q".into(),
            routing_key: "x".into(),
            received: Instant::now(),
            next_delay: None,
        };
        let entry = entry(origin, &Verdict::Dead(dead), None, Calls::default());
        assert_eq!((entry.reason, entry.event, entry.project), (Some("malformed"), None, None));
        assert!(plain(&"é".repeat(500), 301).len() == 300);
    }
}
