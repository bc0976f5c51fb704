//! `hookbro dead` with many events in the queue, and killed in the middle of what it does. The suite takes few thousand;
//! `HOOKBRO_TEST_DEAD_EVENTS=100000` is the real size.

use crate::support::{
    SOON,
    events::{Sample, generated, one},
    hookbro::{Hookbro, command},
    until,
    world::World,
};
use hookbro::{
    process::secret::Secret,
    sources::rabbitmq::{EventProperties, Publisher},
};
use lapin::{
    options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::FieldTable,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    process::{Child, Output, Stdio},
    time::{Duration, Instant},
};

const SIZE: &str = "HOOKBRO_TEST_DEAD_EVENTS";
const FEW: usize = 3_000;
/// What a replay that dies repeats at most: what was under way, and acknowledgements that had not reached the broker. Those on
/// their way when a process dies may be lost with it; how many that is, nobody promises.
const REPEATED: usize = 1_000;

fn size() -> usize {
    std::env::var(SIZE).map_or(FEW, |text| text.parse().unwrap())
}

fn dead(world: &World, args: &[&str]) -> Output {
    command(&[&["dead"], args].concat(), world.settings()).output().unwrap()
}

#[track_caller]
fn said(world: &World, args: &[&str]) -> String {
    let began = Instant::now();
    let mut command = command(&[&["dead"], args].concat(), world.settings());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let memory = format!("/proc/{}/status", child.id());
    let watch = std::thread::spawn(move || {
        let mut peak = None;
        while let Ok(status) = std::fs::read_to_string(&memory) {
            let line = status.lines().find(|line| line.starts_with("VmHWM")).map(str::to_owned);
            let Some(line) = line else { break };
            peak = Some(line);
            std::thread::sleep(Duration::from_millis(20));
        }
        peak.unwrap_or_default()
    });
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    println!("{args:?} took {:?}, {}", began.elapsed(), watch.join().unwrap());
    String::from_utf8(output.stdout).unwrap()
}

