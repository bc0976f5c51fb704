//! What a broker does to its clients short of dying, and that each recovers by itself: a memory alarm, a frozen node, an
//! acknowledgement that comes too late, a node drained for maintenance. Kills and deleted queues are in `chaos`.

use crate::support::{
    SOON,
    broker::Broker,
    events::{generated, one},
    hookbro::Hookbro,
    ledger,
    node::Node,
    svix::TestSvix,
    until,
    world::World,
};
use lapin::BasicProperties;
use std::{collections::BTreeSet, time::Duration};
use svix_sandbox::Fault;

/// How many events nobody can parse, and which therefore need a copy in the dead-letter queue.
const MALFORMED: usize = 20;

async fn a_world_of_its_own(name: &str) -> (Node, World) {
    let node = Node::start().await;
    let world = World::of(Broker::private(node.url.clone(), name), TestSvix::start().await);
    (node, world)
}

async fn ready(hookbro: &Hookbro, status: u16) {
    let what = format!("/readyz is {status}");
    until(&what, SOON, async || (hookbro.status_of("/readyz").await == status).then_some(())).await;
}

async fn in_flight(hookbro: &Hookbro, count: usize) {
    let what = format!("{count} are in flight");
    until(&what, SOON, async || (hookbro.metric("hookbro_events_in_flight").await == count as f64).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_memory_alarm_acknowledgements_go_on_and_dead_copies_wait() {
    let (node, mut world) = a_world_of_its_own("alarm").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    world.svix.go_away().await;
    world.publish_one(&one("first", "gigs")).await;
    until("it is paused", SOON, async || {
        (hookbro.metric("hookbro_paused{reason=\"unreachable\"}").await == 1.0).then_some(())
    })
    .await;
    let events = generated("alarm", &["gigs", "dev"], 300);
    world.publish(&events).await;
    let malformed: BTreeSet<Vec<u8>> = (0..MALFORMED).map(|n| format!("{{\"n\":{n}").into_bytes()).collect();
    for body in &malformed {
        world.broker.publish("gigs.com.gigs.sim.updated", BasicProperties::default(), body).await;
    }

    node.tool(&["rabbitmqctl", "-q", "set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    until("the alarm is on", SOON, async || {
        node.tool(&["rabbitmqctl", "-q", "eval", "rabbit_alarm:get_alarms()."]).await.contains("memory").then_some(())
    })
    .await;
    world.svix.come_back().await;
    world.arrive(&events).await;
    until("what was delivered is acknowledged", SOON, async || {
        let words = ["rabbitmqctl", "-q", "--no-table-headers", "list_queues", "name", "messages"];
        let queues = node.tool(&words).await;
        let work = queues.lines().find_map(|line| line.strip_prefix(&world.broker.queue)?.strip_prefix('\t'));
        let left: usize = work.unwrap().parse().unwrap();
        (left <= MALFORMED).then_some(())
    })
    .await;
    assert!(world.broker.ready_dead().await < MALFORMED as u32, "nothing was blocked");
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);

    node.tool(&["rabbitmqctl", "-q", "set_vm_memory_high_watermark", "absolute", "2GB"]).await;
    in_flight(&hookbro, 0).await;
    let lying: BTreeSet<_> = world.broker.drain_dead().await.into_iter().map(|lying| lying.body).collect();
    assert_eq!(lying, malformed);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_broker_is_noticed_by_its_heartbeat_and_nothing_is_lost() {
    let (node, world) = a_world_of_its_own("frozen").await;
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_millis(50), ..Fault::default() });
    let world = world.with("broker.prefetch", "8");
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("frozen", &["gigs"], 400);
    world.publish(&events).await;
    node.freeze().await;
    // TCP alone would notice nothing for a quarter of an hour, far longer than this waits.
    ready(&hookbro, 503).await;
    assert!(ledger::missing(&world.svix, &events) > 0, "it was in the middle");
    node.thaw().await;
    ready(&hookbro, 200).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_came_too_late_closes_the_channel_and_repeats_the_event() {
    let (node, world) = a_world_of_its_own("acktimeout").await;
    let short = "application:set_env(rabbit, consumer_timeout, 3000), \
                 application:set_env(rabbit, channel_tick_interval, 500).";
    node.tool(&["rabbitmqctl", "-q", "eval", short]).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("acktimeout", &["gigs"], 50);
    let slow = Some(events[0].id.clone());
    let delay = Duration::from_secs(9);
    world.svix.sandbox.add_fault(Fault { delay, event_id: slow, times: Some(1), ..Fault::default() });
    world.publish(&events).await;
    until("the channel was closed", SOON, async || {
        (hookbro.metric("hookbro_broker_reconnects_total").await >= 1.0).then_some(())
    })
    .await;
    let lost = hookbro.logged("lost the broker");
    assert!(lost[0].to_string().contains("PRECONDITION_FAILED"), "{lost:?}");
    let calls = async || world.svix.calls_for(&events[0].id).len();
    until("the slow call has ended too", SOON, async || (calls().await >= 2).then_some(())).await;
    world.arrive(&events).await;
    in_flight(&hookbro, 0).await;
    ledger::check(&world.svix, &events);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_drained_for_maintenance_is_left_and_found_again() {
    let (node, world) = a_world_of_its_own("drained").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("drained", &["gigs"], 100);
    world.publish(&events[..50]).await;
    node.tool(&["rabbitmq-upgrade", "drain"]).await;
    ready(&hookbro, 503).await;
    node.tool(&["rabbitmq-upgrade", "revive"]).await;
    ready(&hookbro, 200).await;
    world.publish(&events[50..]).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    hookbro.stop().await;
    world.end().await;
}
