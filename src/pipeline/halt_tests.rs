//! The halt by itself: who passes when.

use super::*;
use crate::{
    observe::health,
    pipeline::{
        fake_sink::{FakeSink, accepted, cause, unusable},
        prober::QUIET,
        sink::Probed,
    },
};
use std::task::Poll;

fn halt() -> Halt {
    Halt::new(Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1000)
}

async fn open_pass(halt: &Halt) -> Pass<'_> {
    halt.pass(Standing::Ordinary, soon(), &Stop::default()).await.unwrap()
}

/// Whether somebody who asks now is let through at once.
async fn lets_through(halt: &Halt) -> bool {
    let stop = Stop::default();
    let mut asking = std::pin::pin!(halt.pass(Standing::Ordinary, soon(), &stop));
    std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx).is_ready())).await
}

fn project(name: &str) -> ProjectId {
    ProjectId::try_new(name.to_owned()).unwrap()
}

/// Fails so many events, of these projects in turn.
async fn fail(halt: &Halt, events: u32, projects: &[&str]) {
    for nth in 0..events as usize {
        open_pass(halt).await.failed(&project(projects[nth % projects.len()]), &cause(500));
    }
}

#[tokio::test(start_paused = true)]
async fn twenty_failures_of_several_destinations_without_an_acceptance_halt_everything() {
    let halt = halt();
    fail(&halt, FAILURES_IN_A_ROW - 1, &["gigs", "dev"]).await;
    open_pass(&halt).await.accepted();
    fail(&halt, FAILURES_IN_A_ROW - 1, &["gigs", "dev"]).await;
    assert!(halt.is_running());
    fail(&halt, 1, &["gigs"]).await;
    assert!(!halt.is_running());
    assert_eq!(halt.demand(), Demand::Nothing);
}