fn start(world: &World, args: &[&str]) -> Child {
    let mut command = command(&[&["dead"], args].concat(), world.settings());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// A world whose dead-letter queue holds `count` events in their order, and whose work queue nobody consumes.
async fn many(test: &str, count: usize) -> (World, Vec<Sample>) {
    let world = World::new(test).await;
    assert!(command(&["topology", "declare"], world.settings()).output().unwrap().status.success());
    let events = generated(test, &["gigs", "dev"], count);
    // On one channel, which keeps the order; none of these can be returned.
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let exchange = format!("{}.dead", world.broker.queue);
    for sample in &events {
        let (exchange, key) = (exchange.as_str().into(), sample.routing_key().into());
        let properties = EventProperties::default().to_amqp();
        // Its confirm is waited for below, with all the others.
        drop(
            channel
                .basic_publish(exchange, key, BasicPublishOptions::default(), &sample.body, properties)
                .await
                .unwrap(),
        );
    }
    channel.wait_for_confirms().await.unwrap();
    hookbro::sources::rabbitmq::close(connection).await;
    let all = events.len() as u32;
    until("all lie there", SOON, async || (world.broker.ready_dead().await == all).then_some(())).await;
    (world, events)
}

/// The ids in the dead-letter queue, oldest first.
fn lying(world: &World) -> Vec<String> {
    let listed = said(world, &["list", "--limit", "0", "--output", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    listed.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// Number and order are as they were; if not, where and how not.
#[track_caller]
fn same(found: &[String], expected: &[String]) {
    let differs = found.iter().zip(expected).position(|(found, expected)| found != expected);
    let near = |ids: &[String]| differs.map(|at| ids[at.saturating_sub(2)..ids.len().min(at + 3)].to_vec());
    assert!(
        differs.is_none() && found.len() == expected.len(),
        "{} instead of {}; from {differs:?} on the order is {:?} instead of {:?}",
        found.len(),
        expected.len(),
        near(found),
        near(expected),
    );
}

fn ids(events: &[Sample]) -> Vec<String> {
    events.iter().map(|sample| sample.id.clone()).collect()
}

/// Waits until no message is unsettled: a quorum queue forgets a consumer and takes back what that had in one step. Twice,
/// since a process may have been killed before the broker read that it consumes.
async fn all_back(world: &World, mut at_least: impl FnMut(u32) -> bool) {
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    let name = format!("{}.dead", world.broker.queue);
    let mut quiet = 0;
    until("the broker has taken back what was unsettled", SOON * 2, async || {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let queue = channel.queue_declare(name.as_str().into(), passive, FieldTable::default()).await.unwrap();
        quiet = if queue.consumer_count() == 0 && at_least(queue.message_count()) { quiet + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(100)).await;
        (quiet > 3).then_some(())
    })
    .await;
    hookbro::sources::rabbitmq::close(connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_and_dying_while_reading_change_neither_order_nor_number() {
    let (world, events) = many("read", size()).await;
    let expected = ids(&events);
    same(&lying(&world), &expected);
    for args in [["list", "--limit", "0"].as_slice(), &["show", "nobody"], &["export"], &["replay", "--all"]] {
        for wait in [30, 150, 400] {
            let mut reading = start(&world, args);
            tokio::time::sleep(Duration::from_millis(wait)).await;
            reading.kill().unwrap();
            reading.wait().unwrap();
        }
    }
    all_back(&world, |ready| ready as usize == events.len()).await;
    same(&lying(&world), &expected);
    let middle = &events[events.len() / 2].id;
    let shown: Value = serde_json::from_str(&said(&world, &["show", middle])).unwrap();
    assert_eq!(shown[0]["id"], middle.as_str());
    assert_eq!(said(&world, &["export"]).lines().count(), events.len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_killed_in_the_middle_repeats_and_never_loses() {
    let (world, events) = many("replaykill", size()).await;
    let expected = ids(&events);
    // What a killed process acknowledged may be lost with it, all of it if it was fast; one at a rate gets on all the same.
    let paces: [&[&str]; 3] = [&[], &["--rate", "200"], &[]];
    for pace in paces {
        let before = world.broker.ready(&world.broker.queue).await.unwrap();
        let mut replaying = start(&world, &[&["replay", "--all", "--yes"], pace].concat());
        until("some are replayed", SOON, async || {
            (world.broker.ready(&world.broker.queue).await.unwrap() > before + 100).then_some(())
        })
        .await;
        replaying.kill().unwrap();
        replaying.wait().unwrap();
        all_back(&world, |_| true).await;
        let left = lying(&world);
        let mut rest = expected.iter();
        assert!(left.iter().all(|id| rest.any(|other| other == id)), "what is left has kept its order");
    }
    let left = lying(&world).len();
    assert!(left < events.len(), "nothing was replayed");
    assert_eq!(said(&world, &["replay", "--all", "--yes"]), format!("replayed {left} events\n"));
    assert_eq!(world.broker.ready_dead().await, 0);
    let mut copies: BTreeMap<String, usize> = BTreeMap::new();
    for message in world.broker.drain(&world.broker.queue).await {
        let event: Value = serde_json::from_slice(&message.body).unwrap();
        *copies.entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
        assert_eq!(message.header("x-hookbro-replayed").as_deref(), Some("1"));
    }
    assert_eq!(copies.len(), events.len(), "none is lost");
    let repeated: usize = copies.values().map(|copies| copies - 1).sum();
    println!("{repeated} repeated after {} kills", paces.len());
    assert!(repeated <= paces.len() * REPEATED, "{repeated} repeated");
    world.end().await;
}

/// Every second one, so that the broker hears of each by itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_to_be_discarded_or_replayed_is_gone_at_once() {
    let (world, events) = many("gone", size()).await;
    let half = events.len() / 2;
    let file = tempfile::tempdir().unwrap();
    let file = file.path().join("gone.ndjson");
    let discarded = said(&world, &["discard", "--project", "gigs", "--yes", "--to", file.to_str().unwrap()]);
    assert!(discarded.starts_with(&format!("discarded {half} events")), "{discarded}");
    assert_eq!(world.broker.ready_dead().await as usize, half);
    let replayed = said(&world, &["replay", "--all", "--yes"]);
    assert_eq!(replayed, format!("replayed {half} events\n"));
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_discard_killed_in_the_middle_has_written_whatever_is_gone() {
    let (world, events) = many("discardkill", size()).await;
    let dir = tempfile::tempdir().unwrap();
    for (n, wait) in [50, 120, 200, 300, 450].into_iter().enumerate() {
        let file = dir.path().join(format!("{n}.ndjson"));
        let mut discarding = start(&world, &["discard", "--all", "--yes", "--to", file.to_str().unwrap()]);
        tokio::time::sleep(Duration::from_millis(wait)).await;
        discarding.kill().unwrap();
        discarding.wait().unwrap();
        all_back(&world, |_| true).await;
    }
    let left: BTreeSet<String> = lying(&world).into_iter().collect();
    let mut written = BTreeSet::new();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let records = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        written.extend(records.map(|record| record["id"].as_str().unwrap().to_owned()));
    }
    for sample in &events {
        assert!(left.contains(&sample.id) || written.contains(&sample.id), "{} is neither here nor there", sample.id);
    }
    if !left.is_empty() {
        let file = dir.path().join("last.ndjson");
        let discarded = said(&world, &["discard", "--all", "--yes", "--to", file.to_str().unwrap()]);
        assert!(discarded.starts_with(&format!("discarded {} events", left.len())), "{discarded}");
        let last = std::fs::read_to_string(&file).unwrap();
        assert_eq!(last.lines().count(), left.len());
    }
    assert_eq!(world.broker.ready_dead().await, 0, "what was said to be discarded is gone at once");
    world.end().await;
}

/// More than can be replayed while anybody waits for the answer, and as many as a running hookbro reads.
const OVER_HTTP: usize = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_over_http_goes_on_alone_and_a_stop_in_its_middle_loses_nothing() {
    let (world, events) = many("httpstop", OVER_HTTP).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let request = reqwest::Client::new().post(format!("{}/api/v1/dead/replay", hookbro.url()));
    let request = request.header("content-type", "application/json").body(r#"{"all": true, "confirm": true}"#);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let begun: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!((status, &begun["job"]["state"]), (202, &"running".into()), "{begun}");
    until("more is replayed while nobody waits", SOON, async || {
        let (_, now) = hookbro.api("/dead/job", None).await;
        assert_eq!(now["job"]["state"], "running", "{now}");
        (now["job"]["events"].as_u64() > begun["job"]["events"].as_u64()).then_some(())
    })
    .await;
    hookbro.stop().await;

    let left: BTreeSet<_> = lying(&world).into_iter().collect();
    assert!(!left.is_empty() && left.len() < events.len(), "it was in the middle");
    let hookbro = Hookbro::ready(world.settings()).await;
    let gone: Vec<_> = events.iter().filter(|sample| !left.contains(&sample.id)).cloned().collect();
    world.arrive(&gone).await;
    until("everything that was replayed has arrived", SOON, async || {
        (world.broker.ready(&world.broker.queue).await == Some(0)).then_some(())
    })
    .await;
    let (_, audit) = hookbro.api("/audit", None).await;
    let change = &audit["changes"][0];
    assert_eq!((&change["action"], &change["outcome"]), (&"dead.replay".into(), &"failed".into()), "{audit}");
    assert!(change["outcome_detail"].as_str().unwrap().contains("hookbro is stopping"), "{audit}");
    hookbro.stop().await;
    let messages = world.svix.sandbox.messages();
    let both = messages.iter().filter(|message| left.contains(message.event_id.as_deref().unwrap_or_default())).count();
    assert_eq!(both, 0, "a stop waits until what is under way is taken out");
    assert_eq!(messages.len(), gone.len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_keeps_its_rate_and_takes_what_is_meant_only() {
    let (world, events) = many("rate", 100).await;
    let began = Instant::now();
    assert_eq!(said(&world, &["replay", "--project", "gigs", "--yes", "--rate", "40"]), "replayed 50 events\n");
    assert!(began.elapsed() >= Duration::from_millis(49 * 25), "faster than 40 a second: {:?}", began.elapsed());
    let left: Vec<_> = events.iter().filter(|sample| sample.project == "dev").map(|sample| sample.id.clone()).collect();
    assert_eq!(lying(&world), left);
    assert_eq!(world.broker.ready(&world.broker.queue).await, Some(50));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_finds_no_queue_leaves_everything_where_it_lies() {
    let (world, events) = many("noqueue", 300).await;
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    channel.queue_delete(world.broker.queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    let refused = dead(&world, &["replay", "--all", "--yes"]);
    assert_eq!(refused.status.code(), Some(4));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("leads to no queue") && why.contains("0 events were replayed"), "{why}");
    all_back(&world, |ready| ready as usize == events.len()).await;
    same(&lying(&world), &ids(&events));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_event_that_svix_remembers_is_told_and_counted_as_duplicate() {
    let world = World::new("replaydup").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = one("replaydup", "gigs");
    world.publish_one(&event).await;
    world.arrive(std::slice::from_ref(&event)).await;
    let publisher = Publisher::new(Secret::fixed(&world.broker.url), "hookbro test");
    let exchange = format!("{}.dead", world.broker.queue);
    let properties = EventProperties::default().to_amqp();
    publisher.publish(&exchange, &event.routing_key(), properties, &event.body).await.unwrap();
    publisher.close().await;
    let replayed = dead(&world, &["replay", "--all", "--yes"]);
    assert!(String::from_utf8_lossy(&replayed.stderr).contains("eventId is remembered"), "the warning before");
    until("it is settled", SOON, async || {
        let duplicates = hookbro.metric("hookbro_events_settled_total{outcome=\"duplicate\"}").await;
        (duplicates == 1.0).then_some(())
    })
    .await;
    let line = until("it is logged", SOON, async || hookbro.logged("replayed event settled").first().cloned()).await;
    assert_eq!(line["level"], "INFO");
    assert_eq!((&line["fields"]["outcome"], &line["fields"]["replayed"]), (&"duplicate".into(), &1.into()));
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_whose_reader_goes_away_is_no_failure() {
    let (world, _) = many("pipe", 500).await;
    let mut exporting = command(&["dead", "export"], world.settings());
    let mut exporting = exporting.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(exporting.stdout.take());
    let output = exporting.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    world.end().await;
}
