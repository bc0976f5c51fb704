//! The commands as an operator calls them: what they print, and the exit code they end with.

use crate::support::{
    events::documented,
    hookbro::{Hookbro, command},
    world::World,
};
use lapin::{
    options::{ExchangeDeclareOptions, QueueDeclareOptions},
    types::FieldTable,
};
use std::{
    io::Write as _,
    process::{Output, Stdio},
};

fn run(args: &[&str], settings: &[(String, String)]) -> Output {
    command(args, settings).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_takes_folders_files_arrays_and_standard_input() {
    let world = World::new("publish").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = documented("publish");
    let dir = tempfile::tempdir().unwrap();
    let text = |n: usize| String::from_utf8(samples[n].body.to_vec()).unwrap();
    for n in 0..10 {
        std::fs::write(dir.path().join(format!("{n}.json")), text(n)).unwrap();
    }
    std::fs::write(dir.path().join("notes.txt"), "no event").unwrap();
    let one_line = |n: usize| serde_json::from_str::<serde_json::Value>(&text(n)).unwrap().to_string();
    let ndjson: String = (10..30).map(|n| one_line(n) + "\n").collect();
    let array = dir.path().join("array.jsonl");
    std::fs::write(&array, format!("[{}]", (30..40).map(text).collect::<Vec<_>>().join(","))).unwrap();

    let folder = run(&["publish", dir.path().to_str().unwrap()], world.settings());
    assert_eq!(code(&folder), 0, "{}", stderr(&folder));
    assert_eq!(stdout(&folder), format!("published 20 events to {}\n", world.broker.exchange));
    assert_eq!(stderr(&folder).lines().count(), 1, "quiet in a pipe, but for what was left out");
    assert!(stderr(&folder).contains("skipped 1 entries"));

    let mut piped = command(&["publish", "-"], world.settings());
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut pipe = piped.stdin.take().unwrap();
    pipe.write_all(ndjson.as_bytes()).unwrap();
    let early = &samples[10..30];
    world.arrive(early).await;
    drop(pipe);
    let piped = piped.wait_with_output().unwrap();
    assert_eq!(stdout(&piped), format!("published 20 events to {}\n", world.broker.exchange));

    let published = &samples[..40];
    world.arrive(published).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_names_what_it_cannot_publish_and_publishes_the_rest() {
    let world = World::new("badpublish").await;
    assert_eq!(code(&run(&["topology", "declare"], world.settings())), 0);
    let dir = tempfile::tempdir().unwrap();
    let body = String::from_utf8(documented("bad")[0].body.to_vec()).unwrap();
    std::fs::write(dir.path().join("1.json"), "{\"id\":\"x\"}").unwrap();
    std::fs::write(dir.path().join("2.json"), "{\"id\":").unwrap();
    std::fs::write(dir.path().join("3.json"), body).unwrap();
    let output = run(&["publish", dir.path().to_str().unwrap()], world.settings());
    assert_eq!(code(&output), 1);
    let errors = stderr(&output);
    assert!(errors.contains("1.json, value 1: missing_project"), "{errors}");
    assert!(errors.contains("2.json, value 1: EOF"), "{errors}");
    assert!(stdout(&output).starts_with("published 1 events"));
    assert_eq!(world.broker.ready(&world.broker.queue).await, Some(1));
    let missing = run(&["publish", "/nowhere"], world.settings());
    assert_eq!(code(&missing), 1);
    assert!(stderr(&missing).contains("/nowhere"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_to_an_exchange_that_leads_nowhere_fails_and_says_how_to_mend_it() {
    let world = World::new("nowhere").await;
    let connection = world.broker.connect().await;
    let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let channel = connection.create_channel().await.unwrap();
    let name = world.broker.exchange.as_str();
    channel.exchange_declare(name.into(), lapin::ExchangeKind::Topic, options, FieldTable::default()).await.unwrap();
    let output = run(&["publish", "tests/events/good/08-user.created.json"], world.settings());
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("hookbro topology declare"), "{}", stderr(&output));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_is_wrong_by_exit_code() {
    let world = World::new("check").await;
    let fine = run(&["check"], world.settings());
    assert_eq!(code(&fine), 0, "{}{}", stdout(&fine), stderr(&fine));
    assert!(stdout(&fine).contains("objects are missing"), "{}", stdout(&fine));
    let world = world.with("svix.token", "testsk_secret_wrong");
    let refused = run(&["check"], world.settings());
    assert_eq!(code(&refused), 5);
    assert!(stderr(&refused).contains("401"), "{}", stderr(&refused));
    let world = world.with("broker.url", "amqp://guest:hunter2@127.0.0.1:1/%2f");
    let away = run(&["check"], world.settings());
    assert_eq!(code(&away), 4);
    assert!(stderr(&away).contains("127.0.0.1:1"), "{}", stderr(&away));
    let world = world.with("broker.prefetsch", "1");
    let wrong = run(&["check"], world.settings());
    assert_eq!(code(&wrong), 3);
    assert!(stderr(&wrong).contains("HOOKBRO__BROKER__PREFETSCH"), "{}", stderr(&wrong));
    for output in [fine, refused, away, wrong] {
        let said = stdout(&output) + &stderr(&output);
        assert!(!said.contains("hunter2") && !said.contains("secret_wrong"), "{said}");
    }
    assert_eq!(code(&run(&["no-such-command"], &[])), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_stands_with_other_arguments_is_exit_4_with_the_difference() {
    let world = World::new("differs").await;
    assert_eq!(code(&run(&["topology", "declare"], world.settings())), 0);
    assert_eq!(code(&run(&["topology", "declare"], world.settings())), 0, "twice is once");
    let changed: Vec<_> = world.settings().iter().filter(|(key, _)| key != "retry.delays").cloned().collect();
    let changed = [changed, vec![("retry.delays".into(), "300ms,900ms".into())]].concat();
    for args in [["check"].as_slice(), &["run"], &["topology", "declare"]] {
        let output = run(args, &changed);
        assert_eq!(code(&output), 4, "{args:?}");
        let said = stderr(&output);
        for word in ["x-message-ttl", ".delay.2", "400", "900", "topology migrate"] {
            assert!(said.contains(word), "{args:?}: {word} is missing in {said}");
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standing_exchange_is_used_as_it_is() {
    let world = World::new("asitis").await;
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    // Neither durable nor of the type that we would make.
    let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    let name = world.broker.exchange.as_str();
    channel.exchange_declare(name.into(), lapin::ExchangeKind::Fanout, options, FieldTable::default()).await.unwrap();
    let declared = run(&["topology", "declare"], world.settings());
    assert_eq!(code(&declared), 0, "{}", stderr(&declared));
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(world.broker.queue.as_str().into(), passive, FieldTable::default()).await.unwrap();
    world.end().await;
}

#[test]
fn topology_show_lists_every_object_and_asks_no_broker() {
    let settings = [("broker.url".into(), "amqp://127.0.0.1:1".into()), ("retry.delays".into(), "5s".into())];
    let table = run(&["topology", "show"], &settings);
    assert_eq!(code(&table), 0);
    assert!(stdout(&table).contains("hookbro.events.delay.1"));
    let json = run(&["topology", "show", "--output", "json"], &settings);
    let objects: serde_json::Value = serde_json::from_str(&stdout(&json)).unwrap();
    let objects = objects.as_array().unwrap();
    let count = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).count();
    assert_eq!((count("exchange"), count("queue"), count("binding")), (8, 6, 9));
    let delay = objects.iter().find(|o| o["kind"] == "queue" && o["name"] == "hookbro.events.delay.1").unwrap();
    assert_eq!(delay["arguments"]["x-message-ttl"], 5_000);
}

#[test]
fn completions_manual_and_reference_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell], &[]);
        assert!(output.status.success() && stdout(&output).contains("hookbro"), "{shell}");
    }
    let page = stdout(&run(&["man"], &[]));
    assert!(page.contains(".TH hookbro 1") && page.contains("Exit codes"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    assert!(run(&["man", "--out", folder.path().to_str().unwrap()], &[]).status.success());
    for page in ["hookbro.1", "hookbro-run.1", "hookbro-dead-replay.1"] {
        assert!(folder.path().join(page).is_file(), "{page} is missing");
    }
    let reference = stdout(&run(&["config"], &[]));
    assert_eq!(reference, std::fs::read_to_string("config/default.toml").unwrap());
}
