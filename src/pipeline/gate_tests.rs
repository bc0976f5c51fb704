//! The gate by itself: who passes when.

use super::*;
use crate::pipeline::fake_sink::cause;
use std::task::Poll;

fn gate() -> Gate {
    Gate::new(Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(1000)
}

async fn open_pass(gate: &Gate) -> Pass<'_> {
    gate.pass(Standing::Ordinary, soon(), &Stop::default()).await.unwrap()
}

/// Whether somebody who asks now is let through at once.
async fn lets_through(gate: &Gate) -> bool {
    let stop = Stop::default();
    let mut asking = std::pin::pin!(gate.pass(Standing::Ordinary, soon(), &stop));
    std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx).is_ready())).await
}

#[tokio::test(start_paused = true)]
async fn twenty_failures_without_an_acceptance_close_it_and_an_acceptance_starts_the_count_anew() {
    let gate = gate();
    for _ in 1..FAILURES_IN_A_ROW {
        open_pass(&gate).await.failed(&cause(500), None);
    }
    open_pass(&gate).await.accepted();
    for _ in 1..FAILURES_IN_A_ROW {
        open_pass(&gate).await.failed(&cause(500), None);
    }
    assert!(gate.is_open());
    open_pass(&gate).await.failed(&cause(500), None);
    assert!(!gate.is_open());
    assert_eq!(gate.demand(), Demand::Nothing);
}

#[tokio::test(start_paused = true)]
async fn closed_it_lets_one_through_at_a_time_and_only_that_ones_acceptance_opens_it() {
    let gate = gate();
    let on_its_way = open_pass(&gate).await;
    gate.close(PauseReason::Unreachable, &cause(0), None);
    assert!(!lets_through(&gate).await);
    on_its_way.accepted();
    assert!(!gate.is_open(), "a call from before the pause proves nothing");
    assert!(gate.step(Step::Waiting, Step::Trial));
    assert_eq!(gate.demand(), Demand::One);
    let trial = open_pass(&gate).await;
    assert!(!lets_through(&gate).await, "one at a time");
    trial.accepted();
    assert!(gate.is_open());
    assert_eq!(gate.demand(), Demand::Full);
}

#[tokio::test(start_paused = true)]
async fn a_trial_that_proves_nothing_leaves_the_next_one_free() {
    let gate = gate();
    gate.close(PauseReason::Auth, &cause(401), None);
    gate.step(Step::Waiting, Step::Trial);
    open_pass(&gate).await.answered();
    assert!(!gate.is_open());
    drop(open_pass(&gate).await);
    open_pass(&gate).await.failed(&cause(500), None);
    assert!(!lets_through(&gate).await, "after a failure the keeper decides");
}

#[tokio::test(start_paused = true)]
async fn a_date_given_by_svix_outlasts_a_trial_that_succeeds() {
    let gate = gate();
    gate.close(PauseReason::RateLimited, &cause(429), Some(Instant::now()));
    gate.step(Step::Waiting, Step::Trial);
    let trial = open_pass(&gate).await;
    // A call from before the pause comes home with a later date.
    gate.close(PauseReason::RateLimited, &cause(429), Some(Instant::now() + Duration::from_secs(9)));
    trial.accepted();
    assert!(!gate.is_open());
    assert!(!lets_through(&gate).await);
    tokio::time::advance(Duration::from_secs(10)).await;
    gate.step(Step::Waiting, Step::Trial);
    open_pass(&gate).await.accepted();
    assert!(gate.is_open());
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_stand_in_line_and_all_pass_once_it_opens() {
    let gate = Arc::new(gate());
    gate.close(PauseReason::Auth, &cause(401), None);
    let waiting: Vec<_> = (0..50)
        .map(|_| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { open_pass(&gate).await.accepted() })
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(gate.demand(), Demand::Nothing, "those who wait are tried first");
    gate.step(Step::Waiting, Step::Trial);
    assert_eq!(gate.demand(), Demand::Nothing);
    for each in waiting {
        each.await.unwrap();
    }
    assert!(gate.is_open());
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_with_its_deadline_and_with_the_process() {
    let (gate, stop) = (gate(), Stop::default());
    gate.close(PauseReason::Auth, &cause(401), None);
    let denied = gate.pass(Standing::Ordinary, Instant::now() + Duration::from_secs(5), &stop).await;
    assert_eq!(denied.map(drop), Err(Denied::TooLong));
    stop.requested.cancel();
    assert_eq!(gate.pass(Standing::Ordinary, soon(), &stop).await.map(drop), Err(Denied::Stopping));
    gate.step(Step::Waiting, Step::Trial);
    assert!(lets_through(&gate).await, "nobody took the place in line along");
}

#[tokio::test(start_paused = true)]
async fn no_step_towards_a_trial_is_earlier_than_the_date_that_svix_gave() {
    let gate = gate();
    let in_seconds = |n| Some(Instant::now() + Duration::from_secs(n));
    gate.close(PauseReason::RateLimited, &cause(429), in_seconds(2));
    // Another call of the same burst comes home with a later date, while the keeper sleeps until the first one.
    gate.close(PauseReason::RateLimited, &cause(429), in_seconds(5));
    tokio::time::advance(Duration::from_secs(3)).await;
    gate.step(Step::Waiting, Step::Trial);
    assert!(!lets_through(&gate).await, "two seconds early");
    tokio::time::advance(Duration::from_secs(3)).await;
    gate.step(Step::Waiting, Step::Trial);
    let trial = open_pass(&gate).await;
    gate.close(PauseReason::RateLimited, &cause(429), in_seconds(9));
    assert!(!trial.holds(), "nor may the trial make a second call");
    trial.answered();
    assert!(!lets_through(&gate).await, "a refusal frees the trial, and yet the date holds");
}

#[tokio::test(start_paused = true)]
async fn an_event_that_failed_its_trial_does_not_keep_others_from_being_taken() {
    let (gate, stop) = (gate(), Stop::default());
    gate.close(PauseReason::Failing, &cause(500), None);
    let mut failed_before = std::pin::pin!(gate.pass(Standing::FailedItsTrial, soon(), &stop));
    std::future::poll_fn(|cx| Poll::Ready(failed_before.as_mut().poll(cx).is_pending())).await;
    gate.step(Step::Waiting, Step::Trial);
    assert_eq!(gate.demand(), Demand::One);
}

#[tokio::test(start_paused = true)]
async fn events_at_their_last_attempt_let_a_fresh_one_go_first() {
    let gate = Arc::new(gate());
    gate.close(PauseReason::Failing, &cause(500), None);
    let poison: Vec<_> = [Standing::FailedItsTrial, Standing::LastAttempt, Standing::LastAttempt]
        .map(|standing| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.pass(standing, soon(), &Stop::default()).await.unwrap().answered() })
        })
        .into();
    tokio::task::yield_now().await;
    gate.step(Step::Waiting, Step::Trial);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(gate.demand(), Demand::One, "none of them keeps a fresh event from being taken");
    let fresh = Instant::now();
    open_pass(&gate).await.accepted();
    assert_eq!(fresh.elapsed(), Duration::ZERO);
    assert!(gate.is_open());
    for each in poison {
        each.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn alone_an_event_at_its_last_attempt_is_tried_all_the_same() {
    let gate = gate();
    gate.close(PauseReason::Failing, &cause(500), None);
    gate.step(Step::Waiting, Step::Trial);
    let asked = Instant::now();
    gate.pass(Standing::LastAttempt, soon(), &Stop::default()).await.unwrap().accepted();
    assert!(gate.is_open() && asked.elapsed() < Duration::from_secs(5));
}
