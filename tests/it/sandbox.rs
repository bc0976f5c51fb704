//! The sandbox as a product: organisations, the creation race, bounds, what it shows, and its own end. Its faults are
//! in `faults`.

mod faults;
mod running;

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svix_sandbox::{Effect, Fault, FaultKind, Options, Outcome};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::raw_http::send;
use running::{Running, creates, message};

#[tokio::test]
async fn organisations_do_not_see_each_other() {
    let tokens = [("one", "org_1"), ("two", "org_2")].map(|(token, org)| (token.to_owned(), org.to_owned()));
    let running = Running::new(Options { tokens: tokens.to_vec(), ..Options::default() }).await;
    let app = json!({ "name": "gigs", "uid": "gigs" });
    let post = |token: &'static str| running.call_as(token, "POST", "/api/v1/app/gigs/msg", message("e"));
    assert_eq!(running.call_as("one", "POST", "/api/v1/app", app.clone()).await.unwrap().status, 201);
    assert_eq!(post("one").await.unwrap().status, 202);
    assert_eq!(post("two").await.unwrap().status, 404);
    assert_eq!(post("three").await.unwrap().status, 401);
    assert_eq!(running.call_as("two", "POST", "/api/v1/app", app).await.unwrap().status, 201);
    assert_eq!(post("two").await.unwrap().status, 202);
    assert_eq!(post("two").await.unwrap().status, 409);
    let orgs: Vec<String> = running.sandbox.messages().into_iter().map(|message| message.org).collect();
    assert_eq!(orgs, ["org_1", "org_2"]);
    assert_eq!(running.sandbox.applications().len(), 2);
}

