//! `hookbro parked`: what operators see of parked events, and how they release them and give them up.

use crate::support::{
    SOON,
    events::{Sample, generated},
    hookbro::{Hookbro, command},
    ledger, until,
    world::World,
};
use serde_json::{Value, json};
use std::process::Output;

fn parked(world: &World, args: &[&str]) -> Output {
    command(&[&["parked"], args].concat(), world.settings()).output().unwrap()
}

#[track_caller]
fn said(world: &World, args: &[&str]) -> String {
    let output = parked(world, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn listed(world: &World, args: &[&str]) -> Vec<Value> {
    serde_json::from_str(&said(world, &[&["list", "--output", "json"], args].concat())).unwrap()
}

async fn order(hookbro: &Hookbro, project: &str, what: &str) {
    let url = format!("{}/api/v1/projects/{project}/{what}", hookbro.url());
    let request = reqwest::Client::new().post(url).header("content-type", "application/json").body("{}");
    assert_eq!(request.send().await.unwrap().status(), 200);
}

async fn lying(world: &World, ending: &str) -> u32 {
    world.broker.ready(&format!("{}{ending}", world.broker.queue)).await.unwrap_or(0)
}

async fn lie(world: &World, ending: &str, count: u32) {
    let what = format!("{count} messages are in Q{ending}");
    until(&what, SOON, async || (lying(world, ending).await == count).then_some(())).await;
}

fn of(samples: &[Sample], project: &str) -> Vec<Sample> {
    samples.iter().filter(|sample| sample.project == project).cloned().collect()
}

/// Bodies in the order in which they lie.
async fn bodies(world: &World, ending: &str) -> Vec<Vec<u8>> {
    let lying = world.broker.drain(&format!("{}{ending}", world.broker.queue)).await;
    lying.into_iter().map(|lying| lying.body).collect()
}

fn of_samples(samples: &[Sample]) -> Vec<Vec<u8>> {
    samples.iter().map(|sample| sample.body.to_vec()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_are_listed_released_and_given_up_by_project() {
    // One at a time, so that they are parked in their order.
    let world = World::new("parkedcli").await.with("broker.prefetch", "1");
    let hookbro = Hookbro::ready(world.settings()).await;
    order(&hookbro, "gigs", "pause").await;
    order(&hookbro, "dev", "pause").await;
    let samples = generated("cli", &["gigs", "dev", "gigs"], 9);
    let (gigs, dev) = (of(&samples, "gigs"), of(&samples, "dev"));
    assert_eq!(listed(&world, &[]), Vec::<Value>::new());
    let before = jiff::Timestamp::now();
    for sample in &samples {
        world.publish_one(sample).await;
    }
    lie(&world, ".parked.gigs", 6).await;
    lie(&world, ".parked.dev", 3).await;

    let all = listed(&world, &[]);
    let shown: Vec<_> = all.iter().map(|lot| (&lot["project"], &lot["events"], &lot["reason"])).collect();
    let (paused, six, three) = (json!("paused"), json!(6), json!(3));
    assert_eq!(shown, [(&json!("gigs"), &six, &paused), (&json!("dev"), &three, &paused)], "most of them first");
    let since: jiff::Timestamp = all[0]["since"].as_str().unwrap().parse().unwrap();
    assert!(before < since && since < jiff::Timestamp::now(), "{since}");
    assert_eq!(listed(&world, &["--project", "dev"]), all[1..]);
    let table = said(&world, &["list"]);
    let row = ["6", &since.to_string(), "paused", "gigs"];
    assert!(table.lines().any(|line| line.split_whitespace().eq(row)), "{table}");

    for action in ["release", "give-up"] {
        assert_eq!(parked(&world, &[action]).status.code(), Some(2), "a project or --all is wanted");
        assert_eq!(parked(&world, &[action, "--project", "app_x"]).status.code(), Some(2), "no project is called so");
    }
    assert_eq!(said(&world, &["release", "--all"]), "would release 9 events; add --yes to do it\n");
    assert_eq!(said(&world, &["give-up", "--project", "gigs"]), "would give up 6 events; add --yes to do it\n");
    let two = ["give-up", "--project", "gigs", "--limit", "2"];
    assert_eq!(said(&world, &two), "would give up 2 events; add --yes to do it\n");
    assert_eq!(
        (lying(&world, ".parked.gigs").await, lying(&world, ".dead").await),
        (6, 0),
        "nothing is changed so far"
    );

    assert_eq!(said(&world, &[&two[..], &["--yes"]].concat()), "2 events were given up\n");
    let mut dead = world.broker.drain_dead().await;
    dead.sort_by_key(|dead| dead.header("x-hookbro-event-id"));
    assert_eq!(dead.len(), 2);
    for (dead, sample) in dead.iter().zip(&gigs) {
        assert_eq!((&dead.body[..], dead.routing_key.clone()), (&sample.body[..], sample.routing_key()));
        assert_eq!((dead.reason(), dead.header("x-hookbro-project")), ("exhausted".into(), Some("gigs".into())));
        let detail = dead.header("x-hookbro-detail").unwrap();
        assert!(detail.starts_with("given up by an operator, cli:"), "{detail}");
    }
    let released = said(&world, &["release", "--project", "dev", "--yes"]);
    assert_eq!(released, "3 events were released\n");
    lie(&world, ".parked.dev", 3).await;
    assert_eq!(ledger::missing(&world.svix, &dev), 3, "their project is paused: they are parked again");
    let (_, page) = hookbro.api("/audit", None).await;
    let change = |n: usize| {
        let change = &page["changes"][n];
        let text = |key: &str| change[key].as_str().unwrap_or_default().to_owned();
        [text("action"), text("project"), text("detail"), text("outcome"), text("outcome_detail")]
    };
    assert_eq!(change(0), ["parked.release", "dev", "project dev", "done", "3 events were released"], "{page}");
    let given_up = ["parked.give_up", "gigs", "project gigs, at most 2", "done", "2 events were given up"];
    assert_eq!(change(1), given_up, "{page}");

    order(&hookbro, "gigs", "resume").await;
    world.arrive(&gigs[2..]).await;
    hookbro.stop().await;
    assert_eq!(said(&world, &["release", "--project", "dev", "--yes"]), "3 events were released\n");
    let mut entered = bodies(&world, "").await;
    entered.sort();
    let mut expected = of_samples(&dev);
    expected.sort();
    assert_eq!(entered, expected, "they are where new events are");
    assert_eq!(listed(&world, &[]), Vec::<Value>::new());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_the_projects_that_share_a_queue_one_is_released_and_the_others_stay_in_their_order() {
    let world = World::new("parkedshared").await.with("routing.provision_limit", "0");
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated("shared", &["new1", "new2"], 8);
    for sample in &samples {
        world.publish_one(sample).await;
    }
    until("all are parked", SOON, async || {
        let all = hookbro.metric("hookbro_events_parked{reason=\"provisioning\"}").await;
        (all == 8.0 && lying(&world, "").await == 0).then_some(())
    })
    .await;
    hookbro.stop().await;
    lie(&world, ".parked.~others", 8).await;
    // Rounds have moved them about.
    let parked = world.broker.drain(&format!("{}.parked.~others", world.broker.queue)).await;
    for sample in &samples {
        let event = parked.iter().find(|event| event.body == sample.body).unwrap();
        world.broker.put_back(&format!("{}.parked.~others", world.broker.queue), event).await;
    }

    let all = listed(&world, &[]);
    assert_eq!((all.len(), &all[0]["project"], &all[0]["events"]), (1, &Value::Null, &json!(8)), "{all:?}");
    assert_eq!(all[0]["reason"], "provisioning");
    assert!(said(&world, &["list"]).contains("(several)"));
    assert_eq!(said(&world, &["release", "--project", "new1"]), "would release 4 events; add --yes to do it\n");
    assert_eq!(said(&world, &["release", "--project", "new1", "--yes"]), "4 events were released\n");
    let mut entered = bodies(&world, "").await;
    entered.sort();
    let mut expected = of_samples(&of(&samples, "new1"));
    expected.sort();
    assert_eq!(entered, expected);
    let three = ["give-up", "--all", "--limit", "3", "--yes"];
    assert_eq!(said(&world, &three), "3 events were given up\n");
    assert_eq!(
        bodies(&world, ".parked.~others").await,
        of_samples(&of(&samples, "new2")[3..]),
        "the oldest went first"
    );
    assert_eq!(lying(&world, ".dead").await, 3);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_audit_nothing_is_moved_and_many_events_are_moved_once_each() {
    const COUNT: usize = 700;
    let world = World::new("parkedmany").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    order(&hookbro, "gigs", "pause").await;
    let samples = generated("many", &["gigs"], COUNT);
    world.publish(&samples).await;
    lie(&world, ".parked.gigs", COUNT as u32).await;
    let world = world.with("journal.url", "off");
    let refused = parked(&world, &["give-up", "--all", "--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("nothing was changed") && why.contains("--no-audit"), "{why}");
    lie(&world, ".parked.gigs", COUNT as u32).await;
    let given_up = said(&world, &["give-up", "--all", "--yes", "--no-audit"]);
    assert_eq!(given_up, format!("{COUNT} events were given up\n"));
    let mut dead: Vec<_> = world.broker.drain_dead().await.into_iter().map(|dead| dead.body).collect();
    dead.sort();
    let mut expected = of_samples(&samples);
    expected.sort();
    assert_eq!(dead, expected, "each once");
    assert_eq!(lying(&world, ".parked.gigs").await, 0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_lists_counts_and_moves_parked_events_of_a_project() {
    // One at a time, so that they are parked in their order.
    let world = World::new("parkedapi").await.with("broker.prefetch", "1");
    let hookbro = Hookbro::ready(world.settings()).await;
    let asked = async |path: &str, body: Value| {
        let request = reqwest::Client::new().post(format!("{}/api/v1/projects{path}", hookbro.url()));
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_str::<Value>(&answer.text().await.unwrap()).unwrap())
    };
    order(&hookbro, "gigs", "pause").await;
    let samples = generated("api", &["gigs"], 5);
    for sample in &samples {
        world.publish_one(sample).await;
    }
    lie(&world, ".parked.gigs", 5).await;
    let (status, page) = hookbro.api("/parked", None).await;
    let lot = &page["parked"][0];
    assert_eq!(
        (status, &lot["project"], &lot["events"], &lot["reason"]),
        (200, &json!("gigs"), &json!(5), &json!("paused"))
    );
    for (body, field) in [
        (json!({"limit": 0}), "`limit`"),
        (json!({"limit": 1.5}), "`limit`"),
        (json!({"limit": 10_001}), "`limit`"),
        (json!({"limit": "7"}), "`limit`"),
        (json!({"all": true}), "`all`"),
    ] {
        let (status, problem) = asked("/gigs/parked/give-up", body).await;
        assert!(status == 422 && problem["detail"].as_str().unwrap().contains(field), "{status} {problem}");
    }
    assert_eq!(asked("/app_x/parked/release", json!({})).await.0, 404);
    let (status, answer) = asked("/gigs/parked/release", json!({})).await;
    assert_eq!((status, &answer["confirmed"], &answer["events"]), (200, &json!(false), &json!(5)), "{answer}");
    assert!(answer["note"].as_str().unwrap().contains("parked again"), "{answer}");
    let (status, answer) = asked("/gigs/parked/give-up", json!({"limit": 2.0, "confirm": true})).await;
    assert_eq!((status, &answer["events"], &answer["note"]), (200, &json!(2), &Value::Null), "{answer}");
    let mut dead = world.broker.drain_dead().await;
    dead.sort_by_key(|dead| dead.header("x-hookbro-event-id"));
    let given_up: Vec<_> = dead.iter().map(|dead| dead.body.clone()).collect();
    assert_eq!(given_up, of_samples(&samples[..2]));
    assert_eq!(dead[0].header("x-hookbro-detail").unwrap(), "given up by an operator, local");
    lie(&world, ".parked.gigs", 3).await;
    let (_, page) = hookbro.api("/audit?project=gigs", None).await;
    let change = &page["changes"][0];
    assert_eq!((&change["action"], &change["outcome"]), (&json!("parked.give_up"), &json!("done")), "{page}");
    order(&hookbro, "gigs", "resume").await;
    world.arrive(&samples[2..]).await;
    hookbro.stop().await;
    world.end().await;
}
