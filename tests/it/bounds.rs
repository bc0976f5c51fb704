//! What the broker has sent and nobody has settled yet: never more than the prefetch of its queue, whatever happens; where
//! undelivered events are; and a retry queue that cannot be consumed, which is its own trouble alone.

use crate::support::{
    SOON,
    broker::Broker,
    events::{Sample, generated, one},
    hookbro::Hookbro,
    ledger,
    node::Node,
    svix::TestSvix,
    until,
    world::World,
};
use lapin::{
    BasicProperties,
    options::{QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use std::time::Duration;
use svix_sandbox::Fault;

const PREFETCH: u32 = 128;

/// An Erlang expression: the queue's deliveries that are not settled, asked from its own state machine; the counts of
/// `list_queues` are seconds old.
fn unsettled(queue: &str) -> String {
    format!(
        "{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)), \
         Unsettled = fun() -> {{ok, {{_, N}}, _}} = \
         ra:local_query(amqqueue:get_pid(Q), fun rabbit_fifo:query_messages_checked_out/1), N end, "
    )
}

async fn eval(node: &Node, expression: &str) -> String {
    node.tool(&["rabbitmqctl", "-q", "eval", expression]).await
}

/// Looks every few milliseconds from now on, in the broker itself: halts begin and end within a second.
async fn look(node: &Node, queue: &str) {
    let look = "Look = fun Look(Most) -> receive {most, Asks} -> Asks ! {most, Most} \
                after 5 -> Look(max(Most, Unsettled())) end end, \
                register(hookbro_look, spawn(fun() -> Look(0) end)).";
    eval(node, &format!("{}{look}", unsettled(queue))).await;
}

/// The most that were unsettled at any look.
async fn most_unsettled(node: &Node) -> u32 {
    let most = "hookbro_look ! {most, self()}, receive {most, Most} -> Most end.";
    eval(node, most).await.parse().unwrap()
}

async fn none_is_left_unsettled(node: &Node, queue: &str) {
    let now = format!("{}Unsettled().", unsettled(queue));
    until("all is settled", SOON, async || (eval(node, &now).await == "0").then_some(())).await;
}

/// A Svix with so much to do that a halt always finds a full prefetch. `fault` meets each call first.
async fn a_busy_world(name: &str, fault: Option<Fault>) -> (Node, World) {
    let node = Node::start().await;
    let world = World::of(Broker::private(node.url.clone(), name), TestSvix::start().await);
    let world = world.with("broker.prefetch", &PREFETCH.to_string());
    for fault in fault.into_iter().chain([Fault { delay: Duration::from_millis(100), ..Fault::default() }]) {
        world.svix.sandbox.add_fault(fault);
    }
    (node, world)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_429_each_second_leaves_no_more_outstanding_than_the_prefetch() {
    let refusal = Fault {
        status: Some(429),
        retry_after: Some("1".into()),
        share: Some(0.02),
        times: Some(12),
        ..Fault::default()
    };
    let (node, world) = a_busy_world("throttled", Some(refusal)).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("throttled", &["gigs", "dev"], 2_500);
    look(&node, &world.broker.queue).await;
    world.publish(&events).await;
    world.arrive(&events).await;
    let most = most_unsettled(&node).await;
    assert!((PREFETCH / 2..=PREFETCH).contains(&most), "{most} outstanding, of {PREFETCH}");
    assert!(world.svix.answered(429) > 3, "{} halts", world.svix.answered(429));
    ledger::check(&world.svix, &events);
    none_is_left_unsettled(&node, &world.broker.queue).await;
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_connections_leave_no_more_outstanding_than_the_prefetch() {
    let (node, world) = a_busy_world("reconnects", None).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("reconnects", &["gigs", "dev"], 3_000);
    let losing = async {
        for lost in 1..=3 {
            node.tool(&["rabbitmqctl", "-q", "close_all_connections", "the test"]).await;
            until("it is back", SOON, async || {
                (hookbro.metric("hookbro_broker_reconnects_total").await >= f64::from(lost)).then_some(())
            })
            .await;
        }
    };
    look(&node, &world.broker.queue).await;
    tokio::join!(losing, world.publish(&events));
    world.arrive(&events).await;
    let most = most_unsettled(&node).await;
    assert!((PREFETCH / 2..=PREFETCH).contains(&most), "{most} outstanding, of {PREFETCH}");
    ledger::check(&world.svix, &events);
    none_is_left_unsettled(&node, &world.broker.queue).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_undelivered_events_are_adds_up_to_their_number() {
    let world = World::new("addsup").await.with("broker.prefetch", "16").with("retry.delays", "1h,1h");
    let hookbro = Hookbro::ready(world.settings()).await;
    let later = generated("later", &["gigs"], 3);
    for sample in &later {
        let event_id = Some(sample.id.clone());
        world.svix.sandbox.add_fault(Fault { status: Some(503), event_id, times: Some(1), ..Fault::default() });
    }
    world.publish(&later).await;
    world.broker.publish("gigs.com.gigs.sim.updated", BasicProperties::default(), b"{").await;
    until("three wait, and one is dead", SOON, async || {
        let events = hookbro.status().await["events"].clone();
        (events["delayed"] == 3 && events["dead"] == 1).then_some(())
    })
    .await;
    world.svix.sandbox.add_fault(Fault { delay: SOON, ..Fault::default() });
    let events = generated("addsup", &["gigs"], 40);
    world.publish(&events).await;
    let expected = serde_json::json!({
        "ready": 24, "outstanding": 16, "delayed": 3, "parked": 0, "dead": 1, "undelivered": 44,
    });
    until("all are accounted for", SOON, async || (hookbro.status().await["events"] == expected).then_some(())).await;
    let series = format!("hookbro_events_outstanding{{queue=\"{}\"}}", world.broker.queue);
    assert_eq!(hookbro.metric(&series).await, 16.0);
    drop(hookbro);
    world.end().await;
}

/// Publishes fresh events until `done`, each after the one before has arrived; answers them.
async fn fresh_events_go_on(world: &World, tag: &str, mut done: impl AsyncFnMut(usize) -> bool) -> Vec<Sample> {
    let mut fresh = Vec::new();
    while !done(fresh.len()).await {
        let sample = one(&format!("{tag}{}", fresh.len()), "gigs");
        world.publish_one(&sample).await;
        world.arrive(std::slice::from_ref(&sample)).await;
        fresh.push(sample);
    }
    fresh
}

fn fail_once(world: &World, events: &[Sample]) {
    for sample in events {
        let event_id = Some(sample.id.clone());
        world.svix.sandbox.add_fault(Fault { status: Some(503), event_id, times: Some(1), ..Fault::default() });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_retry_queue_is_declared_again_and_nothing_else_notices() {
    let world = World::new("norung").await;
    let retry = format!("{}.retry.1", world.broker.queue);
    let hookbro = Hookbro::ready(world.settings()).await;
    let mut events = generated("before", &["gigs"], 5);
    fail_once(&world, &events);
    world.publish(&events).await;
    world.arrive(&events).await;
    for _ in 0..3 {
        world.broker.delete(&retry).await;
        let tag = format!("meanwhile{}", events.len());
        let enough = async |fresh| fresh >= 20 && world.broker.ready(&retry).await.is_some();
        events.extend(fresh_events_go_on(&world, &tag, enough).await);
    }
    let after = generated("after", &["gigs"], 5);
    fail_once(&world, &after);
    world.publish(&after).await;
    world.arrive(&after).await;
    events.extend(after);
    ledger::check(&world.svix, &events);
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    assert!(!hookbro.logged("retry queue cannot be consumed").is_empty());
    until("it is consumed again", SOON, async || {
        (hookbro.status().await["unavailable"] == serde_json::json!({})).then_some(())
    })
    .await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_queue_that_another_holds_is_shown_and_tried_again_alone() {
    let world = World::new("heldrung").await;
    let retry = format!("{}.retry.1", world.broker.queue);
    let hookbro = Hookbro::ready(world.settings()).await;
    let series = format!("hookbro_queue_unavailable{{queue=\"{retry}\"}}");
    assert!(hookbro.page("/metrics").await.1.contains(&format!("{series} 0")), "shown from the start");
    let other = world.broker.connect().await;
    let channel = other.create_channel().await.unwrap();
    // Between its deletion and the next declaration: hookbro waits a moment before it tries.
    let exclusive = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
    until("the queue is another's", SOON, async || {
        let channel =
            if channel.status().connected() { channel.clone() } else { other.create_channel().await.unwrap() };
        channel.queue_delete(retry.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
        channel.queue_declare(retry.as_str().into(), exclusive, FieldTable::default()).await.is_ok().then_some(())
    })
    .await;
    until("it is shown", SOON, async || (hookbro.metric(&series).await == 1.0).then_some(())).await;
    let late = generated("late", &["gigs"], 5);
    fail_once(&world, &late);
    world.publish(&late).await;
    let tries = async |fresh| {
        let page = hookbro.status().await["unavailable"][&retry].clone();
        fresh >= 50 && page["detail"].as_str().is_some_and(|detail| detail.contains("RESOURCE_LOCKED"))
    };
    let mut events = fresh_events_go_on(&world, "meanwhile", tries).await;
    assert_eq!(hookbro.status_of("/readyz").await, 200);
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    assert_eq!(ledger::missing(&world.svix, &late), late.len(), "they wait for their rung");
    // One that starts meanwhile goes on without it as well.
    hookbro.stop().await;
    let hookbro = Hookbro::ready(world.settings()).await;
    until("it is shown again", SOON, async || (hookbro.metric(&series).await == 1.0).then_some(())).await;
    events.extend(fresh_events_go_on(&world, "restarted", async |fresh| fresh >= 20).await);
    // The queue goes with the connection that holds it.
    hookbro::sources::rabbitmq::close(other).await;
    world.arrive(&late).await;
    events.extend(late);
    ledger::check(&world.svix, &events);
    until("it is consumed again", SOON, async || (hookbro.metric(&series).await == 0.0).then_some(())).await;
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    hookbro.stop().await;
    world.end().await;
}
