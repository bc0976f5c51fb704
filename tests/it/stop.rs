//! The end of the process: in flight is finished, the rest goes back, and it is over in time.

use crate::support::{
    SOON,
    events::{Sample, generated, one},
    hookbro::Hookbro,
    ledger, until,
    world::World,
};
use std::time::{Duration, Instant};
use svix_sandbox::Fault;

/// Longer than any test waits for a process to end: one that waits for this is caught, however busy the machine.
const NEVER: Duration = Duration::from_secs(300);

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_nothing_and_repeats_nothing() {
    let world = World::new("sigterm").await.with("shutdown.grace", "300s").with("broker.prefetch", "64");
    // At most 640 a second, so that each signal comes in the middle.
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_millis(100), ..Fault::default() });
    let events = generated("sigterm", &["gigs", "dev", "acme"], 3_000);
    let mut hookbro = Hookbro::ready(world.settings()).await;
    world.publish(&events).await;
    // Stopped in the middle, three times over, each time by another signal in turn.
    for signal in ["TERM", "INT", "TERM"] {
        let before = world.svix.sandbox.message_count();
        until("it is under load", SOON, async || (world.svix.sandbox.message_count() > before + 300).then_some(()))
            .await;
        hookbro.signal(signal);
        let status = hookbro.exit().await;
        assert_eq!(status.code(), Some(0), "{}", hookbro.whole_log());
        hookbro = Hookbro::ready(world.settings()).await;
    }
    world.arrive(&events).await;
    hookbro.stop().await;
    ledger::check(&world.svix, &events);
    assert_eq!(world.svix.answered(409), 0, "an event was sent twice");
    assert_eq!(world.broker.ready(&world.broker.queue).await, Some(0));
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_overruns_the_grace_goes_back_to_the_broker() {
    let world = World::new("overrun").await.with("shutdown.grace", "2s").with("svix.timeout", "300s");
    world.svix.sandbox.add_fault(Fault { delay: NEVER, ..Fault::default() });
    let events = generated("overrun", &["gigs"], 20);
    let mut hookbro = Hookbro::ready(world.settings()).await;
    world.publish(&events).await;
    until("all are in a call", SOON, async || (hookbro.metric("hookbro_events_in_flight").await == 20.0).then_some(()))
        .await;
    let asked = Instant::now();
    hookbro.signal("TERM");
    assert_eq!(hookbro.exit().await.code(), Some(0), "{}", hookbro.whole_log());
    // A part of it is kept back for closing the connections.
    assert!(asked.elapsed() >= Duration::from_secs(1), "the grace was cut short: {:?}", asked.elapsed());
    until("all are back", SOON, async || (world.broker.ready(&world.broker.queue).await == Some(20)).then_some(()))
        .await;
    assert_eq!(hookbro.logged("event settled").len(), 20);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_gives_calls_in_flight_a_few_seconds() {
    let world = World::new("second").await.with("shutdown.grace", "300s").with("svix.timeout", "300s");
    let (first, quick, slow) = (one("first", "gigs"), one("quick", "gigs"), one("slow", "gigs"));
    let delayed = |event: &Sample, seconds| Fault {
        delay: Duration::from_secs(seconds),
        event_id: Some(event.id.clone()),
        ..Fault::default()
    };
    world.svix.sandbox.add_fault(delayed(&quick, 3));
    world.svix.sandbox.add_fault(delayed(&slow, NEVER.as_secs()));
    let mut hookbro = Hookbro::ready(world.settings()).await;
    // Makes the application, so that each of the others is one call.
    world.publish_one(&first).await;
    world.arrive(std::slice::from_ref(&first)).await;
    world.publish(&[quick.clone(), slow]).await;
    until("they are in a call", SOON, async || (hookbro.metric("hookbro_events_in_flight").await == 2.0).then_some(()))
        .await;
    hookbro.signal("TERM");
    until("it drains", SOON, async || (hookbro.status_of("/readyz").await == 503).then_some(())).await;
    let asked = Instant::now();
    hookbro.signal("INT");
    assert_eq!(hookbro.exit().await.code(), Some(1), "one call was cut off");
    let took = asked.elapsed();
    assert!((Duration::from_secs(4)..NEVER / 2).contains(&took), "{took:?}");
    ledger::check(&world.svix, &[first, quick]);
    until("the other is back", SOON, async || (world.broker.ready(&world.broker.queue).await == Some(1)).then_some(()))
        .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_as_soon_as_the_calls_are_answered() {
    let world = World::new("seconds").await.with("shutdown.grace", "300s");
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_secs(1), ..Fault::default() });
    let events = generated("seconds", &["gigs"], 20);
    let mut hookbro = Hookbro::ready(world.settings()).await;
    world.publish(&events).await;
    until("they are in a call", SOON, async || (hookbro.metric("hookbro_events_in_flight").await > 0.0).then_some(()))
        .await;
    hookbro.signal("TERM");
    hookbro.signal("INT");
    assert_eq!(hookbro.exit().await.code(), Some(0), "{}", hookbro.whole_log());
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&events).await;
    hookbro.stop().await;
    assert_eq!(world.svix.answered(409), 0, "a call was cut off");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_third_signal_exits_at_once() {
    let world = World::new("third").await.with("shutdown.grace", "300s").with("svix.timeout", "300s");
    world.svix.sandbox.add_fault(Fault { delay: NEVER, ..Fault::default() });
    let events = generated("third", &["gigs"], 3);
    let mut hookbro = Hookbro::ready(world.settings()).await;
    world.publish(&events).await;
    until("they are in a call", SOON, async || (hookbro.metric("hookbro_events_in_flight").await == 3.0).then_some(()))
        .await;
    hookbro.signal("TERM");
    until("it drains", SOON, async || (hookbro.status_of("/readyz").await == 503).then_some(())).await;
    hookbro.signal("TERM");
    until("it hurries", SOON, async || hookbro.whole_log().contains("second signal").then_some(())).await;
    hookbro.signal("TERM");
    assert_eq!(hookbro.exit().await.code(), Some(1));
    until("all are back", SOON, async || (world.broker.ready(&world.broker.queue).await == Some(3)).then_some(()))
        .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_while_paused_does_not_wait_for_svix() {
    let mut world = World::new("pausedstop").await.with("shutdown.grace", "300s");
    let mut hookbro = Hookbro::ready(world.settings()).await;
    world.svix.go_away().await;
    world.publish(&generated("pausedstop", &["gigs"], 50)).await;
    until("it is paused", SOON, async || {
        (hookbro.metric("hookbro_paused{reason=\"unreachable\"}").await == 1.0).then_some(())
    })
    .await;
    hookbro.signal("TERM");
    assert_eq!(hookbro.exit().await.code(), Some(0));
    until("all are back", SOON, async || (world.broker.ready(&world.broker.queue).await == Some(50)).then_some(()))
        .await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_starts_and_stops_without_a_broker() {
    let world = World::new("nobroker").await.with("broker.url", "amqp://127.0.0.1:1/%2f");
    let mut hookbro = Hookbro::start(world.settings()).await;
    until("it has tried", SOON, async || (!hookbro.logged("not consuming yet").is_empty()).then_some(())).await;
    assert_eq!(hookbro.status_of("/readyz").await, 503);
    assert_eq!(hookbro.status_of("/livez").await, 200, "a missing broker is no reason to restart");
    hookbro.signal("TERM");
    assert_eq!(hookbro.exit().await.code(), Some(0));
}
