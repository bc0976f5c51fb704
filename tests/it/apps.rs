//! `hookbro apps`: what Svix has, and what an operator does about it.

use crate::raw_http::send;
use crate::support::{
    SOON,
    events::one,
    hookbro::{Hookbro, command},
    svix::{TOKEN, TestSvix},
    until,
};
use crate::support::{broker::Broker, world::World};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use svix_sandbox::{Fault, FaultKind, Outcome};

/// A Svix with applications, and settings that lead there and to no broker.
struct Place {
    svix: TestSvix,
    settings: Vec<(String, String)>,
    /// With the journal, where changes are written down.
    _folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[(&str, &str)]) -> Self {
        let svix = TestSvix::start().await;
        let folder = tempfile::tempdir().unwrap();
        let journal = format!("sqlite:{}", folder.path().join("journal.sqlite3").display());
        let settings = [
            ("broker.url", "amqp://127.0.0.1:1"),
            ("svix.url", &svix.url()),
            ("svix.token", TOKEN),
            ("journal.url", &journal),
        ];
        let settings = settings.iter().filter(|(key, _)| !more.iter().any(|(other, _)| other.starts_with(key)));
        let settings = settings.chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self { svix, settings, _folder: folder }
    }

    fn run(&self, args: &[&str]) -> Output {
        command(&[&["apps"], args].concat(), &self.settings).output().unwrap()
    }

    #[track_caller]
    fn said(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output)
    }

    #[track_caller]
    fn listed(&self, args: &[&str]) -> Vec<Value> {
        let json = self.said(&[&["list", "--output", "json"], args].concat());
        serde_json::from_str::<Value>(&json).unwrap().as_array().unwrap().clone()
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> Value {
        let (authority, path) = (self.svix.address.to_string(), format!("/api/v1{path}"));
        let bearer = format!("Bearer {TOKEN}");
        let headers = [("authorization", bearer.as_str())];
        let sent = send(&authority, method, &path, &headers, Some(body.to_string().as_bytes())).await;
        sent.unwrap().json()
    }

    async fn application(&self, body: Value) -> String {
        let made = self.ask("POST", "/app", body).await;
        made["id"].as_str().unwrap().to_owned()
    }

    async fn endpoints(&self, app: &str) -> Vec<Value> {
        let listed = self.ask("GET", &format!("/app/{app}/endpoint"), Value::Null).await;
        listed["data"].as_array().unwrap().clone()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_listed_with_projects_origin_and_endpoints() {
    let place = Place::with(&[("routing.apps", "shop=crm,lost=nowhere")]).await;
    for n in 0..230 {
        place.application(json!({"name": "Customer", "uid": format!("c{n}")})).await;
    }
    place.application(json!({"name": "CRM", "uid": "crm"})).await;
    place.application(json!({"name": "likely", "uid": "likely"})).await;
    place.application(json!({"name": "no uid"})).await;
    let endpoint = json!({"url": "https://example.com/hook"});
    place.ask("POST", "/app/crm/endpoint", endpoint).await;
    place.said(&["provision", "ours"]);

    let rows = place.listed(&[]);
    assert_eq!(rows.len(), 234, "each application once");
    let by_name: BTreeMap<&str, &Value> = rows.iter().map(|row| (row["name"].as_str().unwrap(), row)).collect();
    assert_eq!(by_name["CRM"]["projects"], json!(["crm", "shop"]));
    assert_eq!(by_name["CRM"]["endpoints"][0]["url"], "https://example.com/hook");
    for (name, origin) in
        [("CRM", "mapped"), ("ours", "created"), ("likely", "likely"), ("Customer", "other"), ("no uid", "other")]
    {
        assert_eq!(by_name[name]["origin"], origin, "{name}");
    }
    assert_eq!(by_name["no uid"]["projects"], json!([]));
    assert_eq!(place.listed(&["--origin", "created", "--origin", "mapped"]).len(), 2);
    let table = place.run(&["list"]);
    assert_eq!(stdout(&table).lines().count(), 235);
    assert!(stdout(&table).contains("crm,shop"), "{}", stdout(&table));
    assert!(stderr(&table).contains("sends lost to nowhere"), "{}", stderr(&table));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_provisions_is_listed_as_created() {
    let world = World::of(Broker::shared("appsmark"), TestSvix::start().await);
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = one("mark", "fresh");
    world.publish_one(&event).await;
    world.arrive(&[event]).await;
    hookbro.stop().await;
    let listed = command(&["apps", "list", "--output", "json"], world.settings()).output().unwrap();
    let rows: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&rows[0]["app"], &rows[0]["origin"]), (&json!("fresh"), &json!("created")));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_twice_is_once_and_registers_what_the_endpoint_filters_by() {
    let place = Place::with(&[("routing.apps", "mapped=crm,lost=nowhere")]).await;
    place.application(json!({"name": "CRM", "uid": "crm"})).await;
    let args = ["provision", "a", "mapped", "--endpoint", "https://example.com/h", "--event-types", "x.one,x.two"];
    let first = place.said(&args);
    for line in ["registered event type x.one", "a: application a created", "mapped: application crm exists already"] {
        assert!(first.contains(line), "{line} is missing in {first}");
    }
    let second = place.said(&args);
    assert!(!second.contains("created") && !second.contains("registered"), "{second}");
    for app in ["a", "crm"] {
        let endpoints = place.endpoints(app).await;
        assert_eq!(endpoints.len(), 1, "{app}");
        assert_eq!(endpoints[0]["filterTypes"], json!(["x.one", "x.two"]));
    }
    let other = place.run(&["provision", "a", "--endpoint", "https://example.com/h"]);
    assert!(
        other.status.success() && stderr(&other).contains("takes x.one,x.two and was not changed"),
        "{}",
        stderr(&other)
    );
    let lost = place.run(&["provision", "lost"]);
    assert_eq!(lost.status.code(), Some(3), "never made: routing.apps names it");
    assert!(stderr(&lost).contains("nowhere"), "{}", stderr(&lost));
    for wrong in [
        ["provision", "app_x"].as_slice(),
        &["provision", "a b"],
        &["provision", "a", "--endpoint", "ftp://example.com"],
        &["provision", "a", "--event-types", "x"],
        &["provision", "a", "--endpoint", "https://example.com", "--event-types", "a b"],
    ] {
        assert_eq!(place.run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_whose_making_got_no_answer_is_not_made_twice() {
    let place = Place::new().await;
    place.said(&["provision", "a"]);
    // Every second call: the one that makes the endpoint, between two that look for it.
    let kind = FaultKind::Any;
    let share = Some(0.5);
    let torn = Fault {
        kind,
        app: Some("a".into()),
        share,
        times: Some(1),
        reset: true,
        after_commit: true,
        ..Fault::default()
    };
    place.svix.sandbox.add_fault(torn);
    place.said(&["provision", "a", "--endpoint", "https://example.com/h"]);
    let lines = place.svix.sandbox.requests();
    assert!(lines.iter().any(|line| line.outcome == Outcome::Dropped), "the fault struck");
    assert_eq!(place.endpoints("a").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn hiccups_are_waited_out_as_svix_asks_and_an_outage_ends_within_bounds() {
    let place = Place::new().await;
    let any = Fault { kind: FaultKind::Any, ..Fault::default() };
    let throttled = Fault { status: Some(429), retry_after: Some("2".into()), times: Some(1), ..any.clone() };
    place.svix.sandbox.add_fault(throttled);
    place.svix.sandbox.add_fault(Fault { status: Some(500), times: Some(1), ..any.clone() });
    let began = Instant::now();
    place.said(&["provision", "a"]);
    assert!(began.elapsed() > Duration::from_secs(2), "Retry-After was not waited for");
    assert_eq!(place.listed(&[]).len(), 1);

    place.svix.sandbox.add_fault(Fault { status: Some(503), body: Some("<html>".into()), ..any });
    let before = place.svix.sandbox.requests().len();
    let out = place.run(&["list"]);
    assert_eq!((out.status.code(), place.svix.sandbox.requests().len() - before), (Some(5), 4), "{}", stderr(&out));
    assert!(stderr(&out).contains("503"), "{}", stderr(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_always_has_more_is_not_asked_for_ever() {
    let place = Place::new().await;
    for body in [r#"{"data":[],"iterator":null,"done":false}"#, r#"{"data":[],"iterator":"app_1","done":false}"#] {
        let kind = FaultKind::Any;
        let fault = Fault { kind, status: Some(200), body: Some(body.into()), ..Fault::default() };
        let fault = place.svix.sandbox.add_fault(fault);
        let output = place.run(&["list"]);
        assert_eq!(output.status.code(), Some(5));
        assert!(stderr(&output).contains("the list goes on"), "{}", stderr(&output));
        place.svix.sandbox.remove_fault(fault);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_says_first_and_acts_when_told() {
    let place = Place::with(&[("routing.apps", "shop=crm")]).await;
    place.application(json!({"name": "CRM", "uid": "crm"})).await;
    place.application(json!({"name": "no uid"})).await;
    place.said(&["provision", "a", "b", "c"]);
    assert_eq!(place.run(&["delete"]).status.code(), Some(2), "projects or --all");
    assert_eq!(place.run(&["delete", "a", "--all"]).status.code(), Some(2));

    let dry = place.said(&["delete", "--all"]);
    assert!(dry.contains("would delete 5 applications (1 mapped, 3 created, 1 other)"), "{dry}");
    assert!(place.said(&["delete", "a", "shop"]).contains("would delete 2 applications (1 mapped, 1 created)"));
    assert_eq!(place.svix.sandbox.applications().len(), 5, "nothing was changed so far");

    assert_eq!(place.said(&["delete", "a", "a", "nobody", "--yes"]), "deleted 1 applications\n");
    assert_eq!(place.said(&["delete", "nobody", "--yes"]), "nothing to delete\n");
    assert_eq!(place.said(&["delete", "--all", "--origin", "created", "--yes"]), "deleted 2 applications\n");
    let left = place.svix.sandbox.applications();
    assert_eq!(left.iter().map(|app| app.name.as_str()).collect::<Vec<_>>(), ["CRM", "no uid"]);
    assert_eq!(place.said(&["delete", "--all", "--yes"]), "deleted 2 applications\n");
    assert!(place.svix.sandbox.applications().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_the_word_has_to_be_typed() {
    // util-linux's `script` gives a program a terminal.
    if std::process::Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED: no `script` on this machine, so no terminal to type on");
        return;
    }
    let place = Place::new().await;
    place.said(&["provision", "a", "b"]);
    for (args, typed, deleted, left) in [("delete --all", "yes", false, 2), ("delete --all", "delete 2 ", true, 0)] {
        let program = format!("{} apps {args}", env!("CARGO_BIN_EXE_hookbro"));
        let mut terminal = std::process::Command::new("script");
        terminal.args(["--quiet", "--return", "--command", &program, "/dev/null"]);
        for (key, value) in &place.settings {
            terminal.env(format!("HOOKBRO__{}", key.replace('.', "__").to_uppercase()), value);
        }
        let mut child = terminal.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{typed}").unwrap();
        let output = child.wait_with_output().unwrap();
        let seen = stdout(&output);
        assert!(seen.contains("Type `delete 2` to go on"), "{seen}");
        assert_eq!(output.status.success(), deleted, "{seen}");
        assert_eq!(place.svix.sandbox.applications().len(), left, "{seen}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_link_is_printed_alone_and_refusals_end_with_their_code() {
    let place = Place::new().await;
    place.said(&["provision", "a"]);
    let portal = place.run(&["portal", "a"]);
    assert_eq!(stdout(&portal), "https://docs.svix.com/app-portal/oss\n");
    assert!(stderr(&portal).contains("open-source server"), "{}", stderr(&portal));
    let secret = r#"{"url":"https://app.svix.com/login#key=hunter2","token":"hunter3"}"#;
    let kind = FaultKind::Any;
    let fault = Fault { kind, app: Some("a".into()), status: Some(200), body: Some(secret.into()), ..Fault::default() };
    place.svix.sandbox.add_fault(fault);
    let level = ("log.level".to_owned(), "trace".to_owned());
    let mut talkative = place.settings.clone();
    talkative.push(level);
    let output = command(&["apps", "portal", "a"], &talkative).output().unwrap();
    assert_eq!(stdout(&output), "https://app.svix.com/login#key=hunter2\n");
    assert!(!stderr(&output).contains("hunter"), "{}", stderr(&output));

    let missing = place.run(&["portal", "nobody"]);
    assert_eq!(missing.status.code(), Some(5));
    assert!(stderr(&missing).contains("apps provision"), "{}", stderr(&missing));
    let foreign = Place::with(&[("svix.token", "testsk_secret_wrong")]).await;
    for args in [["list"].as_slice(), &["portal", "a"], &["provision", "a"], &["delete", "--all"]] {
        let refused = foreign.run(args);
        assert_eq!(refused.status.code(), Some(5), "{args:?}");
        assert!(stderr(&refused).contains("check svix.token"), "{}", stderr(&refused));
        assert!(!stderr(&refused).contains("secret_wrong"));
    }
    assert_eq!(Place::with(&[("svix.token", "")]).await.run(&["list"]).status.code(), Some(3));
    let nowhere = Place::with(&[("svix.url", "http://127.0.0.1:1")]).await.run(&["list"]);
    assert_eq!(nowhere.status.code(), Some(5));
    assert!(stderr(&nowhere).contains("cannot connect"), "{}", stderr(&nowhere));
    let other = Place::with(&[("svix.url", &format!("{}/elsewhere", place.svix.url()))]).await.run(&["list"]);
    assert_eq!(other.status.code(), Some(5));
    assert!(stderr(&other).contains("check svix.url"), "{}", stderr(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_rotates_while_svix_is_waited_for_is_used_at_the_next_call() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "testsk_old").unwrap();
    let place = Place::with(&[("svix.token_file", file.to_str().unwrap())]).await;
    let kind = FaultKind::Any;
    let fault = Fault { kind, status: Some(429), retry_after: Some("4".into()), times: Some(1), ..Fault::default() };
    place.svix.sandbox.add_fault(fault);
    let running = command(&["apps", "list"], &place.settings).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let running = running.unwrap();
    until("it was asked to wait", SOON, async || (!place.svix.sandbox.requests().is_empty()).then_some(())).await;
    std::fs::write(&file, TOKEN).unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}
