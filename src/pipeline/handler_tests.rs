//! Body × attempt × answers → verdict, with a scripted sink.

use super::*;
use crate::{
    event::{Attempt, EventId, HaltReason, ProjectId},
    observe::health::Health,
    pipeline::{
        delivery::Unreadable,
        fake_sink::{FakeSink, accepted, cause, dead, failed, repeated, throttled, unusable},
        pauses::Pause,
        sink::Probed,
    },
};
use bytes::Bytes;
use std::time::Duration;

const BODY: &str = r#"{"id":"evt_1","project":"gigs","type":"t","time":"2026-08-03T06:14:10Z","data":{}}"#;

/// How long the source lets a delivery stay unsettled.
const HOLD: Duration = Duration::from_secs(600);
/// The one delay of the ladder.
const DELAY: Duration = Duration::from_secs(5);

fn handler(sink: FakeSink) -> Arc<Handler<FakeSink>> {
    let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()));
    Arc::new(Handler {
        sink: Arc::new(sink),
        halt: Arc::new(Halt::new(Arc::clone(&metrics), health)),
        destinations: Destinations::new(288, Arc::clone(&metrics)),
        announcements: Announcements::default(),
        pacer: Pacer::new(0, 288, 1, Arc::clone(&metrics)),
        projects: ProjectCounts::new([], &metrics),
        board: Arc::new(Board::new(Arc::clone(&metrics))),
        max_payload_bytes: 500,
        metrics,
        stop: Stop::default(),
    })
}

fn message(body: &str, rung: u8) -> Message {
    Message {
        body: Bytes::copy_from_slice(body.as_bytes()),
        attempt: Attempt::from_rung(rung),
        content_type: None,
        content_encoding: None,
        header_bytes: 0,
        replayed: 0,
        queue: "q".into(),
        routing_key: "gigs.t".into(),
        received: std::time::Instant::now(),
        deadline: std::time::Instant::now() + HOLD,
        trace: crate::observe::trace::Trace::default(),
        unreadable: Default::default(),
        waited: if rung == 0 { Duration::ZERO } else { DELAY },
        next_delay: (rung == 0).then_some(DELAY),
        lane: 0,
        given_up: None,
    }
}

fn named(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Dead(dead) => format!("dead {}", dead.reason.as_str()),
        other => other.outcome().to_owned(),
    }
}

