//! What Svix answers to the checks of a repeat → what the conflict is taken for. The answers are those of the recording.

use super::super::answer::{Create, Messages as _};
use super::*;
use crate::{event::EventId, observe::metrics::Metrics, process::secret::Secret, sinks::svix::Settings};
use axum::{Router, body::Body, extract::Request, http::Response};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const BODY: &str =
    r#"{"id":"evt_1","project":"gigs","type":"user.created","data":{"n":1.0,"big":12345678901234567890123}}"#;

/// A Svix that has what the test gives it.
#[derive(Clone)]
struct Stub {
    message: (u16, Value),
    attempts: (u16, Value),
    endpoints: Vec<(u16, Value)>,
    resend: (u16, Value),
    /// Seconds since the message was made.
    age: i64,
}

fn message() -> Value {
    let payload: Value = serde_json::from_str(BODY).unwrap();
    json!({"eventId": "evt_1", "eventType": "user.created", "payload": payload, "channels": null, "id": "msg_1"})
}

fn list(data: Value) -> (u16, Value) {
    (200, json!({"data": data, "iterator": null, "done": true}))
}

fn own(code: &str) -> Value {
    json!({"code": code, "detail": "x"})
}

fn stub() -> Stub {
    Stub {
        message: (200, message()),
        attempts: list(json!([])),
        endpoints: vec![list(json!([{"id": "ep_1", "disabled": false, "filterTypes": null, "channels": null}]))],
        resend: (202, json!({})),
        age: 3600,
    }
}

impl Stub {
    /// What the conflict is taken for, and the paths asked, each without what is before the application.
    async fn prove(self, last: bool, calls: usize) -> (Option<Answer>, Vec<String>) {
        let event = Event::parse(Bytes::from_static(BODY.as_bytes()), 10_000).unwrap();
        let (asked, sink) = self.serve().await;
        let goes_on = || asked.lock().unwrap().len() < calls;
        let answer = sink.prove(&event, &AppId::try_new("gigs").unwrap(), last, &goes_on).await;
        let asked = asked.lock().unwrap().clone();
        (answer, asked)
    }

