//! Scripted faults: whom they meet, how often, and what the caller sees.

use std::io;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use svix_sandbox::{Effect, Fault, FaultKind, Options, Outcome};

use super::running::{Running, creates, message};

fn status(status: u16) -> Fault {
    Fault { status: Some(status), ..Fault::default() }
}

#[tokio::test]
async fn a_fault_fires_as_often_as_it_was_told_and_only_for_its_app() {
    let running = Running::with_apps(&["gigs", "other"]).await;
    running.sandbox.add_fault(Fault { app: Some("gigs".into()), times: Some(3), ..status(503) });
    assert_eq!(running.statuses("other", 2).await, [202, 202]);
    assert_eq!(running.statuses("gigs", 5).await, [503, 503, 503, 202, 202]);
    let state = &running.sandbox.faults()[0];
    assert_eq!((state.met, state.fired), (3, 3));
}

#[tokio::test]
async fn a_share_of_the_calls_fails_in_the_same_places_every_time() {
    let running = Running::with_apps(&["gigs"]).await;
    running.sandbox.add_fault(Fault { share: Some(0.25), ..status(500) });
    assert_eq!(running.statuses("gigs", 8).await, [202, 202, 202, 500, 202, 202, 202, 500]);
}

#[tokio::test]
async fn a_fault_can_single_out_an_event_or_a_type() {
    let running = Running::with_apps(&["gigs"]).await;
    running.sandbox.add_fault(Fault { event_id: Some("bad".into()), ..status(422) });
    running.sandbox.add_fault(Fault { event_type: Some("other.type".into()), ..status(500) });
    assert_eq!(running.create("gigs", "bad").await.unwrap().status, 422);
    assert_eq!(running.create("gigs", "good").await.unwrap().status, 202);
}

#[tokio::test]
async fn a_fault_answers_with_the_headers_and_body_it_was_given() {
    let running = Running::with_apps(&["gigs"]).await;
    let fault = json!({
        "kind": "any", "status": 429, "retry_after": 2, "body": "<slow>", "content_type": "text/html",
        "headers": { "x-proxy": "edge" }, "times": 2,
    });
    let added = running.call("POST", "/sandbox/v1/faults", fault).await.unwrap();
    assert_eq!((added.status, added.json()), (201, json!({ "id": 1 })));
    let list = running.call("GET", "/api/v1/app", Value::Null).await.unwrap();
    let create = running.create("gigs", "e").await.unwrap();
    for answer in [list, create] {
        let header = |name: &str| answer.headers.get(name).map(String::as_str);
        assert_eq!((answer.status, answer.text().as_str()), (429, "<slow>"));
        assert_eq!(header("retry-after"), Some("2"));
        assert_eq!(header("content-type"), Some("text/html"));
        assert_eq!(header("x-proxy"), Some("edge"));
    }
    assert_eq!(running.statuses("gigs", 1).await, [202]);
}