#[track_caller]
fn check(body: &str, rung: u8, outcome: Outcome, expected: &str, calls: usize) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    let message = message(body, rung);
    async move {
        let handler = handler(FakeSink::answering([outcome]));
        let (verdict, _) = handler.handle(&message, None, &mut Calls::default()).await;
        assert_eq!(named(&verdict), expected, "{place}: {verdict:?}");
        assert_eq!(handler.sink.calls().len(), calls, "{place}: {:?}", handler.sink.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn properties_that_cannot_be_read_stop_an_event_only_if_it_needs_them() {
    let handler = handler(FakeSink::answering([accepted()]));
    let unreadable = |needed: &str, spare: &str| Message {
        unreadable: Unreadable { needed: needed.into(), spare: spare.into() },
        ..message(BODY, 0)
    };
    let (verdict, _) = handler.handle(&unreadable("headers", "message_id"), None, &mut Calls::default()).await;
    let Verdict::Dead(dead) = verdict else { panic!("{verdict:?}") };
    assert_eq!(dead.reason, DeadReason::Malformed);
    assert!(dead.cause.detail.starts_with("unreadable_properties: the message's headers "), "{}", dead.cause.detail);
    assert!(dead.event_id.is_some() && dead.project.is_some(), "its body can be read");
    let odd = handler.metrics.events_odd.with_label_values(&["properties"]);
    assert_eq!((handler.sink.calls().len(), odd.get()), (0, 0));
    let (verdict, _) = handler.handle(&unreadable("", "message_id"), None, &mut Calls::default()).await;
    assert_eq!((named(&verdict).as_str(), handler.sink.calls().len(), odd.get()), ("delivered", 1, 1));
}

#[tokio::test(start_paused = true)]
async fn what_its_source_has_given_up_is_a_dead_letter_without_a_call_whatever_it_is() {
    let handler = handler(FakeSink::answering([]));
    // Neither a pause nor the longest payload keeps it from being recorded as it lies in the dead-letter queue.
    pause(&handler, true).await;
    let long = BODY.replace("{}", &format!("\"{}\"", "x".repeat(500)));
    for (body, is_event) in [(BODY, true), (&long, true), ("not json", false)] {
        let given_up = Message { given_up: Some(cause(0)), ..message(body, 1) };
        let (verdict, event) = handler.handle(&given_up, None, &mut Calls::default()).await;
        let Verdict::Dead(dead) = verdict else { panic!("{verdict:?}") };
        assert_eq!((dead.reason, &dead.cause), (DeadReason::Exhausted, &cause(0)));
        assert_eq!((dead.event_id.is_some(), event.is_some()), (is_event, is_event));
    }
    assert!(handler.sink.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn each_outcome_leads_to_its_verdict() {
    let long = BODY.replace("{}", &format!("\"{}\"", "x".repeat(500)));
    check(BODY, 0, accepted(), "delivered", 1).await;
    check(BODY, 0, repeated(Dispatch::Called), "duplicate", 1).await;
    check(BODY, 0, dead(DeadReason::Refused, 422), "dead refused", 1).await;
    check(BODY, 0, dead(DeadReason::TooLarge, 413), "dead too_large", 1).await;
    check(BODY, 0, dead(DeadReason::Unroutable, 404), "dead unroutable", 1).await;
    check(BODY, 0, dead(DeadReason::Conflict, 409), "dead conflict", 1).await;
    check(BODY, 0, Outcome::Pending(cause(409)), "retried", 1).await;
    check(BODY, 0, failed(), "retried", 1).await;
    check("not json", 0, failed(), "dead malformed", 0).await;
    check(&long, 0, failed(), "dead too_large", 0).await;
}

/// Delivers one event of each of these projects.
async fn deliver(handler: &Handler<FakeSink>, projects: &[&str]) -> Vec<String> {
    let mut verdicts = Vec::new();
    for project in projects {
        let body = BODY.replace("\"gigs\"", &format!("\"{project}\""));
        verdicts.push(named(&handler.handle(&message(&body, 0), None, &mut Calls::default()).await.0));
    }
    verdicts
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_is_exhausted_only_if_its_destination_accepted_another_since_the_one_before() {
    let script = [accepted(), failed(), accepted(), failed()];
    let handler = handler(FakeSink::answering(script));
    deliver(&handler, &["other"]).await;
    let (verdict, _) = handler.handle(&message(BODY, 1), None, &mut Calls::default()).await;
    assert_eq!(park_reason(&verdict), Some(ParkReason::CircuitOpen), "{verdict:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(deliver(&handler, &["gigs"]).await, ["delivered"]);
    let (verdict, _) = handler.handle(&message(BODY, 1), None, &mut Calls::default()).await;
    assert_eq!(named(&verdict), "dead exhausted");
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_fails_is_parked_after_a_few_attempts_and_no_other_is() {
    let handler = handler(FakeSink::answering([failed()]));
    let retried = vec!["retried"; 9];
    assert_eq!(deliver(&handler, &["gigs"; 9]).await, retried);
    assert_eq!(deliver(&handler, &["gigs"; 3]).await, ["released"; 3]);
    assert_eq!(handler.sink.calls().len(), 10, "what is parked is not sent");
    handler.sink.answer_from_now_on([accepted()]);
    assert_eq!(deliver(&handler, &["dev", "gigs"]).await, ["delivered", "released"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(deliver(&handler, &["gigs", "gigs"]).await, ["delivered"; 2], "the probe, and the one after it");
    assert!(handler.halt.is_running());
}

#[tokio::test(start_paused = true)]
async fn a_parked_event_goes_by_the_leave_that_it_came_with() {
    let handler = handler(FakeSink::answering([failed(), accepted()]));
    let gigs = ProjectId::try_new("gigs").unwrap();
    let other = EventId::try_new("evt_other".to_owned()).unwrap();
    let _ = handler.destinations.admit(&gigs).unwrap().failed(&other, "no", None, true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let probe = handler.destinations.admit(&gigs).unwrap();
    let (verdict, _) = handler.handle(&message(BODY, 0), Some(probe), &mut Calls::default()).await;
    assert_eq!(
        park_reason(&verdict),
        Some(ParkReason::CircuitOpen),
        "a probe that fails spends no attempt: {verdict:?}"
    );
}

fn park_reason(verdict: &Verdict) -> Option<ParkReason> {
    match verdict {
        Verdict::Parked(parked) => Some(parked.reason),
        _ => None,
    }
}

/// Keeps the halt while `handle` runs to its end.
async fn with_prober(handler: &Arc<Handler<FakeSink>>, message: &Message) -> Verdict {
    let (halt, sink) = (Arc::clone(&handler.halt), Arc::clone(&handler.sink));
    let prober = tokio::spawn(async move { crate::pipeline::prober::keep(&halt, &*sink).await });
    let (verdict, _) = handler.handle(message, None, &mut Calls::default()).await;
    prober.abort();
    verdict
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_events_fault_is_held_and_spends_nothing() {
    for trouble in
        [unusable(HaltReason::Auth), unusable(HaltReason::NotSvix), unusable(HaltReason::Unreachable), throttled(2)]
    {
        let handler = handler(FakeSink::answering([trouble.clone(), trouble.clone(), accepted()]));
        let started = Instant::now();
        let verdict = with_prober(&handler, &message(BODY, 0)).await;
        assert_eq!(named(&verdict), "delivered", "{trouble:?}");
        assert!(started.elapsed() >= Duration::from_secs(3), "{trouble:?}: 1 s and 2 s, or twice 2 s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_held_for_ten_minutes_goes_back() {
    let handler = handler(FakeSink::answering([unusable(HaltReason::Auth)]));
    handler.sink.answer_probes(Err(unusable(HaltReason::Auth)));
    let started = Instant::now();
    let verdict = with_prober(&handler, &message(BODY, 0)).await;
    assert_eq!(verdict, Verdict::Released(Released::DeferredTooLong));
    assert!(started.elapsed() >= HOLD - Duration::from_secs(1) && started.elapsed() < HOLD + Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn new_credentials_are_tried_at_once() {
    let handler = handler(FakeSink::answering([unusable(HaltReason::Auth)]));
    handler.sink.answer_probes(Err(unusable(HaltReason::Auth)));
    let sink = Arc::clone(&handler.sink);
    // Late in the pause, when probes are 30 s apart.
    let correct = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(200)).await;
        sink.answer_probes(Ok(Probed::Well));
        sink.answer_from_now_on([accepted()]);
        sink.change_credentials("two");
        Instant::now()
    });
    let verdict = with_prober(&handler, &message(BODY, 0)).await;
    assert_eq!(named(&verdict), "delivered");
    assert!(correct.await.unwrap().elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn stopping_releases_what_is_held() {
    let handler = handler(FakeSink::answering([unusable(HaltReason::Auth)]));
    handler.stop.requested.cancel();
    let (verdict, _) = handler.handle(&message(BODY, 0), None, &mut Calls::default()).await;
    assert_eq!(verdict, Verdict::Released(Released::Stopping));
}

/// Pauses project `gigs` for this handler, or resumes it.
async fn pause(handler: &Handler<FakeSink>, paused: bool) {
    let gigs = ProjectId::try_new("gigs").unwrap();
    let pause = Pause { since: jiff::Timestamp::UNIX_EPOCH, identity: "test".into(), claimed: None, reason: None };
    handler.board.show(paused.then_some((gigs, pause)).into_iter().collect());
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_paused_project_is_put_aside_without_a_call_and_others_are_sent() {
    let handler = handler(FakeSink::answering([accepted()]));
    pause(&handler, true).await;
    for rung in [0, 1] {
        let (verdict, _) = handler.handle(&message(BODY, rung), None, &mut Calls::default()).await;
        assert_eq!(park_reason(&verdict), Some(ParkReason::Paused));
    }
    assert!(handler.sink.calls().is_empty());
    let (verdict, _) = handler.handle(&message("not json", 0), None, &mut Calls::default()).await;
    assert_eq!(named(&verdict), "dead malformed", "nobody's event waits for nobody");
    let other = BODY.replace("\"gigs\"", "\"mapped\"");
    assert_eq!(named(&handler.handle(&message(&other, 0), None, &mut Calls::default()).await.0), "delivered");
    pause(&handler, false).await;
    assert_eq!(named(&handler.handle(&message(BODY, 0), None, &mut Calls::default()).await.0), "delivered");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_waits_at_the_closed_gate_is_put_aside_when_its_project_is_paused() {
    let handler = handler(FakeSink::answering([unusable(HaltReason::Auth)]));
    let waiting = Arc::clone(&handler);
    let held = tokio::spawn(async move { waiting.handle(&message(BODY, 0), None, &mut Calls::default()).await.0 });
    let mut states = handler.halt.states();
    states.wait_for(|state| state.reason() == Some(HaltReason::Auth)).await;
    pause(&handler, true).await;
    assert_eq!(park_reason(&held.await.unwrap()), Some(ParkReason::Paused));
    assert_eq!(handler.sink.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_turn_comes_after_the_pause_is_put_aside_and_spends_none_of_the_rate() {
    let mut handler = handler(FakeSink::answering([accepted()]));
    Arc::get_mut(&mut handler).unwrap().pacer = Pacer::new(1, 288, 1, Arc::new(Metrics::new().unwrap()));
    let tasks = (0..4).map(|_| {
        let handler = Arc::clone(&handler);
        tokio::spawn(async move { handler.handle(&message(BODY, 0), None, &mut Calls::default()).await.0 })
    });
    let tasks: Vec<_> = tasks.collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    pause(&handler, true).await;
    let mut named_all = Vec::new();
    for task in tasks {
        named_all.push(named(&task.await.unwrap()));
    }
    named_all.sort();
    assert_eq!(named_all, ["delivered", "released", "released", "released"]);
    assert_eq!(handler.sink.calls().len(), 1);
}

#[path = "conflict_tests.rs"]
mod conflict;
#[path = "refusals_tests.rs"]
mod refusals;