#[tokio::test(start_paused = true)]
async fn one_destination_that_fails_halts_nothing_however_often() {
    let halt = halt();
    fail(&halt, FAILURES_IN_A_ROW * 3, &["gigs"]).await;
    assert!(halt.is_running());
    fail(&halt, 1, &["dev"]).await;
    assert!(!halt.is_running(), "a second one that fails makes it likely");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_fails_leaves_the_next_event_of_another_destination_to_try_unless_many_have() {
    let halt = halt();
    halt.begin(HaltReason::Auth, &cause(401), None);
    halt.step(Step::Waiting, Step::HalfOpen);
    fail(&halt, FAILURES_IN_A_ROW - 1 + PROBES_AT_ONCE, &["gigs", "dev"]).await;
    assert!(lets_through(&halt).await);
    fail(&halt, 1, &["gigs"]).await;
    assert!(!lets_through(&halt).await, "the prober decides");
}

#[tokio::test(start_paused = true)]
async fn closed_it_lets_one_through_at_a_time_and_only_that_ones_acceptance_opens_it() {
    let halt = halt();
    let on_its_way = open_pass(&halt).await;
    halt.begin(HaltReason::Unreachable, &cause(0), None);
    assert!(!lets_through(&halt).await);
    on_its_way.accepted();
    assert!(!halt.is_running(), "a call from before the pause proves nothing");
    assert!(halt.step(Step::Waiting, Step::HalfOpen));
    assert_eq!(halt.demand(), Demand::One);
    let probe = open_pass(&halt).await;
    assert!(!lets_through(&halt).await, "one at a time");
    probe.accepted();
    assert!(halt.is_running());
    assert_eq!(halt.demand(), Demand::Full);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_proves_nothing_leaves_the_next_one_free() {
    let halt = halt();
    halt.begin(HaltReason::Auth, &cause(401), None);
    halt.step(Step::Waiting, Step::HalfOpen);
    open_pass(&halt).await.answered();
    assert!(!halt.is_running());
    drop(open_pass(&halt).await);
    assert!(lets_through(&halt).await);
}

#[tokio::test(start_paused = true)]
async fn a_date_given_by_svix_outlasts_a_trial_that_succeeds() {
    let halt = halt();
    halt.begin(HaltReason::RateLimited, &cause(429), Some(Instant::now()));
    halt.step(Step::Waiting, Step::HalfOpen);
    let probe = open_pass(&halt).await;
    // A call from before the pause comes home with a later date.
    halt.begin(HaltReason::RateLimited, &cause(429), Some(Instant::now() + Duration::from_secs(9)));
    probe.accepted();
    assert!(!halt.is_running());
    assert!(!lets_through(&halt).await);
    tokio::time::advance(Duration::from_secs(10)).await;
    halt.step(Step::Waiting, Step::HalfOpen);
    open_pass(&halt).await.accepted();
    assert!(halt.is_running());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_stand_in_line_and_all_pass_once_it_opens() {
    let halt = Arc::new(halt());
    halt.begin(HaltReason::Auth, &cause(401), None);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let halt = Arc::clone(&halt);
            tokio::spawn(async move { open_pass(&halt).await.accepted() })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(halt.demand(), Demand::Nothing, "those who wait are tried first");
    halt.step(Step::Waiting, Step::HalfOpen);
    assert_eq!(halt.demand(), Demand::Nothing);
    for each in waiting {
        each.await.unwrap();
    }
    assert!(halt.is_running());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_its_deadline_and_with_the_process() {
    let (halt, stop) = (halt(), Stop::default());
    halt.begin(HaltReason::Auth, &cause(401), None);
    let denied = halt.pass(Standing::Ordinary, Instant::now() + Duration::from_secs(5), &stop).await;
    assert_eq!(denied.map(drop), Err(Denied::TooLong));
    stop.requested.cancel();
    assert_eq!(halt.pass(Standing::Ordinary, soon(), &stop).await.map(drop), Err(Denied::Stopping));
    halt.step(Step::Waiting, Step::HalfOpen);
    assert!(lets_through(&halt).await, "nobody took the place in line along");
}

#[tokio::test(start_paused = true)]
async fn no_step_towards_a_trial_is_earlier_than_the_date_that_svix_gave() {
    let halt = halt();
    let in_seconds = |n| Some(Instant::now() + Duration::from_secs(n));
    halt.begin(HaltReason::RateLimited, &cause(429), in_seconds(2));
    // Another call of the same burst comes home with a later date, while the keeper sleeps until the first one.
    halt.begin(HaltReason::RateLimited, &cause(429), in_seconds(5));
    tokio::time::advance(Duration::from_secs(3)).await;
    halt.step(Step::Waiting, Step::HalfOpen);
    assert!(!lets_through(&halt).await, "two seconds early");
    tokio::time::advance(Duration::from_secs(3)).await;
    halt.step(Step::Waiting, Step::HalfOpen);
    let probe = open_pass(&halt).await;
    halt.begin(HaltReason::RateLimited, &cause(429), in_seconds(9));
    assert!(!probe.holds(), "nor may the probe make a second call");
    probe.answered();
    assert!(!lets_through(&halt).await, "a refusal frees the probe, and yet the date holds");
}

#[tokio::test(start_paused = true)]
async fn an_event_at_its_last_attempt_does_not_keep_others_from_being_taken() {
    let (halt, stop) = (halt(), Stop::default());
    halt.begin(HaltReason::Unreachable, &cause(0), None);
    let mut last = std::pin::pin!(halt.pass(Standing::LastAttempt, soon(), &stop));
    std::future::poll_fn(|cx| Poll::Ready(last.as_mut().poll(cx).is_pending())).await;
    halt.step(Step::Waiting, Step::HalfOpen);
    assert_eq!(halt.demand(), Demand::One);
}

#[tokio::test(start_paused = true)]
async fn events_at_their_last_attempt_let_a_fresh_one_go_first() {
    let halt = Arc::new(halt());
    halt.begin(HaltReason::Unreachable, &cause(0), None);
    let poison: Vec<_> = [Standing::LastAttempt, Standing::LastAttempt]
        .map(|standing| {
            let halt = Arc::clone(&halt);
            tokio::spawn(async move { halt.pass(standing, soon(), &Stop::default()).await.unwrap().answered() })
        })
        .into();
    tokio::task::yield_now().await;
    halt.step(Step::Waiting, Step::HalfOpen);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(halt.demand(), Demand::One, "none of them keeps a fresh event from being taken");
    let fresh = Instant::now();
    open_pass(&halt).await.accepted();
    assert_eq!(fresh.elapsed(), Duration::ZERO);
    assert!(halt.is_running());
    for each in poison {
        each.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn while_destinations_fail_all_may_be_taken_so_that_one_that_works_is_found() {
    let halt = halt();
    halt.begin(HaltReason::Failing, &cause(500), None);
    assert_eq!(halt.demand(), Demand::Nothing, "the prober decides");
    halt.step(Step::Waiting, Step::HalfOpen);
    assert_eq!(halt.demand(), Demand::Full);
}

#[tokio::test(start_paused = true)]
async fn alone_an_event_at_its_last_attempt_is_tried_all_the_same() {
    let halt = halt();
    halt.begin(HaltReason::Failing, &cause(500), None);
    halt.step(Step::Waiting, Step::HalfOpen);
    let asked = Instant::now();
    halt.pass(Standing::LastAttempt, soon(), &Stop::default()).await.unwrap().accepted();
    assert!(halt.is_running() && asked.elapsed() < Duration::from_secs(5));
}

/// So that a timer of the same length has struck.
const TICK: Duration = Duration::from_millis(10);

/// A prober at work on this halt.
fn kept(halt: &Arc<Halt>, sink: &Arc<FakeSink>) -> tokio::task::JoinHandle<()> {
    let (halt, sink) = (Arc::clone(halt), Arc::clone(sink));
    tokio::spawn(async move { crate::pipeline::prober::keep(&halt, &*sink).await })
}

fn is_shown(halt: &Halt, reason: HaltReason) -> bool {
    halt.metrics.paused.with_label_values(&[reason.as_str()]).get() == 1
}

#[tokio::test(start_paused = true)]
async fn with_nothing_to_try_the_probe_ends_it_for_operators_and_the_first_event_still_goes_alone() {
    let (halt, sink) = (Arc::new(halt()), Arc::new(FakeSink::answering([accepted()])));
    sink.answer_probes(Err(unusable(HaltReason::Unreachable)));
    let prober = kept(&halt, &sink);
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(is_shown(&halt, HaltReason::Unreachable) && halt.demand() == Demand::Nothing);
    sink.answer_probes(Ok(Probed::Well));
    tokio::time::sleep(Duration::from_secs(30) + QUIET + TICK).await;
    assert!(!is_shown(&halt, HaltReason::Unreachable), "nothing is there to try");
    assert_eq!(*halt.health.svix.borrow(), health::Svix::Untried { reason: HaltReason::Unreachable });
    assert!(!halt.is_running(), "only an acceptance opens it to all");
    assert_eq!(halt.demand(), Demand::One);
    let first = open_pass(&halt).await;
    assert!(!lets_through(&halt).await, "one at a time");
    assert!(!is_shown(&halt, HaltReason::Unreachable));
    // It proves nothing, and the next one goes alone too.
    first.answered();
    open_pass(&halt).await.accepted();
    assert!(halt.is_running());
    assert_eq!(*halt.health.svix.borrow(), health::Svix::Ok);
    prober.abort();
}

#[tokio::test(start_paused = true)]
async fn a_first_event_with_a_wrong_answer_halts_again() {
    let (halt, sink) = (Arc::new(halt()), Arc::new(FakeSink::answering([accepted()])));
    let prober = kept(&halt, &sink);
    halt.begin(HaltReason::Unreachable, &cause(0), None);
    tokio::time::sleep(Duration::from_secs(1) + QUIET + TICK).await;
    assert!(!is_shown(&halt, HaltReason::Unreachable));
    open_pass(&halt).await.unusable(HaltReason::NotSvix, &cause(404), None);
    assert!(is_shown(&halt, HaltReason::NotSvix) && !lets_through(&halt).await);
    assert!(matches!(&*halt.health.svix.borrow(), health::Svix::Halted { reason: HaltReason::NotSvix, .. }));
    tokio::time::sleep(Duration::from_secs(2) + QUIET + TICK).await;
    assert!(!is_shown(&halt, HaltReason::NotSvix), "and again it ends with nothing to try");
    open_pass(&halt).await.failed(&project("gigs"), &cause(500));
    assert!(!is_shown(&halt, HaltReason::Failing), "one destination that fails says nothing about the others");
    assert!(lets_through(&halt).await);
    prober.abort();
}

#[tokio::test(start_paused = true)]
async fn while_events_are_tried_and_not_accepted_it_stays_a_halt() {
    let (halt, sink) = (Arc::new(halt()), Arc::new(FakeSink::answering([accepted()])));
    let prober = kept(&halt, &sink);
    halt.begin(HaltReason::Failing, &cause(500), None);
    let mut shown = Vec::new();
    let watching = Arc::clone(&halt);
    // One that has failed before lets others go first each time, and is something to try all the same.
    let tried = async {
        for _ in 0..5 {
            watching
                .pass(Standing::FailedItsProbe, soon(), &Stop::default())
                .await
                .unwrap()
                .failed(&project("gigs"), &cause(500));
        }
    };
    let mut tried = std::pin::pin!(tried);
    loop {
        tokio::select! {
            biased;
            () = &mut tried => break,
            () = tokio::time::sleep(Duration::from_millis(100)) => shown.push(is_shown(&halt, HaltReason::Failing)),
        }
    }
    assert!(shown.len() > 150 && shown.iter().all(|shown| *shown), "a halt must not seem to end at each probe");
    prober.abort();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_only_an_event_can_make_clear_ends_nothing() {
    let (halt, sink) = (Arc::new(halt()), Arc::new(FakeSink::answering([accepted()])));
    sink.answer_probes(Ok(Probed::Unclear));
    let prober = kept(&halt, &sink);
    halt.begin(HaltReason::NotSvix, &cause(404), None);
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(is_shown(&halt, HaltReason::NotSvix));
    open_pass(&halt).await.accepted();
    assert!(halt.is_running() && !is_shown(&halt, HaltReason::NotSvix));
    prober.abort();
}

#[tokio::test(start_paused = true)]
async fn an_event_that_proves_nothing_does_not_keep_it_shown_for_ever() {
    let (halt, sink) = (Arc::new(halt()), Arc::new(FakeSink::answering([accepted()])));
    let prober = kept(&halt, &sink);
    halt.begin(HaltReason::Unreachable, &cause(0), None);
    tokio::time::sleep(Duration::from_secs(2)).await;
    open_pass(&halt).await.answered();
    assert!(is_shown(&halt, HaltReason::Unreachable));
    tokio::time::sleep(QUIET + TICK).await;
    assert!(!is_shown(&halt, HaltReason::Unreachable));
    // A call from before comes home late, with a date.
    halt.begin(HaltReason::RateLimited, &cause(429), Some(Instant::now() + Duration::from_secs(9)));
    assert!(is_shown(&halt, HaltReason::RateLimited) && halt.demand() == Demand::Nothing);
    tokio::time::sleep(Duration::from_secs(9) + QUIET + TICK).await;
    assert!(!is_shown(&halt, HaltReason::RateLimited), "its date is over");
    prober.abort();
}
