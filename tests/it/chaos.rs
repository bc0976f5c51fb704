//! Kill -9, on either side, in the middle of things: nothing is lost, and repeats are seen by Svix only as 409.

use crate::support::{
    SOON,
    broker::Broker,
    events::{Sample, generated},
    hookbro::Hookbro,
    ledger,
    node::Node,
    svix::TestSvix,
    until,
    world::World,
};
use lapin::options::QueueDeleteOptions;
use std::time::Duration;
use svix_sandbox::{Fault, Outcome};

/// A quorum queue killed within a second of its declaration can vanish (RabbitMQ 3.10 and 4.0).
const SETTLE: Duration = Duration::from_secs(3);

/// RabbitMQ repeats a dead-lettering that a restart left unconfirmed after three minutes
/// (`dead_letter_worker_publisher_confirm_timeout`, 180 s by default).
const PATIENCE: Duration = Duration::from_secs(240);

/// So many rungs that no event fails on all of them by chance.
const RUNGS: &str = "200ms,200ms,300ms,300ms,400ms,400ms";

/// A slow enough Svix that a kill always finds something in flight, with a tenth of the calls failing at first.
fn slow_and_shaky(world: &World) {
    world.svix.sandbox.add_fault(Fault { status: Some(503), share: Some(0.1), times: Some(200), ..Fault::default() });
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_millis(20), ..Fault::default() });
}

async fn in_the_middle(world: &World, stored: usize) {
    until("it is in the middle", SOON, async || (world.svix.sandbox.message_count() >= stored).then_some(())).await;
}

async fn nothing_is_lost(world: &World, hookbro: Hookbro, events: &[Sample]) {
    let arriving = until("all arrive", 2 * PATIENCE, async || ledger::complete(&world.svix, events).then_some(()));
    if tokio::time::timeout(PATIENCE, arriving).await.is_err() {
        // Something is stuck: say which events, and where the broker counts them.
        let depths = hookbro.status().await["queues"].clone();
        eprintln!("queues: {depths}");
        ledger::check(&world.svix, events);
    }
    until("all is settled", SOON, async || {
        let idle = hookbro.metric("hookbro_events_in_flight").await == 0.0;
        (idle && world.broker.ready(&world.broker.queue).await == Some(0)).then_some(())
    })
    .await;
    hookbro.stop().await;
    ledger::check(&world.svix, events);
    let mut odd = world.svix.calls();
    odd.retain(|c| !matches!(c.outcome, Outcome::Answered(202 | 404 | 409 | 503) | Outcome::Abandoned));
    assert!(odd.is_empty(), "{odd:?}");
    assert_eq!(world.broker.ready_dead().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_killed_twice_in_the_middle_loses_nothing() {
    let node = Node::start().await;
    let world = World::of(Broker::private(node.url.clone(), "brokerkill"), TestSvix::start().await);
    let world = world.with("retry.delays", RUNGS);
    slow_and_shaky(&world);
    let hookbro = Hookbro::ready(world.settings()).await;
    tokio::time::sleep(SETTLE).await;
    let events = generated("brokerkill", &["gigs", "dev", "acme"], 4_000);
    let (publishing, killing) = (world.publish(&events), async {
        for stored in [700, 2_000] {
            in_the_middle(&world, stored).await;
            node.kill().await;
            node.restart().await;
        }
    });
    tokio::join!(publishing, killing);
    until("it has come back twice", SOON, async || {
        (hookbro.metric("hookbro_broker_reconnects_total").await >= 2.0).then_some(())
    })
    .await;
    nothing_is_lost(&world, hookbro, &events).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hookbro_killed_five_times_in_the_middle_loses_nothing() {
    let world = World::new("hookbrokill").await.with("retry.delays", RUNGS);
    slow_and_shaky(&world);
    let mut hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("hookbrokill", &["gigs", "dev", "acme"], 4_000);
    let publishing = world.publish(&events);
    let killing = async {
        for stored in [300, 900, 1_500, 2_100, 2_700] {
            in_the_middle(&world, stored).await;
            hookbro.kill();
            hookbro = Hookbro::ready(world.settings()).await;
        }
        hookbro
    };
    let ((), hookbro) = tokio::join!(publishing, killing);
    nothing_is_lost(&world, hookbro, &events).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_queue_is_declared_anew_and_consumed() {
    let world = World::new("deleted").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("deleted", &["gigs"], 20);
    world.publish(&events[..10]).await;
    world.arrive(&events[..10]).await;
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete(world.broker.queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    until("it has noticed", SOON, async || {
        (hookbro.metric("hookbro_broker_reconnects_total").await >= 1.0).then_some(())
    })
    .await;
    until("it consumes again", SOON, async || (hookbro.status_of("/readyz").await == 200).then_some(())).await;
    world.publish(&events[10..]).await;
    world.arrive(&events).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_killed_during_a_pause_is_noticed_and_nothing_is_lost() {
    let node = Node::start().await;
    let mut world = World::of(Broker::private(node.url.clone(), "pausekill"), TestSvix::start().await);
    let hookbro = Hookbro::ready(world.settings()).await;
    tokio::time::sleep(SETTLE).await;
    let events = generated("pausekill", &["gigs", "dev"], 600);
    world.svix.go_away().await;
    world.publish(&events).await;
    until("it is paused", SOON, async || {
        (hookbro.metric("hookbro_paused{reason=\"unreachable\"}").await == 1.0).then_some(())
    })
    .await;
    node.kill().await;
    until("it has noticed", SOON, async || (hookbro.status_of("/readyz").await == 503).then_some(())).await;
    node.restart().await;
    until("it is back", SOON, async || (hookbro.status_of("/readyz").await == 200).then_some(())).await;
    world.svix.come_back().await;
    nothing_is_lost(&world, hookbro, &events).await;
    world.end().await;
}
