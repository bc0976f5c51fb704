//! The consumer that is dead and looks alive: the connection is open, heartbeats and answers pass, and deliveries do not.

use crate::support::{
    SOON,
    broker::Broker,
    events::{Sample, generated, one},
    hookbro::Hookbro,
    ledger,
    svix::TestSvix,
    swallow::Proxy,
    until,
    world::World,
};
use std::time::Duration;
use svix_sandbox::Fault;

/// The shortest that can be set.
const TIMEOUT: &str = "5s";

const RECONNECTS: &str = "hookbro_watchdog_reconnects_total";

/// The first call for this event fails, so that it comes to the first retry queue.
fn fails_once(world: &World, sample: &Sample) {
    let event_id = Some(sample.id.clone());
    world.svix.sandbox.add_fault(Fault { status: Some(503), event_id, times: Some(1), ..Fault::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_rung_beside_a_lively_one_is_noticed_and_the_third_time_ends_liveness() {
    let broker = Broker::shared("stalled");
    let proxy = Proxy::before(&broker.url).await;
    let retry = format!("{}.retry.1", broker.queue);
    // A prefetch of one for each retry queue: the first event is swallowed, the others are ready.
    let world = World::of(broker, TestSvix::start().await)
        .with("broker.url", &proxy.url)
        .with("broker.prefetch", "8")
        .with("watchdog.timeout", TIMEOUT);
    let hookbro = Hookbro::ready(world.settings()).await;
    proxy.swallow(&retry);
    let stuck = generated("stuck", &["gigs"], 4);
    stuck.iter().for_each(|sample| fails_once(&world, sample));
    world.publish(&stuck).await;
    let mut lively = Vec::new();
    let not_alive = until("liveness ends", 2 * SOON, async || {
        let sample = one(&format!("lively{}", lively.len()), "gigs");
        world.publish_one(&sample).await;
        world.arrive(std::slice::from_ref(&sample)).await;
        lively.push(sample);
        let (status, why) = hookbro.page("/livez").await;
        (status == 503).then_some(why)
    })
    .await;
    assert!(not_alive.contains(&retry), "{not_alive}");
    assert!(hookbro.metric(RECONNECTS).await >= 3.0);
    let lost = hookbro.logged("lost the broker");
    assert!(lost.iter().all(|line| line.to_string().contains(&retry)), "{lost:?}");
    assert!(lively.len() > 10, "the lively queue delivered {} events meanwhile", lively.len());

    proxy.relent();
    world.arrive(&stuck).await;
    until("liveness returns", SOON, async || (hookbro.status_of("/livez").await == 200).then_some(())).await;
    let all: Vec<_> = stuck.into_iter().chain(lively).collect();
    ledger::check(&world.svix, &all);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_queue_with_a_full_prefetch_is_not_taken_for_dead() {
    let world = World::new("busy").await.with("broker.prefetch", "2").with("watchdog.timeout", TIMEOUT);
    let world = world.with("svix.timeout", "40s");
    // Twice the timeout, and two rounds of it: longer than a stalled consumer would be left alone.
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_secs(12), ..Fault::default() });
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("busy", &["gigs"], 4);
    world.publish(&events).await;
    world.arrive(&events).await;
    assert_eq!(hookbro.metric(RECONNECTS).await, 0.0);
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    assert_eq!(world.svix.answered(409), 0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_work_queue_recovers_by_one_reconnect_and_loses_nothing() {
    let broker = Broker::shared("mute");
    let proxy = Proxy::before(&broker.url).await;
    let queue = broker.queue.clone();
    let world = World::of(broker, TestSvix::start().await)
        .with("broker.url", &proxy.url)
        .with("broker.prefetch", "8")
        .with("watchdog.timeout", TIMEOUT);
    let hookbro = Hookbro::ready(world.settings()).await;
    proxy.swallow(&queue);
    let events = generated("mute", &["gigs", "dev"], 100);
    world.publish(&events).await;
    // The broker believes that eight are being worked on.
    until("its window is full", SOON, async || (world.broker.ready(&queue).await == Some(92)).then_some(())).await;
    assert_eq!(ledger::missing(&world.svix, &events), 100);
    assert_eq!(hookbro.status_of("/readyz").await, 200, "it looks alive");
    proxy.relent();
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert_eq!(hookbro.metric(RECONNECTS).await, 1.0);
    assert_eq!(hookbro.status_of("/livez").await, 200);
    hookbro.stop().await;
    world.end().await;
}
