//! Body × attempt × answers → verdict, with a scripted sink.

use super::*;
use crate::{
    event::{AppId, Attempt, ProjectId},
    observe::health::Health,
    pipeline::{
        fake_sink::{FakeSink, accepted, cause, failed, throttled, unusable},
        pauses::Pause,
        route::UnknownProject,
        sink::Create,
    },
};
use bytes::Bytes;
use std::time::Duration;

const BODY: &str = r#"{"id":"evt_1","project":"gigs","type":"t","time":"2026-08-03T06:14:10Z","data":{}}"#;

/// How long the source lets a delivery stay unsettled.
const HOLD: Duration = Duration::from_secs(600);
/// The one delay of the ladder.
const DELAY: Duration = Duration::from_secs(5);

fn handler(sink: FakeSink, unknown_project: UnknownProject, limit: u32) -> Arc<Handler<FakeSink>> {
    let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()));
    let mapped = [(ProjectId::try_new("mapped").unwrap(), AppId::try_new("elsewhere").unwrap())];
    Arc::new(Handler {
        sink: Arc::new(sink),
        gate: Arc::new(Gate::new(Arc::clone(&metrics), health)),
        pacer: Pacer::new(0, 288, 1, Arc::clone(&metrics)),
        routes: Routes::new(mapped),
        projects: ProjectCounts::new([], &metrics),
        board: Arc::new(Board::new(Arc::clone(&metrics))),
        provisioner: Provisioner::new(unknown_project, limit, Arc::clone(&metrics)),
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
        waited: if rung == 0 { Duration::ZERO } else { DELAY },
        next_delay: (rung == 0).then_some(DELAY),
        lane: 0,
    }
}

fn named(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Dead(dead) => format!("dead {}", dead.reason.as_str()),
        other => other.outcome().to_owned(),
    }
}

