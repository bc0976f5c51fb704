//! Large events: however many wait, hookbro holds as many bytes of them as `broker.memory_budget` allows.

use crate::support::{
    broker::Broker,
    events::{Sample, generated},
    hookbro::Hookbro,
    ledger,
    node::Node,
    svix::TestSvix,
    until,
    world::World,
};
use bytes::Bytes;
use std::time::Duration;
use svix_sandbox::Fault;

const MIB: usize = 1024 * 1024;
/// Hundreds of MiB go through a broker's disk and three processes built without optimization, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(300);
const BUDGET: &str = "32MiB";
/// What queues may fill of it.
const OF_QUEUES: f64 = 24.0 * 1024.0 * 1024.0;
/// What a process with this budget may take, in all.
const MOST: usize = 128 * MIB;

/// Events of nearly `size` bytes each.
fn large(tag: &str, project: &str, size: usize, count: usize) -> Vec<Sample> {
    let mut events = generated(tag, &[project], count);
    for sample in &mut events {
        let (start, body) = (br#"{"filler":""#, &sample.body[1..]);
        let filler = size - start.len() - 2 - body.len();
        sample.body = Bytes::from([start, &*b"x".repeat(filler), b"\",", body].concat());
    }
    events
}

/// A broker of the test's own, whose queues hold `events` already.
async fn a_world_with(name: &str, events: &[Sample]) -> (Node, World) {
    let node = Node::start().await;
    let world = World::of(Broker::private(node.url.clone(), name), TestSvix::start().await)
        .with("broker.memory_budget", BUDGET);
    Hookbro::ready(world.settings()).await.stop().await;
    world.publish(events).await;
    (node, world)
}

async fn held(hookbro: &Hookbro) -> f64 {
    hookbro.metric("hookbro_outstanding_bytes{from=\"queues\"}").await
}

async fn arrive(world: &World, events: &[Sample]) {
    until("all arrive", PATIENCE, async || ledger::complete(&world.svix, events).then_some(())).await;
}

/// Whether `hookbro` has kept within its bounds so far.
#[track_caller]
fn check_peak(hookbro: &Hookbro) {
    let peak = hookbro.peak_memory();
    assert!(peak < MOST, "{} MiB", peak / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_8_mib_that_wait_take_no_more_than_the_budget() {
    const EVENTS: u32 = 14;
    let events = large("huge", "gigs", 8 * MIB - 4096, EVENTS as usize);
    let (node, world) = a_world_with("huge", &events).await;
    // Svix takes no such events, and for now the dead-letter queue takes none either.
    let dead = format!("^{}\\.dead$", world.broker.queue.replace('.', "\\."));
    node.tool(&["rabbitmqctl", "set_policy", "full", &dead, r#"{"max-length":0}"#, "--apply-to", "queues"]).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let (work, budget) = (world.broker.queue.clone(), OF_QUEUES as u32 / (8 * MIB as u32));
    until("few are held, and the rest is back", PATIENCE, async || {
        // A queue takes one message beyond such a limit.
        let dead = world.broker.ready_dead().await;
        (world.broker.ready(&work).await == Some(EVENTS - budget - dead)).then_some(())
    })
    .await;
    assert!(!hookbro.logged("large events").is_empty());
    check_peak(&hookbro);
    node.tool(&["rabbitmqctl", "clear_policy", "full"]).await;
    until("all are dead letters", PATIENCE, async || (world.broker.ready_dead().await == EVENTS).then_some(())).await;
    until("nothing is held", PATIENCE, async || (held(&hookbro).await == 0.0).then_some(())).await;
    check_peak(&hookbro);
    hookbro.stop().await;
    let mut bodies: Vec<_> = world.broker.drain_dead().await.into_iter().map(|lying| Bytes::from(lying.body)).collect();
    let mut expected: Vec<_> = events.into_iter().map(|sample| sample.body).collect();
    bodies.sort();
    expected.sort();
    assert!(bodies == expected, "each is there once, unchanged");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_1_mib_behind_a_halt_and_after_it_take_no_more_than_the_budget() {
    let events = large("halted", "gigs", MIB, 100);
    let (_node, world) = a_world_with("halted", &events).await;
    world.svix.sandbox.add_fault(Fault { status: Some(401), ..Fault::default() });
    let hookbro = Hookbro::ready(world.settings()).await;
    let halted = "hookbro_paused{reason=\"auth\"}";
    until("it is halted", PATIENCE, async || (hookbro.metric(halted).await == 1.0).then_some(())).await;
    let bytes = held(&hookbro).await;
    assert!((1.0..=OF_QUEUES).contains(&bytes), "{bytes} bytes are held");
    world.svix.sandbox.clear_faults();
    // Slow enough for all that may be held to be held.
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_millis(200), ..Fault::default() });
    arrive(&world, &events).await;
    ledger::check(&world.svix, &events);
    check_peak(&hookbro);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_of_1_mib_go_back_through_their_part_of_the_memory() {
    let events = large("parkedmem", "gigs", MIB, 100);
    let (_node, world) = a_world_with("parkedmem", &[]).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let order = async |what: &str| {
        let url = format!("{}/api/v1/projects/gigs/{what}", hookbro.url());
        let request = reqwest::Client::new().post(url).header("content-type", "application/json");
        let answer = request.header("x-hookbro-user", "anna").body(r#"{"reason":"the test"}"#).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    };
    order("pause").await;
    world.publish(&events).await;
    let parked = "hookbro_events_parked{reason=\"paused\"}";
    until("all are parked", PATIENCE, async || (hookbro.metric(parked).await == 100.0).then_some(())).await;
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_millis(500), ..Fault::default() });
    order("resume").await;
    arrive(&world, &events).await;
    ledger::check(&world.svix, &events);
    check_peak(&hookbro);
    hookbro.stop().await;
    world.end().await;
}
