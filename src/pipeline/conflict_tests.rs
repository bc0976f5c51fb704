//! What becomes of a repeat, by what it was proved to be.

use super::*;
use crate::event::NoTaker;

#[tokio::test(start_paused = true)]
async fn a_conflict_is_what_it_is_proved_to_be() {
    for (proof, rung, expected, detail) in [
        (repeated(Dispatch::Called), 0, "duplicate", None),
        (repeated(Dispatch::Rescued { endpoints: 2 }), 0, "duplicate", Some("Svix sends it to 2 endpoints now")),
        (repeated(Dispatch::Nobody(NoTaker::Filtered)), 0, "duplicate", Some("no endpoint's filter takes")),
        (repeated(Dispatch::Unchecked("no way")), 0, "duplicate", Some("no way")),
        (dead(DeadReason::Conflict, 409), 0, "dead conflict", Some("answered 409")),
        (Outcome::Pending(cause(409)), 0, "retried", Some("answered 409")),
        (failed(), 0, "retried", Some("answered 500")),
        (dead(DeadReason::Refused, 422), 0, "dead refused", Some("answered 422")),
    ] {
        let handler = handler(FakeSink::answering([proof.clone()]));
        let (message, mut calls) = (message(BODY, rung), Calls::default());
        let (verdict, event) = handler.handle(&message, None, &mut calls).await;
        assert_eq!(named(&verdict), expected, "{proof:?}");
        let Message { attempt, queue, routing_key, received, .. } = message;
        let origin = crate::pipeline::record::Origin { attempt, queue, routing_key, received, next_delay: None };
        let entry = crate::pipeline::record::entry(origin, &verdict, event, calls);
        let shown = entry.detail.unwrap_or_default();
        assert!(shown.starts_with(detail.unwrap_or_default()) && shown.is_empty() == detail.is_none(), "{shown}");
        let metrics = &handler.metrics;
        let counted = (metrics.events_rescued.get(), metrics.events_unchecked.get());
        let rescued = u64::from(entry.reason == Some("rescued"));
        assert_eq!(counted, (rescued, u64::from(entry.reason == Some("unchecked"))), "{proof:?}");
    }
}

/// A burst of them after a crash is no outage: only what Svix fails to do is.
#[tokio::test(start_paused = true)]
async fn repeats_that_are_not_dispatched_yet_close_no_gate() {
    let handler = handler(FakeSink::answering([Outcome::Pending(cause(409))]));
    for _ in 0..100 {
        assert_eq!(named(&handler.handle(&message(BODY, 0), None, &mut Calls::default()).await.0), "retried");
    }
    assert!(handler.halt.is_running());
}
