//! The ladder on a real broker: attempts, delays, and what ends them.

use crate::support::{
    SOON,
    events::{generated, one},
    hookbro::Hookbro,
    ledger, until,
    world::World,
};
use std::time::{Duration, Instant};
use svix_sandbox::{Fault, Outcome, RequestLine};

fn failing(event_id: &str, status: u16, times: Option<u64>) -> Fault {
    Fault { event_id: Some(event_id.into()), status: Some(status), times, ..Fault::default() }
}

/// A yardstick: an event of another project that the test itself puts into the queue of this delay. How much later than the
/// delay it comes to Svix is the machine's doing, and nobody's else.
async fn lateness(world: &World, rung: usize, delay: Duration) -> Duration {
    let yardstick = one(&format!("yardstick{rung}"), "yardstick");
    world.broker.put(&format!("{}.delay.{rung}", world.broker.queue), &yardstick.body).await;
    let lies = Instant::now();
    let came = until("the yardstick comes back", SOON, async || {
        world.svix.calls_for(&yardstick.id).first().map(|call| call.at)
    })
    .await;
    came.saturating_duration_since(lies + delay)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_503_and_a_202_are_three_attempts_and_the_delays_are_kept() {
    let delays = [Duration::from_secs(3), Duration::from_secs(4)];
    let world = World::new("climb").await.with("retry.delays", "3s,4s");
    let sample = one("climb", "gigs");
    world.svix.sandbox.add_fault(failing(&sample.id, 503, Some(2)));
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish_one(&sample).await;
    let mut machine = Vec::new();
    for (failed, delay) in (1..).zip(delays) {
        until("it fails", SOON, async || (world.svix.calls_for(&sample.id).len() == failed).then_some(())).await;
        machine.push(lateness(&world, failed, delay).await);
    }
    world.arrive(std::slice::from_ref(&sample)).await;
    let calls = world.svix.calls_for(&sample.id);
    // The third attempt finds no application, and creates it.
    let statuses: Vec<_> = calls.iter().map(|call| call.outcome).collect();
    assert_eq!(statuses, [503, 503, 404, 202].map(Outcome::Answered));
    for ((pair, delay), machine) in calls.windows(2).zip(delays).zip(machine) {
        let waited = pair[1].at - pair[0].at;
        let late = delay.mul_f64(0.1) + Duration::from_millis(100) + machine;
        assert!(waited >= delay && waited <= delay + late, "{waited:?} instead of {delay:?}, and {machine:?} late");
    }
    // The event itself, and behind each of two delays a yardstick.
    for (attempt, received) in [(1, 1.0), (2, 2.0), (3, 2.0)] {
        let series = format!("hookbro_events_received_total{{attempt=\"{attempt}\"}}");
        assert_eq!(hookbro.metric(&series).await, received, "{series}");
    }
    assert_eq!(hookbro.metric("hookbro_events_settled_total{outcome=\"retried\"}").await, 2.0);
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_svix_refuses_for_ever_is_dead_after_one_call() {
    let world = World::new("refused").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let cases = [
        (422, r#"{"detail":[{"loc":["body"],"msg":"no","type":"value_error"}]}"#, "refused"),
        (400, r#"{"code":"generic_error","detail":"no"}"#, "refused"),
        (413, "<html>too large</html>", "too_large"),
    ];
    for (status, body, reason) in cases {
        let sample = one(&format!("s{status}"), "gigs");
        let fault = failing(&sample.id, status, None);
        world.svix.sandbox.add_fault(Fault { body: Some(body.into()), ..fault });
        world.publish_one(&sample).await;
        let dead = world.given_up().await;
        assert_eq!(dead.reason(), reason);
        assert_eq!(dead.body, sample.body);
        assert_eq!(dead.routing_key, sample.routing_key());
        assert_eq!(dead.header("x-hookbro-status"), Some(status.to_string()));
        assert_eq!(dead.header("x-hookbro-attempts").as_deref(), Some("1"));
        assert_eq!(dead.header("x-hookbro-project").as_deref(), Some("gigs"));
        assert_eq!(dead.header("x-hookbro-event-id"), Some(sample.id.clone()));
        assert_eq!(world.svix.calls_for(&sample.id).len(), 1);
    }
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_always_fails_while_others_arrive_is_exhausted() {
    let world = World::new("exhausted").await.with("retry.delays", "500ms,1s");
    let sick = one("sick", "gigs");
    world.svix.sandbox.add_fault(failing(&sick.id, 500, None));
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish_one(&sick).await;
    // Others are accepted all the while, so this is no outage.
    let mut others = generated("others", &["gigs"], 400).into_iter();
    until("it is given up", SOON, async || {
        world.publish_one(&others.next().unwrap()).await;
        (world.broker.ready_dead().await == 1).then_some(())
    })
    .await;
    let dead = world.broker.drain_dead().await.remove(0);
    assert_eq!(dead.reason(), "exhausted");
    assert_eq!(dead.header("x-hookbro-attempts").as_deref(), Some("3"));
    assert_eq!(dead.header("x-hookbro-status").as_deref(), Some("500"));
    assert_eq!(dead.routing_key, sick.routing_key(), "the publisher's key survives every hop");
    assert_eq!(world.svix.calls_for(&sick.id).len(), 3);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_attempt_failing_while_its_application_accepts_nothing_is_an_outage_and_parked() {
    let world = World::new("lastrung").await.with("retry.delays", "300ms");
    let sick = one("sick", "gigs");
    let fault = world.svix.sandbox.add_fault(Fault { status: Some(500), ..Fault::default() });
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish_one(&sick).await;
    until("its circuit is open", SOON, async || (hookbro.metric("hookbro_circuits_open").await == 1.0).then_some(()))
        .await;
    // Several probes fail in the meantime, and none of them gives the event up.
    until("it was tried again", SOON, async || (world.svix.calls_for(&sick.id).len() >= 4).then_some(())).await;
    assert_eq!(hookbro.status_of("/readyz").await, 200);
    assert_eq!(hookbro.metric("hookbro_paused{reason=\"failing\"}").await, 0.0, "one application is not Svix");
    world.svix.sandbox.remove_fault(fault);
    world.arrive(std::slice::from_ref(&sick)).await;
    until("its circuit is closed", SOON, async || (hookbro.metric("hookbro_circuits_open").await == 0.0).then_some(()))
        .await;
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_delays_there_is_one_attempt() {
    let world = World::new("once").await.with("retry.delays", "");
    let hookbro = Hookbro::ready(world.settings()).await;
    let (sick, other) = (one("sick", "gigs"), one("other", "gigs"));
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_millis(700), ..failing(&sick.id, 500, None) });
    world.publish_one(&sick).await;
    until("its call has begun", SOON, async || {
        (!world.svix.sandbox.faults().iter().all(|f| f.fired == 0)).then_some(())
    })
    .await;
    world.publish_one(&other).await;
    assert_eq!(world.given_up().await.reason(), "exhausted");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_came_is_repeated_and_svix_drops_the_repeat() {
    let world = World::new("unknown").await.with("svix.timeout", "1s");
    let events = generated("unknown", &["gigs"], 40);
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish_one(&events[0]).await;
    until("the application exists", SOON, async || (!world.svix.sandbox.messages().is_empty()).then_some(())).await;
    // Stored, and then the answer is lost: cut, reset, or later than the timeout.
    let stored = Fault { after_commit: true, times: Some(4), ..Fault::default() };
    world.svix.sandbox.add_fault(Fault { drop: true, ..stored.clone() });
    world.svix.sandbox.add_fault(Fault { reset: true, ..stored.clone() });
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_secs(3), ..stored });
    world.publish(&events[1..]).await;
    until("all are settled", SOON, async || {
        let done = hookbro.metric("hookbro_events_settled_total{outcome=\"delivered\"}").await
            + hookbro.metric("hookbro_events_settled_total{outcome=\"duplicate\"}").await;
        (done == events.len() as f64).then_some(())
    })
    .await;
    ledger::check(&world.svix, &events);
    assert_eq!(hookbro.metric("hookbro_events_settled_total{outcome=\"duplicate\"}").await, 12.0);
    assert_eq!(hookbro.metric("hookbro_events_settled_total{outcome=\"retried\"}").await, 12.0);
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_fail_whatever_svix_does_do_not_keep_fresh_ones_waiting() {
    let world = World::new("poison").await.with("retry.delays", "200ms");
    let poison = generated("poison", &["sick"], 12);
    world.svix.sandbox.add_fault(Fault { app: Some("sick".into()), status: Some(500), ..Fault::default() });
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish(&poison).await;
    until("its circuit is open", SOON, async || (hookbro.metric("hookbro_circuits_open").await == 1.0).then_some(()))
        .await;
    let fresh = generated("fresh", &["gigs"], 5);
    let before = world.svix.calls().len();
    world.publish(&fresh).await;
    world.arrive(&fresh).await;
    let is_sick = |call: &RequestLine| poison.iter().any(|sick| call.event_id.as_deref() == Some(&sick.id));
    let waited = world.svix.calls().iter().skip(before).take_while(|call| is_sick(call)).count();
    assert!(waited <= 5, "the fresh waited for {waited} calls of the sick");
    // Their own application accepts nothing: no event of it is given up, whatever others accept.
    until("the sick are parked", SOON, async || {
        (hookbro.metric("hookbro_events_parked{reason=\"circuit_open\"}").await >= 11.0).then_some(())
    })
    .await;
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    world.end().await;
}