#[track_caller]
fn check(
    body: &str,
    rung: u8,
    script: Vec<Answer>,
    unknown: UnknownProject,
    expected: &str,
    calls: usize,
) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    let message = message(body, rung);
    async move {
        let handler = handler(FakeSink::answering(script), unknown, 10);
        let (verdict, _) = handler.handle(&message, &mut Calls::default()).await;
        assert_eq!(named(&verdict), expected, "{place}: {verdict:?}");
        assert_eq!(handler.sink.calls().len(), calls, "{place}: {:?}", handler.sink.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn each_answer_leads_to_its_verdict() {
    use UnknownProject::{DeadLetter, Provision};
    let missing = || Answer::AppMissing(cause(404));
    let mapped = BODY.replace("\"gigs\"", "\"mapped\"");
    let long = BODY.replace("{}", &format!("\"{}\"", "x".repeat(500)));
    check(BODY, 0, vec![accepted()], Provision, "delivered", 1).await;
    check(BODY, 0, vec![Answer::Conflict], Provision, "duplicate", 1).await;
    check(BODY, 0, vec![Answer::Refused(cause(422))], Provision, "dead refused", 1).await;
    check(BODY, 0, vec![Answer::TooLarge(cause(413))], Provision, "dead too_large", 1).await;
    check(BODY, 0, vec![failed()], Provision, "retried", 1).await;
    check(BODY, 0, vec![missing(), accepted()], Provision, "delivered", 2).await;
    check(BODY, 0, vec![missing()], DeadLetter, "dead unroutable", 1).await;
    check(&mapped, 0, vec![missing()], Provision, "dead unroutable", 1).await;
    check("not json", 0, vec![failed()], Provision, "dead malformed", 0).await;
    check(&long, 0, vec![failed()], Provision, "dead too_large", 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_conflict_of_a_creating_call_is_asked_again_without_creating() {
    use UnknownProject::Provision;
    let missing = || Answer::AppMissing(cause(404));
    let lost = vec![missing(), Answer::Conflict, accepted()];
    check(BODY, 0, lost, Provision, "delivered", 3).await;
    let repeat = vec![missing(), Answer::Conflict, Answer::Conflict];
    check(BODY, 0, repeat, Provision, "duplicate", 3).await;
    // Whatever creates and deletes in turns: the event climbs its rung in the end.
    let round = || [missing(), Answer::Conflict];
    let script = [round(), round(), round()].concat().into_iter().chain([missing()]);
    let handler = handler(FakeSink::answering(script), Provision, 10);
    let (verdict, _) = handler.handle(&message(BODY, 0), &mut Calls::default()).await;
    assert_eq!(named(&verdict), "retried");
    let creating = handler.sink.calls().iter().filter(|(_, create)| *create == Create::IfMissing).count();
    assert_eq!(creating, 3);
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_is_exhausted_only_if_others_were_accepted_since_the_one_before() {
    let handler = handler(FakeSink::answering([failed()]), UnknownProject::Provision, 10);
    handler.gate.pass(Standing::Ordinary, Instant::now(), &handler.stop).await.unwrap().accepted();
    let (verdict, _) = handler.handle(&message(BODY, 1), &mut Calls::default()).await;
    assert_eq!(named(&verdict), "dead exhausted");
}

/// Keeps the gate while `handle` runs to its end.
async fn with_keeper(handler: &Arc<Handler<FakeSink>>, message: &Message) -> Verdict {
    let (gate, sink) = (Arc::clone(&handler.gate), Arc::clone(&handler.sink));
    let keeper = tokio::spawn(async move { crate::pipeline::keeper::keep(&gate, &*sink).await });
    let (verdict, _) = handler.handle(message, &mut Calls::default()).await;
    keeper.abort();
    verdict
}

#[tokio::test(start_paused = true)]
async fn a_last_attempt_in_an_outage_is_held_and_delivered_when_it_ends() {
    let script = [failed(), failed(), failed(), accepted()];
    let handler = handler(FakeSink::answering(script), UnknownProject::Provision, 10);
    let verdict = with_keeper(&handler, &message(BODY, 1)).await;
    assert_eq!(named(&verdict), "delivered");
    assert_eq!(handler.sink.calls().len(), 4);
    assert!(handler.gate.is_open());
}

#[tokio::test(start_paused = true)]
async fn what_is_not_the_events_fault_is_held_and_spends_nothing() {
    for trouble in
        [unusable(PauseReason::Auth), unusable(PauseReason::NotSvix), unusable(PauseReason::Unreachable), throttled(2)]
    {
        let handler =
            handler(FakeSink::answering([trouble.clone(), trouble.clone(), accepted()]), UnknownProject::Provision, 10);
        let started = Instant::now();
        let verdict = with_keeper(&handler, &message(BODY, 0)).await;
        assert_eq!(named(&verdict), "delivered", "{trouble:?}");
        assert!(started.elapsed() >= Duration::from_secs(3), "{trouble:?}: 1 s and 2 s, or twice 2 s");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_held_for_ten_minutes_goes_back() {
    let handler = handler(FakeSink::answering([unusable(PauseReason::Auth)]), UnknownProject::Provision, 10);
    handler.sink.answer_probes(Err(unusable(PauseReason::Auth)));
    let started = Instant::now();
    let verdict = with_keeper(&handler, &message(BODY, 0)).await;
    assert_eq!(verdict, Verdict::Released(Released::DeferredTooLong));
    assert!(started.elapsed() >= HOLD - Duration::from_secs(1) && started.elapsed() < HOLD + Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn new_credentials_are_tried_at_once() {
    let handler = handler(FakeSink::answering([unusable(PauseReason::Auth)]), UnknownProject::Provision, 10);
    handler.sink.answer_probes(Err(unusable(PauseReason::Auth)));
    let sink = Arc::clone(&handler.sink);
    // Late in the pause, when probes are 30 s apart.
    let correct = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(200)).await;
        sink.answer_probes(Ok(()));
        sink.answer_from_now_on([accepted()]);
        sink.change_credentials("two");
        Instant::now()
    });
    let verdict = with_keeper(&handler, &message(BODY, 0)).await;
    assert_eq!(named(&verdict), "delivered");
    assert!(correct.await.unwrap().elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn stopping_releases_what_is_held() {
    let handler = handler(FakeSink::answering([unusable(PauseReason::Auth)]), UnknownProject::Provision, 10);
    handler.stop.requested.cancel();
    let (verdict, _) = handler.handle(&message(BODY, 0), &mut Calls::default()).await;
    assert_eq!(verdict, Verdict::Released(Released::Stopping));
}

#[tokio::test(start_paused = true)]
async fn an_application_known_under_other_credentials_is_not_created_under_new_ones() {
    let missing = || Answer::AppMissing(cause(404));
    let handler = handler(FakeSink::answering([accepted()]), UnknownProject::Provision, 10);
    assert_eq!(named(&handler.handle(&message(BODY, 0), &mut Calls::default()).await.0), "delivered");
    handler.sink.answer_from_now_on([missing()]);
    handler.sink.change_credentials("two");
    let stop = handler.stop.clone();
    let waiting = Arc::clone(&handler);
    let held = tokio::spawn(async move { waiting.handle(&message(BODY, 0), &mut Calls::default()).await.0 });
    let mut states = handler.gate.states();
    states.wait_for(|state| state.reason() == Some(PauseReason::Provisioning)).await.unwrap();
    stop.requested.cancel();
    assert_eq!(held.await.unwrap(), Verdict::Released(Released::Stopping));
    assert!(handler.sink.calls().iter().all(|(_, create)| *create == Create::Never));
}

#[tokio::test(start_paused = true)]
async fn an_application_deleted_under_the_same_credentials_is_created_again() {
    let missing = || Answer::AppMissing(cause(404));
    // Missing twice: the first answer may be older than the acceptance.
    let script = [accepted(), missing(), missing(), accepted()];
    let handler = handler(FakeSink::answering(script), UnknownProject::Provision, 10);
    assert_eq!(named(&handler.handle(&message(BODY, 0), &mut Calls::default()).await.0), "delivered");
    assert_eq!(named(&handler.handle(&message(BODY, 0), &mut Calls::default()).await.0), "delivered");
    assert_eq!(handler.metrics.apps_provisioned.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_the_creation_that_is_heard_after_it_creates_nothing_again() {
    let missing = || Answer::AppMissing(cause(404));
    let script = [missing(), accepted(), missing(), accepted()];
    let handler = handler(FakeSink::answering(script), UnknownProject::Provision, 10);
    for _ in 0..2 {
        assert_eq!(named(&handler.handle(&message(BODY, 0), &mut Calls::default()).await.0), "delivered");
    }
    let calls: Vec<_> = handler.sink.calls().into_iter().map(|(_, create)| create).collect();
    assert_eq!(calls, [Create::Never, Create::IfMissing, Create::Never, Create::Never]);
    assert_eq!(handler.metrics.apps_provisioned.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_burst_for_an_application_that_was_deleted_creates_it_once() {
    const BURST: usize = 32;
    let missing = || Answer::AppMissing(cause(404));
    let script = [accepted()].into_iter().chain((0..2 * BURST).map(|_| missing())).chain([accepted()]);
    let handler = handler(FakeSink::answering(script), UnknownProject::Provision, 10);
    assert_eq!(named(&handler.handle(&message(BODY, 0), &mut Calls::default()).await.0), "delivered");
    let burst = (0..BURST).map(|_| {
        let handler = Arc::clone(&handler);
        tokio::spawn(async move { handler.handle(&message(BODY, 0), &mut Calls::default()).await.0 })
    });
    for each in burst.collect::<Vec<_>>() {
        assert_eq!(named(&each.await.unwrap()), "delivered");
    }
    let creating = handler.sink.calls().iter().filter(|(_, create)| *create == Create::IfMissing).count();
    assert_eq!(creating, 1);
}

#[tokio::test(start_paused = true)]
async fn a_burst_for_a_new_project_that_is_throttled_makes_no_further_call_before_its_time() {
    // All of them under way before the first answer.
    const BURST: usize = 32;
    let script = (0..BURST).map(|_| Answer::AppMissing(cause(404))).chain([throttled(2), accepted()]);
    let handler = handler(FakeSink::answering(script), UnknownProject::Provision, 10);
    let started = Instant::now();
    let burst: Vec<_> = (0..BURST)
        .map(|_| {
            let handler = Arc::clone(&handler);
            tokio::spawn(async move { handler.handle(&message(BODY, 0), &mut Calls::default()).await.0 })
        })
        .collect();
    let mut states = handler.gate.states();
    states.wait_for(|state| state.reason() == Some(PauseReason::RateLimited)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(handler.sink.calls().len(), BURST + 1, "all found nothing, one tried to create");
    let (gate, sink) = (Arc::clone(&handler.gate), Arc::clone(&handler.sink));
    let keeper = tokio::spawn(async move { crate::pipeline::keeper::keep(&gate, &*sink).await });
    for each in burst {
        assert_eq!(named(&each.await.unwrap()), "delivered");
    }
    assert!(started.elapsed() >= Duration::from_secs(2));
    keeper.abort();
}

#[tokio::test(start_paused = true)]
async fn a_mapped_application_missing_under_new_credentials_is_a_pause_and_not_a_death() {
    let handler = handler(FakeSink::answering([accepted()]), UnknownProject::DeadLetter, 10);
    let mapped = BODY.replace("\"gigs\"", "\"mapped\"");
    assert_eq!(named(&handler.handle(&message(&mapped, 0), &mut Calls::default()).await.0), "delivered");
    handler.sink.answer_from_now_on([Answer::AppMissing(cause(404))]);
    handler.sink.change_credentials("two");
    let waiting = Arc::clone(&handler);
    let held = tokio::spawn(async move { waiting.handle(&message(&mapped, 0), &mut Calls::default()).await.0 });
    let mut states = handler.gate.states();
    states.wait_for(|state| state.reason() == Some(PauseReason::Provisioning)).await.unwrap();
    handler.stop.requested.cancel();
    assert_eq!(held.await.unwrap(), Verdict::Released(Released::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_failing_creation_does_not_use_up_the_limit() {
    let script = [Answer::AppMissing(cause(404)), failed()];
    let handler = handler(FakeSink::answering(script.clone()), UnknownProject::Provision, 1);
    for _ in 0..3 {
        handler.sink.answer_from_now_on(script.clone());
        assert_eq!(named(&handler.handle(&message(BODY, 0), &mut Calls::default()).await.0), "retried");
    }
    handler.sink.answer_from_now_on([Answer::AppMissing(cause(404)), accepted()]);
    assert_eq!(named(&handler.handle(&message(BODY, 0), &mut Calls::default()).await.0), "delivered");
}

/// Pauses project `gigs` for this handler, or resumes it.
async fn pause(handler: &Handler<FakeSink>, paused: bool) {
    let gigs = ProjectId::try_new("gigs").unwrap();
    let pause = Pause { since: jiff::Timestamp::UNIX_EPOCH, identity: "test".into(), claimed: None, reason: None };
    handler.board.show(paused.then_some((gigs, pause)).into_iter().collect());
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_paused_project_is_put_aside_without_a_call_and_others_are_sent() {
    let handler = handler(FakeSink::answering([accepted()]), UnknownProject::Provision, 10);
    pause(&handler, true).await;
    for rung in [0, 1] {
        let (verdict, _) = handler.handle(&message(BODY, rung), &mut Calls::default()).await;
        assert_eq!(verdict, Verdict::Released(Released::ProjectPaused));
    }
    assert!(handler.sink.calls().is_empty());
    let (verdict, _) = handler.handle(&message("not json", 0), &mut Calls::default()).await;
    assert_eq!(named(&verdict), "dead malformed", "nobody's event waits for nobody");
    let other = BODY.replace("\"gigs\"", "\"mapped\"");
    assert_eq!(named(&handler.handle(&message(&other, 0), &mut Calls::default()).await.0), "delivered");
    pause(&handler, false).await;
    assert_eq!(named(&handler.handle(&message(BODY, 0), &mut Calls::default()).await.0), "delivered");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_waits_at_the_closed_gate_is_put_aside_when_its_project_is_paused() {
    let handler = handler(FakeSink::answering([unusable(PauseReason::Auth)]), UnknownProject::Provision, 10);
    let waiting = Arc::clone(&handler);
    let held = tokio::spawn(async move { waiting.handle(&message(BODY, 0), &mut Calls::default()).await.0 });
    let mut states = handler.gate.states();
    states.wait_for(|state| state.reason() == Some(PauseReason::Auth)).await.unwrap();
    pause(&handler, true).await;
    assert_eq!(held.await.unwrap(), Verdict::Released(Released::ProjectPaused));
    assert_eq!(handler.sink.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_turn_comes_after_the_pause_is_put_aside_and_spends_none_of_the_rate() {
    let mut handler = handler(FakeSink::answering([accepted()]), UnknownProject::Provision, 10);
    Arc::get_mut(&mut handler).unwrap().pacer = Pacer::new(1, 288, 1, Arc::new(Metrics::new().unwrap()));
    let tasks = (0..4).map(|_| {
        let handler = Arc::clone(&handler);
        tokio::spawn(async move { handler.handle(&message(BODY, 0), &mut Calls::default()).await.0 })
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
