//! What the broker itself gives up, past its delivery limit: it is counted, written down and listed like any other dead letter,
//! each event once, and is replayed without what the broker wrote on it.

use crate::support::{
    SOON,
    broker::{Broker, Lying},
    events::{Sample, generated, one},
    hookbro::{Hookbro, command},
    ledger, until,
    world::World,
};
use hookbro::sources::rabbitmq::close;
use lapin::{
    BasicProperties,
    options::{BasicGetOptions, BasicRejectOptions},
};
use serde_json::{Value, json};
use svix_sandbox::Fault;

const DEAD: &str = "hookbro_events_settled_total{outcome=\"dead\"}";

/// A world in which a second return is one too many.
async fn world(test: &str, delays: &str) -> World {
    World::new(test).await.with("retry.delays", delays).with("broker.delivery_limit", "1")
}

#[track_caller]
fn said(world: &World, args: &[&str]) -> String {
    let output = command(args, world.settings()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn listed(world: &World) -> Vec<Value> {
    serde_json::from_str(&said(world, &["dead", "list", "--limit", "0", "--output", "json"])).unwrap()
}

/// Takes and loses the messages of a queue, which returns them in every version, again and again, until so many are dead letters.
async fn wear_out(broker: &Broker, queue: &str, count: u32) {
    until("all lie there", SOON, async || (broker.ready(queue).await == Some(count)).then_some(())).await;
    until("the broker gives them up", SOON, async || {
        lose(broker, queue).await;
        (broker.ready_dead().await == count).then_some(())
    })
    .await;
}

/// Takes all messages out of a queue, and loses them with the connection.
async fn lose(broker: &Broker, queue: &str) {
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    while channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap().is_some() {}
    close(connection).await;
}

/// Rejects every message of a queue, so that it goes on to the next rung.
#[expect(clippy::disallowed_methods, reason = "a test moves events to the next rung")]
async fn reject_all(broker: &Broker, queue: &str, count: usize) {
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    for _ in 0..count {
        let got = until("one more lies there", SOON, async || {
            channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap()
        });
        let tag = got.await.delivery.delivery_tag;
        channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await.unwrap();
    }
    close(connection).await;
}

async fn dead_by(hookbros: &[&Hookbro], reason: &str) -> f64 {
    let mut dead = 0.0;
    for hookbro in hookbros {
        dead += hookbro.metric(&format!("hookbro_events_dead_total{{reason=\"{reason}\"}}")).await;
    }
    dead
}

/// Waits until the timeline says that it is a dead letter.
async fn timeline(hookbro: &Hookbro, sample: &Sample) -> Value {
    until("the timeline says so", SOON, async || {
        let (status, event) = hookbro.api(&format!("/events/{}", sample.id), None).await;
        (status == 200 && event["outcome"] == "dead").then_some(event)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_delivery_limit_ends_is_counted_once_over_all_replicas_told_and_replayed_clean() {
    let world = world("limit", "200ms").await;
    said(&world, &["topology", "declare"]);
    let (queue, last) = (world.broker.queue.clone(), format!("{}.retry.1", world.broker.queue));
    let events = generated("limit", &["gigs", "dev"], 40);
    world.publish(&events).await;
    reject_all(&world.broker, &queue, events.len()).await;
    wear_out(&world.broker, &last, 40).await;

    // Nobody was there to see it. The first that come count it, each event once.
    let (one_replica, other) = tokio::join!(Hookbro::ready(world.settings()), Hookbro::ready(world.settings()));
    let replicas = [&one_replica, &other];
    let all = events.len() as f64;
    until("all are counted", SOON, async || (dead_by(&replicas, "exhausted").await == all).then_some(())).await;
    for sample in &events {
        let event = timeline(&one_replica, sample).await;
        let attempts = event["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 1, "{event}");
        assert_eq!((&attempts[0]["attempt"], &attempts[0]["reason"]), (&2.into(), &"exhausted".into()));
        let detail = attempts[0]["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("given up by the broker: returned to `{last}` more often")), "{detail}");
    }
    assert_eq!(one_replica.metric(DEAD).await + other.metric(DEAD).await, all);
    let warned = one_replica.logged("event settled").len() + other.logged("event settled").len();
    assert_eq!(warned, events.len(), "a line each");
    assert!(world.svix.calls().iter().all(|call| call.event_id.is_none()), "nothing was sent");
    let letters = listed(&world);
    assert_eq!(letters.len(), events.len());
    for letter in &letters {
        assert_eq!((&letter["reason"], &letter["attempts"]), (&"exhausted".into(), &2.into()), "{letter}");
        assert!(letter["detail"].as_str().unwrap().contains("given up by the broker"), "{letter}");
        assert!(letter["failed_at"].is_string(), "{letter}");
    }
    other.stop().await;
    one_replica.stop().await;
    assert_eq!(world.broker.ready(&format!("{queue}.dead.moved")).await, Some(0), "no notice is left");

    // A replay begins as if the broker had never had it.
    assert_eq!(said(&world, &["dead", "replay", "--all", "--yes"]), "replayed 40 events\n");
    let replayed = world.broker.drain(&queue).await;
    assert_eq!(replayed.len(), events.len());
    for lying in &replayed {
        let headers = lying.properties.headers().clone().unwrap_or_default();
        let of_broker = headers.inner().keys().find(|name| name.as_str().contains("death"));
        assert_eq!((of_broker, lying.header("x-hookbro-replayed").as_deref()), (None, Some("1")));
        world.broker.put_back(&queue, lying).await;
    }
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert_eq!(hookbro.metric(DEAD).await, 0.0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_on_which_every_process_dies_is_seen_by_the_one_that_comes_after() {
    let world = world("crash", "").await;
    let sample = one("crash", "gigs");
    let hanging = world.svix.sandbox.add_fault(Fault { delay: SOON * 2, ..Fault::default() });
    said(&world, &["topology", "declare"]);
    world.publish_one(&sample).await;
    for _crash in 1..=2 {
        let mut hookbro = Hookbro::ready(world.settings()).await;
        // Svix lists a call once it has ended, which is too late.
        until("it is in a call", SOON, async || {
            (hookbro.metric("hookbro_events_in_flight").await == 1.0).then_some(())
        })
        .await;
        hookbro.kill();
    }
    until("the broker gives it up", SOON, async || (world.broker.ready_dead().await == 1).then_some(())).await;
    world.svix.sandbox.remove_fault(hanging);
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = timeline(&hookbro, &sample).await;
    assert_eq!(event["attempts"].as_array().unwrap().last().unwrap()["reason"], "exhausted", "{event}");
    assert_eq!(dead_by(&[&hookbro], "exhausted").await, 1.0);
    let shown = said(&world, &["dead", "show", &sample.id]);
    assert!(shown.contains("given up by the broker"), "{shown}");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hookbros_own_dead_letters_and_what_others_publish_there_are_no_notices() {
    let world = world("own", "200ms").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let (refused, foreign) = (generated("own", &["gigs"], 10), one("foreign", "gigs"));
    world.all_too_large(&refused).await;
    let dead = format!("{}.dead", world.broker.queue);
    let mut lying = world.broker.drain_dead().await;
    for letter in &lying {
        assert_eq!(letter.reason(), "too_large");
    }
    // An older replica's copy comes by the exchange to which queues dead-letter.
    let copy = lying.remove(0);
    world.broker.put_back(&dead, &copy).await;
    let properties = BasicProperties::default().with_delivery_mode(2);
    let foreign = Lying { body: foreign.body.to_vec(), routing_key: foreign.routing_key(), properties };
    world.broker.put_back(&dead, &foreign).await;
    until("both lie there", SOON, async || (world.broker.ready_dead().await == 2).then_some(())).await;
    let notices = format!("{dead}.moved");
    until("the notices are read", SOON, async || {
        (hookbro.logged("somebody else published a dead letter").len() == 2).then_some(())
    })
    .await;
    assert_eq!((dead_by(&[&hookbro], "too_large").await, dead_by(&[&hookbro], "exhausted").await), (10.0, 0.0));
    assert_eq!(hookbro.status().await["unavailable"], json!({}));
    hookbro.stop().await;
    assert_eq!(world.broker.ready(&notices).await, Some(0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_of_notices_that_is_gone_is_declared_again_and_costs_no_delivery() {
    let world = world("gone", "").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let notices = format!("{}.dead.moved", world.broker.queue);
    world.broker.delete(&notices).await;
    until("it is declared again", SOON, async || world.broker.ready(&notices).await).await;
    let events = generated("gone", &["gigs"], 20);
    world.publish(&events).await;
    world.arrive(&events).await;
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    hookbro.stop().await;
    // What is given up from now on is noticed.
    let given_up = one("gone", "dev");
    world.publish_one(&given_up).await;
    wear_out(&world.broker, &world.broker.queue, 1).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    timeline(&hookbro, &given_up).await;
    assert_eq!(dead_by(&[&hookbro], "exhausted").await, 1.0);
    hookbro.stop().await;
    world.end().await;
}
