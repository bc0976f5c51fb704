//! `hookbro dead`: reading changes nothing, and what is taken out is safe elsewhere first.

use crate::support::{
    SOON,
    events::one,
    hookbro::{Hookbro, command},
    until,
    world::World,
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::Value;
use std::process::Output;
use svix_sandbox::Fault;

fn dead(world: &World, args: &[&str]) -> Output {
    command(&[&["dead"], args].concat(), world.settings()).output().unwrap()
}

#[track_caller]
fn said(world: &World, args: &[&str]) -> String {
    let output = dead(world, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn listed(world: &World, args: &[&str]) -> Vec<Value> {
    let json = said(world, &[&["list", "--limit", "0", "--output", "json"], args].concat());
    serde_json::from_str::<Value>(&json).unwrap().as_array().unwrap().clone()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

/// Three refused by Svix in two projects, one malformed without an id.
async fn some_dead(world: &World) -> Hookbro {
    let refused =
        Fault { status: Some(422), times: Some(3), body: Some(r#"{"detail":"no"}"#.into()), ..Fault::default() };
    world.svix.sandbox.add_fault(refused);
    let hookbro = Hookbro::ready(world.settings()).await;
    for (n, project) in ["gigs", "gigs", "dev"].into_iter().enumerate() {
        world.publish_one(&one(&format!("d{n}"), project)).await;
        until("it is dead", SOON, async || (world.broker.ready_dead().await == n as u32 + 1).then_some(())).await;
    }
    world.broker.publish("some.key", Default::default(), b"{\"x\":1}").await;
    until("all are dead", SOON, async || (world.broker.ready_dead().await == 4).then_some(())).await;
    hookbro
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_events_are_listed_shown_exported_discarded_and_replayed_by_filter() {
    let world = World::new("deadcli").await;
    let hookbro = some_dead(&world).await;
    let all = listed(&world, &[]);
    assert_eq!(all.len(), 4);
    assert_eq!(ids(&all[..3]), ["evt_d0_0", "evt_d1_0", "evt_d2_0"], "oldest first");
    assert_eq!((all[0]["reason"].as_str(), all[0]["status"].as_i64()), (Some("refused"), Some(422)));
    assert_eq!((all[3]["reason"].as_str(), all[3]["id"].as_str()), (Some("malformed"), None));
    assert_eq!(ids(&listed(&world, &["--project", "dev"])), ["evt_d2_0"]);
    assert_eq!(listed(&world, &["--reason", "malformed"]).len(), 1);
    assert_eq!(listed(&world, &["--status", "422"]).len(), 3);
    assert_eq!(listed(&world, &["--status", "500"]).len(), 0);
    assert_eq!(listed(&world, &["--since", "1h"]).len(), 4);
    assert_eq!(listed(&world, &["--until", "2020-01-01T00:00:00Z"]).len(), 0);
    let groups = said(&world, &["list", "--group-by", "project"]);
    assert!(groups.lines().any(|line| line.split_whitespace().eq(["2", "gigs"])), "{groups}");

    for (by, group) in [("reason", "refused"), ("type", "com.gigs.sim.updated"), ("status", "422")] {
        let groups = said(&world, &["list", "--group-by", by]);
        assert!(groups.lines().any(|line| line.split_whitespace().eq(["3", group])), "{by}: {groups}");
    }
    let days = said(&world, &["list", "--group-by", "day", "--output", "json"]);
    let today = jiff::Timestamp::now().to_string();
    assert!(days.contains(&format!("\"{}\"", &today[..10])), "{days} (at midnight two days would be right)");

    let shown = said(&world, &["show", "evt_d0_0"]);
    assert!(shown.contains("\"x-hookbro-reason\": \"refused\""), "{shown}");
    assert!(shown.contains("\"detail\""), "{shown}");
    assert!(said(&world, &["show", "evt_d0_0", "--body"]).contains("\"body\""));
    let secret = br#"{"data":{"email":"hunter2@example.com","connectSession":{"url":"https://hunter2"},"n":17}}"#;
    let mut headers = FieldTable::default();
    headers.insert("Email".into(), AMQPValue::LongString("hunter2@example.com".into()));
    let properties = BasicProperties::default().with_headers(headers);
    let with_id = [br#"{"id":"evt_secret","#, &secret[1..]].concat();
    world.broker.publish("some.key", properties, &with_id).await;
    until("it is dead", SOON, async || (world.broker.ready_dead().await == 5).then_some(())).await;
    let shown = said(&world, &["show", "evt_secret"]);
    assert!(!shown.contains("hunter2") && shown.contains("17") && shown.contains("[redacted]"), "{shown}");
    assert!(!said(&world, &["export", "--id", "evt_secret", "--redact"]).contains("hunter2"));
    assert!(said(&world, &["show", "evt_secret", "--body"]).contains("hunter2@example.com"));
    let file = tempfile::tempdir().unwrap();
    let to = file.path().join("one.ndjson");
    said(&world, &["discard", "--id", "evt_secret", "--yes", "--to", to.to_str().unwrap()]);
    assert!(std::fs::read_to_string(&to).unwrap().contains("hunter2"), "written whole");
    assert_eq!(dead(&world, &["show", "nobody"]).status.code(), Some(1));
    assert_eq!(said(&world, &["export", "--project", "gigs"]).lines().count(), 2);

    assert_eq!(dead(&world, &["replay"]).status.code(), Some(2), "a filter or --all is wanted");
    assert_eq!(said(&world, &["replay", "--project", "gigs"]), "would replay 2 events; add --yes to do it\n");
    assert_eq!(said(&world, &["discard", "--all"]), "would discard 4 events; add --yes to do it\n");
    assert_eq!(listed(&world, &[]).len(), 4, "nothing was changed so far");

    assert_eq!(said(&world, &["replay", "--project", "gigs", "--yes"]), "replayed 2 events\n");
    until("the replayed arrive", SOON, async || (world.svix.sandbox.message_count() == 2).then_some(())).await;
    assert_eq!(hookbro.metric("hookbro_events_settled_total{outcome=\"delivered\"}").await, 2.0);
    assert_eq!(listed(&world, &[]).len(), 2);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gone.ndjson");
    let to = file.to_str().unwrap();
    said(&world, &["discard", "--all", "--yes", "--to", to]);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 2);
    assert_eq!(world.broker.ready_dead().await, 0);
    assert_eq!(dead(&world, &["discard", "--all", "--yes", "--to", to]).status.code(), Some(1), "never overwritten");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_fails_again_keeps_its_history() {
    let world = World::new("replayed").await;
    let hookbro = some_dead(&world).await;
    let refused = Fault { status: Some(422), body: Some(r#"{"detail":"no"}"#.into()), ..Fault::default() };
    world.svix.sandbox.add_fault(refused);
    for replays in 1..=2 {
        said(&world, &["replay", "--id", "evt_d0_0", "--yes", "--rate", "10"]);
        until("it is dead again", SOON, async || (world.broker.ready_dead().await == 4).then_some(())).await;
        assert_eq!(listed(&world, &["--id", "evt_d0_0"])[0]["replayed"], replays);
    }
    hookbro.stop().await;
    let lying = world.broker.drain_dead().await;
    let again = lying.iter().find(|lying| lying.header("x-hookbro-event-id").as_deref() == Some("evt_d0_0")).unwrap();
    assert_eq!(again.header("x-hookbro-replayed-reason").as_deref(), Some("refused"));
    assert_eq!(again.header("x-hookbro-attempts").as_deref(), Some("1"), "the ladder began again");
    world.end().await;
}