    async fn serve(self) -> (Arc<Mutex<Vec<String>>>, SvixClient) {
        let asked = Arc::new(Mutex::new(Vec::<String>::new()));
        let seen = Arc::clone(&asked);
        let router = Router::new().fallback(move |request: Request| {
            let path = request.uri().to_string().replace("/api/v1/app/gigs", "");
            let (status, mut body) = self.answer(request.method() == Method::POST, &path, &seen.lock().unwrap());
            if let Some(message) = body.as_object_mut().filter(|body| body.contains_key("eventType")) {
                let made = Timestamp::now() - jiff::SignedDuration::from_secs(self.age);
                message.insert("timestamp".into(), json!(made.to_string()));
            }
            seen.lock().unwrap().push(path);
            let text = if body.is_null() { String::new() } else { body.to_string() };
            async move { Response::builder().status(status).body(Body::from(text)).unwrap() }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (token, authorities) = (Secret::fixed("sk_x"), Secret::fixed(""));
        let settings = Settings { url, token, authorities, timeout: Duration::from_secs(5) };
        (asked, SvixClient::new(&settings, Arc::new(Metrics::new().unwrap())).unwrap())
    }

    fn answer(&self, posted: bool, path: &str, before: &[String]) -> (u16, Value) {
        let pages = before.iter().filter(|path| path.starts_with("/endpoint")).count();
        match path {
            "/msg?with_content=false" => (202, json!({"id": "msg_1", "eventId": "evt_1"})),
            _ if posted => self.resend.clone(),
            path if path.starts_with("/msg/evt_1?") => self.message.clone(),
            path if path.starts_with("/attempt/msg/msg_1?") => self.attempts.clone(),
            path if path.starts_with("/endpoint?") => self.endpoints[pages.min(self.endpoints.len() - 1)].clone(),
            path => panic!("asked for {path}"),
        }
    }
}

fn named(answer: Option<Answer>) -> String {
    match answer {
        None => "interrupted".into(),
        Some(Answer::Repeated(Repeat { dispatch, message, .. })) => {
            assert!(message.is_some() || matches!(dispatch, Dispatch::Unchecked(_)), "{dispatch:?}");
            match dispatch {
                Dispatch::Unchecked(_) => "unchecked".into(),
                other => format!("{other:?}"),
            }
        }
        Some(Answer::Unusable { reason, .. }) => format!("halt {reason}"),
        Some(Answer::Failed { wait, .. }) => format!("failed {wait:?}"),
        Some(Answer::Throttled { .. }) => "throttled".into(),
        Some(Answer::Mismatch(cause)) => format!("mismatch: {}", cause.detail),
        Some(other) => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    }
}

async fn check(what: &'static str, stub: Stub, expected: &'static str, calls: usize) {
    let (answer, asked) = stub.prove(false, 100).await;
    assert_eq!((named(answer).as_str(), asked.len()), (expected, calls), "{what}: {asked:?}");
}

#[tokio::test]
async fn the_message_must_be_there_and_be_this_event() {
    let called = || Stub { attempts: list(json!([{"endpointId": "ep_1", "triggerType": 0}])), ..stub() };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut message = message();
        change(&mut message);
        Stub { message: (200, message), ..called() }
    };
    let answering = |status, body| Stub { message: (status, body), ..stub() };
    check("as sent", called(), "Called", 2).await;
    check("echo", with(&|message| message["payload"]["data"]["n"] = json!(1)), "Called", 2).await;
    check("expired", with(&|message| message["payload"] = json!({"expired": true})), "Called", 2).await;
    check("no payload", with(&|message| message["payload"] = json!({})), "Called", 2).await;
    let other = "mismatch: Svix has another event under this id: its type differs";
    check("other type", with(&|message| message["eventType"] = json!("user.deleted")), other, 1).await;
    let other = "mismatch: Svix has another event under this id: its payload differs";
    check("other payload", with(&|message| message["payload"]["data"]["n"] = json!(2)), other, 1).await;
    check("foreign id", with(&|message| message["eventId"] = json!("evt_2")), "halt not_svix", 1).await;
    check("odd message id", with(&|message| message["id"] = json!("../x")), "halt not_svix", 1).await;
    check("not there", answering(404, own("not_found")), "failed None", 1).await;
    check("somebody's 404", answering(404, Value::Null), "halt not_svix", 1).await;
    check("somebody's 200", answering(200, json!({"ok": true})), "halt not_svix", 1).await;
    check("conflict", answering(409, own("conflict")), "failed None", 1).await;
    check("401", answering(401, own("authentication_failed")), "halt auth", 1).await;
    check("403", answering(403, own("insufficient access")), "unchecked", 1).await;
    check("429", answering(429, own("x")), "throttled", 1).await;
    check("500", answering(500, json!({})), "failed None", 1).await;
    check("422", answering(422, own("x")), "failed None", 1).await;
}

#[tokio::test]
async fn what_nobody_was_called_for_is_sent_again() {
    let endpoints = |data| Stub { endpoints: vec![list(data)], ..stub() };
    check("one endpoint", stub(), "Rescued { endpoints: 1 }", 4).await;
    check("none", endpoints(json!([])), "Nobody(NoEndpoint)", 3).await;
    check("disabled", endpoints(json!([{"id": "ep_1", "disabled": true}])), "Nobody(Disabled)", 3).await;
    check("filtered", endpoints(json!([{"id": "ep_1", "filterTypes": ["x"]}])), "Nobody(Filtered)", 3).await;
    let two = json!([{"id": "ep_1"}, {"id": "ep_2"}, {"id": "ep_3", "channels": ["x"]}]);
    check("two of three", endpoints(two.clone()), "Rescued { endpoints: 2 }", 5).await;
    // A rescue that broke off goes on with those that it left.
    let half = list(json!([{"endpointId": "ep_1", "triggerType": 1}]));
    check("half rescued", Stub { attempts: half.clone(), ..endpoints(two) }, "Rescued { endpoints: 1 }", 4).await;
    check("all rescued", Stub { attempts: half, ..stub() }, "Called", 3).await;
    let page = (200, json!({"data": [{"id": "ep_1"}], "iterator": "ep_1", "done": false}));
    let pages = vec![page.clone(), list(json!([{"id": "ep_2"}]))];
    check("two pages", Stub { endpoints: pages, ..stub() }, "Rescued { endpoints: 2 }", 6).await;
    check("no end", Stub { endpoints: vec![page], ..stub() }, "failed None", 2 + MAX_PAGES).await;
    check("odd endpoint", endpoints(json!([{"id": "../x"}])), "halt not_svix", 3).await;
    for (status, body, expected) in [
        (404, own("not_found"), "failed None"),
        (500, json!({}), "failed None"),
        (403, own("insufficient access"), "unchecked"),
        (401, own("authentication_failed"), "halt auth"),
        (429, own("x"), "throttled"),
    ] {
        check("refused", Stub { resend: (status, body), ..stub() }, expected, 4).await;
    }
    let expired = "mismatch: Svix stored it without calling an endpoint, and has no payload left to send";
    check("no payload left", Stub { resend: (400, own("missing_payload")), ..stub() }, expired, 4).await;
    check("403 at attempts", Stub { attempts: (403, own("x")), ..stub() }, "unchecked", 2).await;
}

#[tokio::test]
async fn a_young_message_is_left_to_svix_for_a_while_but_not_for_ever() {
    for (age, last, expected) in [
        (5, false, "Undispatched"),
        (-30, false, "Undispatched"),
        (5, true, "Rescued { endpoints: 1 }"),
        (55, false, "Undispatched"),
        (65, false, "Rescued { endpoints: 1 }"),
    ] {
        let (answer, _) = Stub { age, ..stub() }.prove(last, 100).await;
        assert_eq!(named(answer), expected, "{age} s, last {last}");
    }
}

#[tokio::test]
async fn what_this_process_saw_accepted_needs_no_attempt_to_see() {
    let (asked, sink) = stub().serve().await;
    let event = Event::parse(Bytes::from_static(BODY.as_bytes()), 10_000).unwrap();
    let app = AppId::try_new("gigs").unwrap();
    assert!(matches!(sink.post(&event, &app, Create::Never).await, Answer::Accepted(_)));
    let answer = sink.prove(&event, &app, false, &|| true).await;
    assert_eq!(named(answer), "SeenAccepted");
    assert_eq!(asked.lock().unwrap().len(), 2, "the message itself is read all the same");
}

#[tokio::test]
async fn no_call_is_made_once_it_is_not_to_go_on() {
    for calls in 0..4 {
        let (answer, asked) = stub().prove(false, calls).await;
        assert_eq!((named(answer).as_str(), asked.len()), ("interrupted", calls));
    }
}

#[tokio::test]
async fn an_id_that_no_url_carries_is_taken_at_svix_s_word() {
    let body = BODY.replace("evt_1", "..");
    let event = Event::parse(Bytes::from(body), 10_000).unwrap();
    assert_eq!(event.id, EventId::try_new("..").unwrap());
    let (asked, sink) = stub().serve().await;
    let answer = sink.prove(&event, &AppId::try_new("gigs").unwrap(), false, &|| true).await;
    assert_eq!((named(answer).as_str(), asked.lock().unwrap().len()), ("unchecked", 0));
}
