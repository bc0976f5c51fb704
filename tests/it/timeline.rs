//! `/api/v1` of the running program: where an event is, who may ask, and what happens where there is no journal.

use crate::support::{SOON, events::one, hookbro::Hookbro, until, world::World};
use serde_json::Value;
use svix_sandbox::Fault;

async fn timeline(hookbro: &Hookbro, id: &str, outcome: &str) -> Value {
    until("the journal tells the outcome", SOON, async || {
        let (status, event) = hookbro.api(&format!("/events/{id}"), None).await;
        (status == 200 && event["outcome"] == outcome).then_some(event)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_joins_deliveries_the_next_retry_and_svix() {
    let world = World::new("timeline").await.with("retry.delays", "3s,20m");
    let hookbro = Hookbro::ready(world.settings()).await;
    let (good, sick) = (one("good", "gigs"), one("sick", "gigs"));
    let only_sick = Fault { event_id: Some(sick.id.clone()), status: Some(503), ..Fault::default() };
    world.svix.sandbox.add_fault(only_sick);
    world.publish_one(&good).await;
    let event = timeline(&hookbro, &good.id, "delivered").await;
    assert_eq!((&event["project"], &event["type"]), (&"gigs".into(), &good.kind.as_str().into()));
    let attempt = &event["attempts"][0];
    assert_eq!(
        (&attempt["attempt"], &attempt["status"], &attempt["outcome"]),
        (&1.into(), &202.into(), &"delivered".into())
    );
    assert_eq!(attempt["message_id"], event["svix"]["message"]["id"], "{event}");
    assert_eq!(event["next_retry"], Value::Null);

    world.publish_one(&sick).await;
    let event = timeline(&hookbro, &sick.id, "retried").await;
    assert_eq!(event["attempts"][0]["status"], 503);
    assert_eq!(event["next_retry"]["attempt"], 2, "{event}");
    assert_eq!(event["svix"]["state"], "absent");
    let last = until("the second attempt failed", SOON, async || {
        let (_, event) = hookbro.api(&format!("/events/{}", sick.id), None).await;
        (event["attempts"].as_array().is_some_and(|all| all.len() == 2)).then_some(event)
    })
    .await;
    assert_eq!(last["next_retry"]["rung"], 2);
    assert!(last["next_retry"]["due_in_seconds"].as_f64().unwrap() > 1000.0);

    let (_, page) = hookbro.api("/events?outcome=retried&project=gigs", None).await;
    assert_eq!(page["events"][0]["id"], sick.id.as_str());
    assert_eq!(page["events"].as_array().unwrap().len(), 1);
    let (_, projects) = hookbro.api("/projects", None).await;
    assert_eq!((&projects["projects"][0]["delivered"], &projects["projects"][0]["retried"]), (&1.into(), &2.into()));
    for (path, expected) in [
        ("/events/evt_unknown", 404),
        ("/events/a%20b", 400),
        ("/events?outcome=lost", 400),
        ("/events?colour=red", 400),
        ("/events?limit=0", 400),
        ("/nothing", 404),
    ] {
        let (status, problem) = hookbro.api(path, None).await;
        assert_eq!((status, &problem["status"]), (expected, &expected.into()), "{path}: {problem}");
    }
    assert_eq!(hookbro.status().await["journal"]["state"], "open");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_events_have_a_place_and_tokens_keep_others_out() {
    let world = World::new("tlauth").await.with("admin.tokens", "one,two");
    let hookbro = Hookbro::ready(world.settings()).await;
    world.broker.publish("x.y", lapin::BasicProperties::default(), b"not json").await;
    assert_eq!(hookbro.api("/events", None).await.0, 401);
    assert_eq!(hookbro.api("/events", Some("three")).await.0, 401);
    let event = until("it is written", SOON, async || {
        let (_, page) = hookbro.api("/events?outcome=dead", Some("two")).await;
        page["events"].get(0).cloned()
    })
    .await;
    assert_eq!((&event["id"], &event["project"]), (&Value::Null, &Value::Null));
    assert_eq!(event["last"]["reason"], "malformed");
    assert_eq!(event["last"]["routing_key"], "x.y");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_delivered_where_there_is_no_journal() {
    for (name, url, state) in [("tloff", "off", "off"), ("tlaway", "sqlite:/proc/nowhere/j.sqlite3", "away")] {
        let world = World::new(name).await.with("journal.url", url);
        let hookbro = Hookbro::ready(world.settings()).await;
        let sample = one(name, "gigs");
        world.publish_one(&sample).await;
        world.arrive(std::slice::from_ref(&sample)).await;
        let (status, problem) = hookbro.api("/events", None).await;
        assert_eq!(status, 503, "{problem}");
        assert_eq!(hookbro.status().await["journal"]["state"], state);
        hookbro.stop().await;
        world.end().await;
    }
}
