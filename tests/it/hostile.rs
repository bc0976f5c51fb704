//! Hostile input: each is given up with the right reason or delivered untouched, and nobody else notices.

use crate::support::{
    SOON,
    broker::Lying,
    events::{Hostile, documented, hostile},
    hookbro::Hookbro,
    ledger, until,
    world::World,
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use std::{collections::BTreeMap, time::Duration};
use svix_sandbox::Outcome;

/// What the notes let us decide, decided: these are delivered.
const TAKEN: [&str; 7] = [
    "32-lone-surrogate.json",
    "35-numbers-beyond-f64.json",
    "41-time-garbage.json",
    "43-specversion-0-3.json",
    "44-wrong-content-type.json",
    "45-no-properties.json",
    "50-retry-header-forged.json",
];

/// The AMQP properties that the note asks for.
fn properties(hostile: &Hostile) -> BasicProperties {
    let base = BasicProperties::default();
    match hostile.name.as_str() {
        "44-wrong-content-type.json" => base.with_content_type("text/xml".into()),
        "45-no-properties.json" => base,
        "46-gzip-body.bin" => base.with_content_type("application/json".into()).with_content_encoding("gzip".into()),
        "50-retry-header-forged.json" => {
            let mut headers = FieldTable::default();
            headers.insert("x-hookbro-attempt".into(), AMQPValue::LongLongInt(4_294_967_296));
            headers.insert("x-death".into(), AMQPValue::LongString("text".into()));
            base.with_content_type("application/json".into()).with_headers(headers)
        }
        _ => base.with_content_type("application/json".into()),
    }
}

/// The word that the note suggests for a detail, which ours begins with.
fn suggested(hostile: &Hostile) -> &str {
    match hostile.name.as_str() {
        // The notes leave these to us.
        "30-bom.bin" => "invalid_json",
        name if name.starts_with("46") => "unsupported_encoding",
        _ => hostile.note.split("reason=").nth(1).unwrap().split([' ', '\n', ',']).next().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_input_meets_its_fate_and_the_good_around_it_are_not_delayed() {
    let world = World::new("hostile").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let (all, good) = (hostile(), documented("hostile"));
    let (taken, doomed): (Vec<&Hostile>, Vec<&Hostile>) =
        all.iter().partition(|hostile| TAKEN.contains(&hostile.name.as_str()));
    assert_eq!((taken.len(), doomed.len()), (7, 23));
    let mut goods = good.iter();
    for hostile in &doomed {
        world.broker.publish("any.key", properties(hostile), &hostile.body).await;
        world.publish_one(goods.next().unwrap()).await;
    }
    for sample in goods {
        world.publish_one(sample).await;
    }
    until("the good arrive", Duration::from_secs(20), async || {
        (ledger::missing(&world.svix, &good) == 0).then_some(())
    })
    .await;
    ledger::check(&world.svix, &good);
    let given_up = doomed.len() as f64;
    until("the bad are given up", SOON, async || {
        (hookbro.metric("hookbro_events_settled_total{outcome=\"dead\"}").await == given_up).then_some(())
    })
    .await;
    assert_eq!(
        world.svix.calls().iter().filter(|call| call.outcome == Outcome::Answered(422)).count(),
        0,
        "no call is wasted"
    );

    let dead: BTreeMap<Vec<u8>, Lying> =
        world.broker.drain_dead().await.into_iter().map(|lying| (lying.body.clone(), lying)).collect();
    assert_eq!(dead.len(), doomed.len());
    for hostile in &doomed {
        let lying =
            dead.get(&hostile.body).unwrap_or_else(|| panic!("{} is not in the dead-letter queue", hostile.name));
        let reason = if hostile.name.starts_with("33") { "too_large" } else { "malformed" };
        assert_eq!(lying.reason(), reason, "{}", hostile.name);
        let detail = lying.header("x-hookbro-detail").unwrap();
        assert!(detail.starts_with(suggested(hostile)), "{}: {detail}", hostile.name);
        assert!(detail.len() < 300 && !detail.contains('\n'), "{}: {detail}", hostile.name);
        assert_eq!(lying.header("x-hookbro-attempts").as_deref(), Some("1"));
        assert_eq!(lying.routing_key, "any.key");
        assert!(lying.header("x-hookbro-failed-at").unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    // They share one id: each must arrive as itself, so each gets an application of its own.
    for (n, hostile) in taken.iter().enumerate() {
        let body = String::from_utf8(hostile.body.clone()).unwrap().replacen("evt_0Bad", &format!("evt_{n}Bad"), 1);
        let before = world.svix.sandbox.message_count();
        world.broker.publish("any.key", properties(hostile), body.as_bytes()).await;
        until(&hostile.name, SOON, async || (world.svix.sandbox.message_count() > before).then_some(())).await;
        let stored = world.svix.sandbox.messages();
        assert_eq!(stored[before].payload, body.trim(), "{}", hostile.name);
    }
    for (oddity, count) in [("time", 1.0), ("specversion", 1.0), ("content_type", 1.0)] {
        let series = format!("hookbro_events_odd_total{{oddity=\"{oddity}\"}}");
        assert_eq!(hookbro.metric(&series).await, count, "{oddity}");
    }
    assert_eq!(hookbro.status_of("/livez").await, 200);
    assert!(hookbro.logged("panicked").is_empty());
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_dead_event_survives_what_its_publisher_said() {
    let world = World::new("survives").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let mut headers = FieldTable::default();
    let elsewhere = AMQPValue::FieldArray(vec![AMQPValue::LongString("elsewhere".into())].into());
    headers.insert("CC".into(), elsewhere);
    headers.insert("x-hookbro-status".into(), AMQPValue::LongInt(200));
    headers.insert("mine".into(), AMQPValue::LongString("kept".into()));
    // The broker checks a user_id against the connection's own; `guest` is what the copy's connection is, too.
    let properties = BasicProperties::default()
        .with_expiration("60000".into())
        .with_user_id("guest".into())
        .with_message_id("m1".into())
        .with_headers(headers);
    world.broker.publish("some.key", properties, b"{}").await;
    let lying = world.given_up().await;
    assert_eq!(lying.properties.expiration(), &None);
    assert_eq!(lying.properties.user_id(), &None);
    assert_eq!(lying.header("CC"), None);
    assert!(lying.header("x-hookbro-original-CC").is_some());
    assert_eq!(lying.header("x-hookbro-original-user_id").as_deref(), Some("guest"));
    assert_eq!(lying.header("x-hookbro-original-expiration").as_deref(), Some("60000"));
    assert_eq!(lying.header("x-hookbro-status"), None, "a publisher's own is not believed");
    assert_eq!(lying.header("mine").as_deref(), Some("kept"));
    assert_eq!(lying.properties.message_id().as_ref().map(|id| id.as_str()), Some("m1"));
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_fill_a_frame_are_given_up_at_once_and_hold_up_nobody() {
    let world = World::new("headers").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let good = documented("headers");
    for bytes in [60_000, 70_000, 130_000] {
        let mut table = FieldTable::default();
        table.insert("x".into(), AMQPValue::LongString("y".repeat(bytes).into()));
        let body = good[0].body.to_vec();
        let body = String::from_utf8(body).unwrap().replace("-headers", &format!("-{bytes}"));
        world.broker.publish("k", BasicProperties::default().with_headers(table), body.as_bytes()).await;
    }
    // The one that is small enough to be taken fails once, and is delivered again.
    world.publish(&good).await;
    world.arrive(&good).await;
    until("two are given up", SOON, async || (world.broker.ready_dead().await == 2).then_some(())).await;
    for lying in world.broker.drain_dead().await {
        assert_eq!(lying.reason(), "malformed");
        assert!(lying.header("x-hookbro-detail").unwrap().starts_with("headers_too_large"));
    }
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    hookbro.stop().await;
    world.end().await;
}
