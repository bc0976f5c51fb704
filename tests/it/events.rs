//! `hookbro events`, run as an operator runs it: against a running hookbro, against one that goes away, and against an API
//! that answers with what strangers wrote.

use crate::support::{
    SOON,
    events::{Sample, one},
    hookbro::{Hookbro, command},
    until,
    world::World,
};
use axum::{Json, Router, extract::RawQuery, http::StatusCode, routing::get};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Output, Stdio},
    sync::{Arc, Mutex},
};
use svix_sandbox::Fault;

type Settings = [(String, String)];

/// The outcome of `hookbro events …`, with both its outputs.
struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Self { code: output.status.code().unwrap(), out, err }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap()
    }
}

fn events(args: &[&str], settings: &Settings) -> Said {
    Said::of(command(&[&["events"], args].concat(), settings).output().unwrap())
}

/// A port that nobody listens on, for a program that is to come back to it.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `hookbro events tail …` while it runs.
struct Tail {
    child: Child,
    out: Arc<Mutex<Vec<String>>>,
    err: Arc<Mutex<Vec<String>>>,
}

impl Tail {
    fn start(args: &[&str], settings: &Settings) -> Self {
        let mut command = command(&[&["events", "tail"], args].concat(), settings);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let [out, err] = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
        let (from_out, from_err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for (from, to) in [(Box::new(from_out) as Box<dyn std::io::Read + Send>, &out), (Box::new(from_err), &err)] {
            let to = Arc::clone(to);
            std::thread::spawn(move || {
                BufReader::new(from).lines().map_while(Result::ok).for_each(|line| to.lock().unwrap().push(line));
            });
        }
        Self { child, out, err }
    }

    async fn shows(&self, what: &str) {
        let seen = async || self.out.lock().unwrap().iter().any(|line| line.contains(what)).then_some(());
        until("tail shows it", SOON, seen).await;
    }

    async fn notes(&self, what: &str) {
        let seen = async || self.err.lock().unwrap().iter().any(|line| line.contains(what)).then_some(());
        until("tail notes it", SOON, seen).await;
    }

    /// Ctrl-C; what it has shown.
    async fn interrupt(mut self) -> Vec<String> {
        let pid = self.child.id().to_string();
        assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
        let status = until("tail ends", SOON, async || self.child.try_wait().unwrap()).await;
        assert_eq!(status.code(), Some(0), "{:?}", self.err.lock().unwrap());
        self.out.lock().unwrap().clone()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // Gone already in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn written(hookbro: &Hookbro, sample: &Sample, outcome: &str) {
    until("the journal tells the outcome", SOON, async || {
        let (status, event) = hookbro.api(&format!("/events/{}", sample.id), None).await;
        (status == 200 && event["outcome"] == outcome).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_found_and_shown_in_words() {
    let world = World::new("evfind").await.with("retry.delays", "20m");
    let hookbro = Hookbro::ready(world.settings()).await;
    let (good, sick) = (one("evgood", "gigs"), one("evsick", "gigs"));
    let only_sick = Fault { event_id: Some(sick.id.clone()), status: Some(503), ..Fault::default() };
    world.svix.sandbox.add_fault(only_sick);
    world.publish(&[good.clone(), sick.clone()]).await;
    written(&hookbro, &good, "delivered").await;
    written(&hookbro, &sick, "retried").await;
    let others: Vec<_> = (0..5).map(|n| one(&format!("evother{n}"), "other")).collect();
    world.publish(&others).await;
    for other in &others {
        written(&hookbro, other, "delivered").await;
    }
    let url = hookbro.url();
    let ask = |args: &[&str]| events(&[args, &["--api", &url]].concat(), world.settings());

    let all = ask(&["find", "--output", "json"]);
    assert_eq!((all.code, all.err.as_str()), (0, ""));
    assert_eq!(all.json().as_array().unwrap().len(), 7);
    let found = ask(&["find", "--project", "gigs", "--outcome", "retried", "--output", "json"]);
    assert_eq!(found.json().as_array().unwrap().len(), 1);
    assert_eq!(found.json()[0]["id"], sick.id.as_str());
    let none = ask(&["find", "--until", "2h", "--output", "json"]);
    assert_eq!((none.code, none.out.as_str()), (0, "[]\n"));
    let few = ask(&["find", "--limit", "2", "--output", "json"]);
    assert_eq!((few.code, few.json().as_array().unwrap().len()), (0, 2));
    assert!(few.err.contains("--limit"), "{}", few.err);
    let table = ask(&["find", "--id", &sick.id]).out;
    assert!(table.starts_with("AT ") && table.lines().count() == 2, "{table}");
    assert!(table.contains("retried") && table.contains("next attempt due"), "{table}");

    let printed = ask(&["show", &sick.id]);
    assert_eq!((printed.code, printed.err.as_str()), (0, ""));
    for words in [
        &format!("Event {}, {}, of project gigs\nis not accepted, to be tried again.", sick.id, sick.kind),
        "attempt 1: not accepted, to be tried again (Svix answered 503 within",
        "attempt 2 is due, at the earliest, after delay 1: in ",
        "Svix has no such message",
    ] {
        assert!(printed.out.contains(words), "{words} is missing in {}", printed.out);
    }
    let printed = ask(&["show", &good.id, "--project", "gigs"]).out;
    assert!(
        printed.contains("attempt 1: accepted by Svix (Svix answered 202") && printed.contains("message msg_"),
        "{printed}"
    );
    let json = ask(&["show", &good.id, "--output", "json"]).json();
    assert_eq!((&json[0]["id"], &json[0]["outcome"]), (&good.id.as_str().into(), &"delivered".into()));

    let unknown = ask(&["show", "evt_unknown"]);
    assert_eq!((unknown.code, unknown.out.as_str()), (1, ""));
    assert!(unknown.err.contains("knows no event evt_unknown"), "{}", unknown.err);
    for wrong in [
        &["show", "a b"][..],
        &["show", "\u{1b}[2J"],
        &["show", "msg_1"],
        &["find", "--outcome", "lost"],
        &["find", "--since", "yesterday"],
        &["tail", "--until", "2h"],
        &["find", "--api", "http://u:hunter2@127.0.0.1"],
    ] {
        let refused = events(wrong, world.settings());
        assert_eq!(refused.code, 2, "{wrong:?}: {}", refused.err);
        assert!(!refused.err.contains('\u{1b}'), "{:?}", refused.err);
    }
    hookbro.stop().await;
    let away = ask(&["find"]);
    assert_eq!((away.code, away.out.as_str()), (1, ""));
    assert!(away.err.contains(&url) && away.err.contains("hookbro run"), "{}", away.err);
    let nowhere = events(&["find"], world.settings());
    assert_eq!(nowhere.code, 3, "{}", nowhere.err);
    assert!(nowhere.err.contains("--api"), "{}", nowhere.err);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_taken_from_where_no_list_of_processes_shows_it() {
    let world = World::new("evtoken").await.with("admin.tokens", "hunter1,hunter2");
    let hookbro = Hookbro::ready(world.settings()).await;
    let url = hookbro.url();
    let bare: Vec<_> = world.settings().iter().filter(|(key, _)| key != "admin.tokens").cloned().collect();
    let args = ["events", "find", "--output", "json", "--api", &url];
    assert_eq!(events(&args[1..], world.settings()).code, 0, "the first of admin.tokens");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let by = |variable: &str, file: &[&str]| {
        let mut command = command(&[&args, file].concat(), &bare);
        Said::of(command.env("HOOKBRO_API_TOKEN", variable).output().unwrap())
    };
    assert_eq!(by("hunter2", &[]).code, 0);
    let nothing = by("hunter2", &["--token-file", path]);
    assert_eq!(nothing.code, 3, "an empty file: {}", nothing.err);
    file.as_file().write_all(b"hunter2\nhunter3\n").unwrap();
    assert_eq!(by("hunter3", &["--token-file", path]).code, 0, "the file comes before the variable");
    for (variable, code) in [("", 1), ("hunter3", 1), ("hunter3\u{1b}", 3)] {
        let refused = by(variable, &[]);
        assert_eq!(refused.code, code, "{}", refused.err);
        assert!(!refused.err.contains("hunter") && refused.out.is_empty(), "{}", refused.err);
    }
    assert!(by("hunter3", &[]).err.contains("--token-file"));
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_follows_once_each_through_a_restart_until_ctrl_c() {
    let listen = format!("127.0.0.1:{}", free_port());
    let world = World::new("evtail").await.with("admin.listen", &listen);
    let mut hookbro = Hookbro::ready(world.settings()).await;
    let all: Vec<_> = (0..40).map(|n| one(&format!("evtail{n}"), "gigs")).collect();
    let (before, rest) = all.split_at(10);
    let (during, after) = rest.split_at(20);
    world.publish(before).await;
    for sample in before {
        written(&hookbro, sample, "delivered").await;
    }
    let tail = Tail::start(&["--project", "gigs", "--limit", "3", "--output", "json"], world.settings());
    until("tail shows the last three", SOON, async || (tail.out.lock().unwrap().len() == 3).then_some(())).await;
    world.publish(&[during, &[one("evelse", "else")]].concat()).await;
    for sample in during {
        tail.shows(&sample.id).await;
    }
    hookbro.kill();
    tail.notes("waiting for it").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    tail.notes("answers again").await;
    world.publish(after).await;
    for sample in after {
        tail.shows(&sample.id).await;
    }
    let lines = tail.interrupt().await;
    let once: std::collections::BTreeSet<_> = lines.iter().collect();
    assert_eq!(once.len(), lines.len(), "no delivery is shown twice");
    let id = |line: &String| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<_> = lines.iter().map(id).collect();
    assert!(ids[..3].iter().all(|id| before.iter().any(|sample| sample.id == *id)), "{ids:?}");
    // What was not acknowledged before the kill has been delivered again, which is a line of its own.
    let mut shown = ids.split_off(3);
    shown.sort();
    shown.dedup();
    let mut expected: Vec<_> = [during, after].concat().into_iter().map(|sample| sample.id).collect();
    expected.sort();
    assert_eq!(shown, expected);

    // As with `head`: nobody reads any more, and the next line ends it.
    let mut headed = command(&["events", "tail"], world.settings()).stdout(Stdio::piped()).spawn().unwrap();
    let mut one_byte = [0];
    headed.stdout.take().unwrap().read_exact(&mut one_byte).unwrap();
    world.publish_one(&one("evlast", "gigs")).await;
    let ended = until("it ends", SOON, async || headed.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));

    let sample = "tests/events/good/40-voucher.created.json";
    assert!(command(&["publish", sample], world.settings()).status().unwrap().success());
    let commands = std::fs::read_to_string("docs/commands.md").unwrap();
    for line in commands.lines().filter_map(|line| line.strip_prefix("hookbro events ")) {
        let args: Vec<&str> = line.split(' ').collect();
        if args[0] == "tail" {
            let tail = Tail::start(&args[1..], world.settings());
            tail.shows(" UTC ").await;
            tail.interrupt().await;
        } else {
            until(line, SOON, async || (events(&args, world.settings()).code == 0).then_some(())).await;
        }
    }
    hookbro.stop().await;
    world.end().await;
}

/// What a hostile publisher, endpoint or server might have put anywhere.
const EVIL: &str = "x\u{1b}[2J\u{1b}]0;pwned\u{7}\u{9b}31m\u{202e}\r\n\u{7f}y";

/// `/api/v1` that answers with [`EVIL`] wherever there is text.
async fn hostile_api() -> String {
    let at = "2026-08-03T06:00:00Z";
    let attempt = json!({"at": at, "attempt": 1, "outcome": EVIL, "status": 503, "reason": EVIL, "detail": EVIL,
        "latency_ms": 1.5, "processing_ms": 2, "calls": 1, "queue": EVIL, "routing_key": EVIL, "message_id": EVIL,
        "next_at": null});
    let line = json!({"id": EVIL, "project": EVIL, "type": EVIL, "outcome": EVIL, "last": attempt});
    let gaps = json!([{"from": at, "until": null, "lost": null}]);
    let page = json!({"events": [line], "next": null, "gaps": gaps});
    let svix = json!({"state": "known", "reason": EVIL, "message": {"id": EVIL, "created_at": EVIL}, "truncated": true,
        "endpoints": [{"id": EVIL, "url": EVIL, "status": EVIL, "next_attempt_at": EVIL}],
        "attempts": [{"at": EVIL, "endpoint_id": EVIL, "url": EVIL, "status": EVIL, "response_status": 500,
            "response": EVIL, "duration_ms": 3}]});
    let story = json!({"id": EVIL, "project": EVIL, "type": EVIL, "outcome": EVIL, "reason": EVIL, "attempts": [attempt],
        "truncated": true, "next_retry": null, "svix": svix, "gaps": gaps, "other_projects": [null]});
    let list = move |RawQuery(query): RawQuery| {
        let refused = query.unwrap_or_default().contains("id=evt_refused");
        let page = page.clone();
        async move {
            match refused {
                true => (StatusCode::BAD_REQUEST, Json(json!({"detail": EVIL}))),
                false => (StatusCode::OK, Json(page)),
            }
        }
    };
    let routes = Router::new()
        .route("/api/v1/events", get(list))
        .route("/api/v1/events/{id}", get(async move || Json(story)))
        .route("/elsewhere/api/v1/events", get(async || axum::response::Redirect::temporary("/api/v1/events")))
        .route("/page/api/v1/events", get(async || format!("<html>{EVIL}")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    url
}

fn harmless(text: &str) -> bool {
    !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}')
}

#[tokio::test(flavor = "multi_thread")]
async fn what_strangers_wrote_is_shown_and_never_reaches_a_terminal_raw() {
    let url = hostile_api().await;
    let ask = |args: &[&str], url: &str| events(&[args, &["--api", url]].concat(), &[]);
    for (args, lines) in [
        (&["find"][..], 2),
        (&["find", "--output", "json"], 3),
        (&["show", "evt_1", "--output", "json"], 3),
        (&["show", "evt_1"], 16),
    ] {
        let said = ask(args, &url);
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        assert!(harmless(&said.out) && harmless(&said.err), "{args:?}: {:?} {:?}", said.out, said.err);
        assert_eq!(said.out.lines().count(), lines, "{args:?}: no value makes lines: {}", said.out);
        assert!(said.out.contains("pwned"), "it is shown: {}", said.out);
        if args.contains(&"json") {
            assert_eq!(said.json()[0]["id"], EVIL, "the same value all the same");
        }
    }
    for output in ["table", "json"] {
        let tail = Tail::start(&["--api", &url, "--output", output], &[]);
        tail.shows("pwned").await;
        let said = tail.interrupt().await;
        assert_eq!(said.len(), 1);
        assert!(harmless(&said[0]), "{said:?}");
    }
    for (args, url, words) in [
        (&["find", "--id", "evt_refused"][..], url.clone(), "refuses (400"),
        (&["find"], format!("{url}/elsewhere"), "is not hookbro's /api/v1"),
        (&["find"], format!("{url}/page"), "is not hookbro's /api/v1"),
        (&["tail"], format!("{url}/nothing"), "is not hookbro's /api/v1"),
    ] {
        let said = ask(args, &url);
        assert_eq!(said.code, 1, "{args:?}: {}", said.err);
        assert!(harmless(&said.err) && said.err.contains(words) && said.err.contains(&url), "{:?}", said.err);
    }
}