#[tokio::test]
async fn without_tokens_any_bearer_will_do_but_none_will_not() {
    let running = Running::with_apps(&["gigs"]).await;
    assert_eq!(running.call_as("anything", "GET", "/api/v1/app/gigs", Value::Null).await.unwrap().status, 200);
    assert_eq!(running.call_as("", "GET", "/api/v1/app/gigs", Value::Null).await.unwrap().status, 401);
    assert_eq!(send(&running.at, "GET", "/api/v1/app/gigs", &[], None).await.unwrap().status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_200_racing_inline_creates_one_makes_the_app_and_every_loser_can_post_again() {
    let creation_gap = Duration::from_millis(50);
    let running = std::sync::Arc::new(Running::new(Options { creation_gap, ..Options::default() }).await);
    let mut posts = JoinSet::new();
    for number in 0..200 {
        let (running, event) = (running.clone(), format!("e{number}"));
        posts.spawn(async move { (running.create_inline("new", &event).await.unwrap().status, event) });
    }
    let answered = posts.join_all().await;
    assert_eq!(running.sandbox.applications().len(), 1);
    let stored: BTreeSet<String> = running.sandbox.messages().into_iter().filter_map(|it| it.event_id).collect();
    let lost = answered.iter().filter(|(status, _)| *status == 409).count();
    assert!(lost > 0, "nobody lost the race");
    assert_eq!(creates(&running.sandbox).filter(|(_, effect)| *effect == Effect::LostRace).count(), lost);
    for (status, event) in answered {
        assert_eq!(stored.contains(&event), status == 202, "{event}: {status}");
        let again = running.create("new", &event).await.unwrap().status;
        assert_eq!((status, again), if status == 202 { (202, 409) } else { (409, 202) });
    }
    assert_eq!(running.sandbox.message_count(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_equal_creates_one_is_stored() {
    let running = std::sync::Arc::new(Running::with_apps(&["gigs"]).await);
    let mut posts = JoinSet::new();
    for _ in 0..16 {
        let running = running.clone();
        posts.spawn(async move { running.create("gigs", "same").await.unwrap().status });
    }
    let mut answered = posts.join_all().await;
    answered.sort_unstable();
    assert_eq!(answered, [vec![202], vec![409; 15]].concat());
}

#[tokio::test]
async fn a_recreated_app_is_another_one_with_an_empty_history() {
    let running = Running::with_apps(&["gigs"]).await;
    let before = running.sandbox.applications();
    assert_eq!(running.create("gigs", "e").await.unwrap().status, 202);
    assert_eq!(running.call("DELETE", "/api/v1/app/gigs", Value::Null).await.unwrap().status, 204);
    assert_eq!(running.create("gigs", "e").await.unwrap().status, 404);
    assert_eq!(running.create_inline("gigs", "e").await.unwrap().status, 202);
    assert_ne!(before[0].id, running.sandbox.applications()[0].id);
    assert_eq!(running.sandbox.message_count(), 2);
    let listed = running.call("GET", "/api/v1/app/gigs/msg", Value::Null).await.unwrap().json();
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn memory_is_bounded_oldest_first() {
    let one = message("e0")["payload"].to_string().len();
    let options = Options { max_payload_bytes: one * 2, max_messages: 3, max_requests: 4, ..Options::default() };
    let running = Running::new(options).await;
    for number in 0..5 {
        assert_eq!(running.create_inline("gigs", &format!("e{number}")).await.unwrap().status, 202);
    }
    let stored: Vec<_> = running.sandbox.messages().into_iter().map(|it| (it.event_id.unwrap(), it.payload)).collect();
    let payload = |event: &str| message(event)["payload"].to_string().into_bytes();
    let expected = [("e2", Vec::new()), ("e3", payload("e3")), ("e4", payload("e4"))];
    assert_eq!(stored, expected.map(|(event, payload)| (event.to_owned(), payload.into())));
    assert_eq!(running.create("gigs", "e2").await.unwrap().status, 409, "its id is still taken");
    assert_eq!(running.create("gigs", "e0").await.unwrap().status, 202, "forgotten, so not a duplicate");
    assert_eq!(running.sandbox.requests().len(), 4);
}

#[tokio::test]
async fn lists_run_newest_first_and_page_in_both_directions() {
    let running = Running::with_apps(&["gigs", "other"]).await;
    for number in 0..5 {
        running.create("gigs", &format!("e{number}")).await.unwrap();
        running.create("other", &format!("e{number}")).await.unwrap();
    }
    let page = async |query: String| {
        let list = running.call("GET", &format!("/api/v1/app/gigs/msg?limit=2{query}"), Value::Null).await.unwrap();
        let list = list.json();
        let ids = list["data"].as_array().unwrap().iter().map(|it| it["eventId"].as_str().unwrap().to_owned());
        let text = |name: &str| list[name].as_str().unwrap_or_default().to_owned();
        (ids.collect::<Vec<_>>(), text("iterator"), text("prevIterator"), list["done"] == true)
    };
    let first = page(String::new()).await;
    let second = page(format!("&iterator={}", first.1)).await;
    let third = page(format!("&iterator={}", second.1)).await;
    assert_eq!((first.0.clone(), first.3), (vec!["e4".into(), "e3".into()], false));
    assert_eq!((second.0.clone(), second.3), (vec!["e2".into(), "e1".into()], false));
    assert_eq!((third.0, third.3), (vec!["e0".into()], true));
    assert_eq!(page(format!("&iterator={}", third.2)).await.0, second.0);
    assert_eq!(page(format!("&iterator={}", second.2)).await.0, first.0);
}

#[tokio::test]
async fn the_payload_is_kept_as_it_was_sent() {
    let running = Running::with_apps(&["gigs"]).await;
    let sent = r#"{"z" : 1,  "a":1.10, "b": 12345678901234567890, "s":"\ud83d\ude00\/é"}"#;
    let body = format!(r#"{{"eventType":"t","payload":{sent},"eventId":"e"}}"#);
    let auth = [("authorization", "Bearer x")];
    let answer = send(&running.at, "POST", "/api/v1/app/gigs/msg", &auth, Some(body.as_bytes())).await.unwrap();
    assert_eq!(answer.status, 202);
    assert_eq!(running.sandbox.messages()[0].payload, sent);
    let seen = running.call("GET", "/sandbox/v1/messages?app=gigs", Value::Null).await.unwrap().json();
    assert_eq!(seen["messages"][0]["payload"], sent);
}

#[tokio::test]
async fn the_control_api_tells_what_happened_and_starts_over() {
    let running = Running::with_apps(&["gigs"]).await;
    for event in ["a", "a", "b"] {
        running.create("gigs", event).await.unwrap();
    }
    running.sandbox.add_fault(Fault { drop: true, times: Some(1), ..Fault::default() });
    assert!(running.create_inline("gigs", "c").await.is_err());
    let get = |path: &'static str| running.call("GET", path, Value::Null);
    let summary = get("/sandbox/v1/summary").await.unwrap().json();
    let tally = json!({ "calls": 4, "stored": 2, "duplicates": 1, "lost_races": 0, "unanswered": 1 });
    assert_eq!((&summary["apps"]["gigs"], &summary["messages_held"]), (&tally, &json!(2)));
    let requests = get("/sandbox/v1/requests?app=gigs").await.unwrap().text();
    let lines: Vec<Value> = requests.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<&Value> = lines.iter().map(|line| &line["status"]).collect();
    assert_eq!(statuses, [&json!(202), &json!(409), &json!(202), &json!("dropped")]);
    assert_eq!((&lines[3]["had_application"], &lines[3]["event_id"]), (&json!(true), &json!("c")));
    assert_eq!(running.call("DELETE", "/sandbox/v1/messages", Value::Null).await.unwrap().status, 204);
    assert!(running.sandbox.messages().is_empty() && running.sandbox.requests().is_empty());
    assert_eq!(running.create("gigs", "a").await.unwrap().status, 202);
}

#[tokio::test]
async fn what_was_stored_survives_being_served_twice() {
    let running = Running::with_apps(&["gigs"]).await;
    running.create("gigs", "a").await.unwrap();
    let at = running.at.clone();
    let sandbox = running.stop().await;
    let refused = send(&at, "GET", "/api/v1/health", &[], None).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    let running = Running::serve(sandbox).await;
    assert_eq!(running.create("gigs", "a").await.unwrap().status, 409);
    assert_eq!(running.create("gigs", "b").await.unwrap().status, 202);
}

#[tokio::test]
async fn stopping_closes_idle_connections_at_once_and_held_requests_after_the_grace() {
    let shutdown_grace = Duration::from_millis(200);
    let running = Running::new(Options { shutdown_grace, ..Options::default() }).await;
    let _idle = tokio::net::TcpStream::connect(&running.at).await.unwrap();
    let fault = Fault { kind: FaultKind::Any, delay: Duration::from_secs(600), ..Fault::default() };
    running.sandbox.add_fault(fault);
    let at = running.at.clone();
    let held = tokio::spawn(async move { send(&at, "GET", "/api/v1/health", &[], None).await });
    while running.sandbox.faults()[0].fired == 0 {
        tokio::task::yield_now().await;
    }
    let stopping = Instant::now();
    let sandbox = running.stop().await;
    assert!((Duration::from_millis(200)..Duration::from_secs(60)).contains(&stopping.elapsed()));
    assert!(held.await.unwrap().is_err());
    assert_eq!(sandbox.requests()[0].outcome, Outcome::Abandoned);
}

#[tokio::test]
async fn a_caller_that_gives_up_is_told_apart_and_may_have_been_served() {
    let running = Running::with_apps(&["gigs"]).await;
    let delay = Duration::from_secs(600);
    running.sandbox.add_fault(Fault { delay, after_commit: true, ..Fault::default() });
    let waiting = running.create("gigs", "e");
    let stored = async {
        while running.sandbox.messages().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        answer = waiting => panic!("{answer:?}"),
        () = stored => {}
    }
    while creates(&running.sandbox).next().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(creates(&running.sandbox).next(), Some((Outcome::Abandoned, Effect::Stored)));
}

#[tokio::test]
async fn the_command_serves_until_it_is_told_to_stop() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let tokens = vec![("secret".to_owned(), "org_1".to_owned())];
    let args = hookbro::cli::sandbox::SandboxArgs { listen: free.clone(), tokens, latency: Duration::ZERO };
    let stop = CancellationToken::new();
    let command = tokio::spawn(hookbro::cli::sandbox::run(args.clone(), stop.clone().cancelled_owned()));
    let answer = loop {
        match send(&free, "GET", "/api/v1/app", &[("authorization", "Bearer secret")], None).await {
            Ok(answer) => break answer,
            Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => tokio::task::yield_now().await,
            Err(err) => panic!("{err}"),
        }
    };
    assert_eq!(answer.status, 200);
    let taken = hookbro::cli::sandbox::run(args, std::future::pending()).await.unwrap_err();
    assert!(taken.to_string().starts_with(&format!("cannot listen on {free}: ")), "{taken}");
    stop.cancel();
    command.await.unwrap().unwrap();
}

/// A guard against work that grows with what is stored. The fastest of many small batches is compared, since a busy
/// machine can slow down any one of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_sandbox_is_as_fast_as_an_empty_one() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let running = Running::with_apps(&["gigs"]).await;
    let client = reqwest::Client::new();
    let mut batches = Vec::new();
    for batch in 0..80 {
        let started = Instant::now();
        for number in 0..50 {
            let url = format!("http://{}/api/v1/app/gigs/msg?with_content=false", running.at);
            let body = message(&format!("{batch}-{number}")).to_string();
            let answer = client.post(url).header("authorization", "Bearer x").body(body).send().await.unwrap();
            assert_eq!(answer.status(), 202);
        }
        batches.push(started.elapsed());
    }
    let fastest = |batches: &[Duration]| *batches.iter().min().unwrap();
    let (first, last) = (fastest(&batches[..20]), fastest(&batches[60..]));
    println!("50 creates in {first:?} at first, in {last:?} at last");
    assert!(last < first * 4, "{first:?} at first, {last:?} at last");
}