#[tokio::test]
async fn a_delay_holds_the_answer_back() {
    let running = Running::with_apps(&["gigs"]).await;
    let fault = json!({ "delay": "120ms", "times": 1 });
    assert_eq!(running.call("POST", "/sandbox/v1/faults", fault).await.unwrap().status, 201);
    let asked = Instant::now();
    assert_eq!(running.create("gigs", "e").await.unwrap().status, 202);
    assert!(asked.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn a_drop_closes_the_connection_and_a_reset_breaks_it() {
    let running = Running::with_apps(&["gigs"]).await;
    running.sandbox.add_fault(Fault { drop: true, times: Some(1), ..Fault::default() });
    running.sandbox.add_fault(Fault { reset: true, times: Some(1), ..Fault::default() });
    assert_eq!(running.create("gigs", "e").await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(running.create("gigs", "e").await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(running.create("gigs", "e").await.unwrap().status, 202);
    let outcomes: Vec<Outcome> = creates(&running.sandbox).map(|line| line.0).collect();
    assert_eq!(outcomes, [Outcome::Dropped, Outcome::Dropped, Outcome::Answered(202)]);
}

#[tokio::test]
async fn after_commit_leaves_the_caller_in_doubt_and_the_retry_a_duplicate() {
    let running = Running::with_apps(&["gigs"]).await;
    running.sandbox.add_fault(Fault { drop: true, after_commit: true, times: Some(1), ..Fault::default() });
    running.sandbox.add_fault(Fault { after_commit: true, times: Some(1), ..status(502) });
    assert!(running.create("gigs", "a").await.is_err());
    assert_eq!(running.create("gigs", "b").await.unwrap().status, 502);
    assert_eq!(running.create("gigs", "a").await.unwrap().status, 409);
    let lines: Vec<_> = creates(&running.sandbox).collect();
    assert_eq!(lines[0], (Outcome::Dropped, Effect::Stored));
    assert_eq!(lines[1], (Outcome::Answered(502), Effect::Stored));
    assert_eq!(lines[2], (Outcome::Answered(409), Effect::Duplicate));
    assert_eq!(running.sandbox.messages().len(), 2);
}

#[tokio::test]
async fn a_drop_ends_a_whole_http2_connection_too() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let running = Running::with_apps(&["gigs"]).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let post = |event: &str| {
        let url = format!("http://{}/api/v1/app/gigs/msg", running.at);
        client.post(url).header("authorization", "Bearer x").body(message(event).to_string()).send()
    };
    let answer = post("a").await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (202, reqwest::Version::HTTP_2));
    let id = running.sandbox.add_fault(Fault { drop: true, ..Fault::default() });
    assert!(post("b").await.is_err());
    assert!(running.sandbox.remove_fault(id));
    assert_eq!(post("b").await.unwrap().status(), 202);
}

#[tokio::test]
async fn faults_can_be_listed_and_removed_over_http() {
    let running = Running::with_apps(&["gigs"]).await;
    for _ in 0..2 {
        running.sandbox.add_fault(status(503));
    }
    assert_eq!(running.statuses("gigs", 1).await, [503]);
    let listed = running.call("GET", "/sandbox/v1/faults", Value::Null).await.unwrap().json();
    let shown = json!({ "kind": "message", "status": 503, "delay": "0ms", "drop": false, "reset": false,
        "after_commit": false, "undispatched": false });
    assert_eq!(listed["faults"][0], json!({ "id": 1, "met": 1, "fired": 1, "fault": shown }));
    let remove = |path: &'static str| running.call("DELETE", path, Value::Null);
    assert_eq!(remove("/sandbox/v1/faults/1").await.unwrap().status, 204);
    assert_eq!(remove("/sandbox/v1/faults/1").await.unwrap().status, 404);
    assert_eq!(running.sandbox.faults().len(), 1);
    assert_eq!(remove("/sandbox/v1/faults").await.unwrap().status, 204);
    assert_eq!(running.statuses("gigs", 1).await, [202]);
}

#[tokio::test]
async fn a_fault_that_makes_no_sense_is_refused_by_name() {
    let running = Running::new(Options::default()).await;
    let table = [
        (json!({ "status": 503, "tmies": 3 }), "unknown field `tmies`"),
        (json!({}), "a fault needs one of `status`, `delay`, `drop` and `reset`"),
        (json!({ "status": 503, "drop": true }), "only one of"),
        (json!({ "drop": true, "body": "x" }), "need a `status`"),
        (json!({ "status": 99 }), "status 99"),
        (json!({ "status": 503, "share": 1.5 }), "share 1.5"),
        (json!({ "drop": true, "undispatched": true }), "`undispatched` needs `after_commit`"),
        (json!({ "status": 503, "times": 0 }), "`times` has to be at least 1"),
        (json!({ "status": 503, "headers": { "a b": "c" } }), "\"a b: c\" is not a header"),
        (json!({ "delay": "soon" }), "\"soon\" is not a duration"),
        (json!({ "status": 503, "kind": "msg" }), "unknown variant `msg`"),
    ];
    for (fault, expected) in table {
        let answer = running.call("POST", "/sandbox/v1/faults", fault).await.unwrap();
        assert_eq!(answer.status, 422, "{expected}");
        let said = answer.json()["detail"][0]["msg"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(expected), "{said:?} does not say {expected:?}");
    }
    assert!(running.sandbox.try_add_fault(Fault { kind: FaultKind::Any, ..Fault::default() }).is_err());
}

#[tokio::test]
async fn undispatched_messages_are_called_for_only_if_their_caller_waits() {
    let running = Running::with_apps(&["gigs"]).await;
    let endpoint = json!({ "url": "https://x.example" });
    let made = running.call("POST", "/api/v1/app/gigs/endpoint", endpoint).await.unwrap();
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let undispatched = Fault { after_commit: true, undispatched: true, times: Some(1), ..Fault::default() };
    running.sandbox.add_fault(Fault { drop: true, ..undispatched.clone() });
    assert!(running.create("gigs", "lost").await.is_err());
    running.sandbox.add_fault(Fault { delay: Duration::from_millis(20), ..undispatched.clone() });
    assert_eq!(running.create("gigs", "waited").await.unwrap().status, 202);
    running.sandbox.add_fault(Fault { delay: Duration::from_secs(3600), ..undispatched.clone() });
    let leaving = tokio::time::timeout(Duration::from_millis(200), running.create("gigs", "left")).await;
    assert!(leaving.is_err());
    assert_eq!(running.create("gigs", "usual").await.unwrap().status, 202);
    let calls = |event: &str| {
        let found = running.sandbox.messages().into_iter().find(|m| m.event_id.as_deref() == Some(event)).unwrap();
        found.attempts.into_iter().map(|attempt| attempt.endpoint).collect::<Vec<_>>()
    };
    for (event, expected) in
        [("lost", vec![]), ("waited", vec![id.clone()]), ("left", vec![]), ("usual", vec![id.clone()])]
    {
        assert_eq!(calls(event), expected, "{event}");
        let path = format!("/api/v1/app/gigs/attempt/msg/{event}?limit=3");
        let listed = running.call("GET", &path, Value::Null).await.unwrap().json();
        assert_eq!((listed["data"].as_array().unwrap().len(), &listed["done"]), (expected.len(), &json!(true)));
    }
    let path = format!("/api/v1/app/gigs/msg/lost/endpoint/{id}/resend");
    assert_eq!(running.call("POST", &path, Value::Null).await.unwrap().status, 202);
    let listed = running.call("GET", "/api/v1/app/gigs/attempt/msg/lost", Value::Null).await.unwrap().json();
    assert_eq!((&listed["data"][0]["triggerType"], &listed["data"][0]["endpointId"]), (&json!(1), &json!(id)));
    let listed = running.call("GET", "/api/v1/app/gigs/msg/lost/endpoint", Value::Null).await.unwrap().json();
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["statusText"]), (&json!(id), &json!("success")));
}
