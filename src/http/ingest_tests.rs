//! The page with a broker that follows a script.

use super::*;
use crate::process::secret::{Secret, SecretList};
use axum::http::Request;
use serde_json::Value;
use std::sync::Mutex;
use tower_service::Service as _;

/// Takes what it is given, or refuses all.
#[derive(Debug, Default)]
struct FakeIntake {
    refuse: Option<NotTaken>,
    taken: Mutex<Vec<(String, TraceHeaders)>>,
}

impl Intake for FakeIntake {
    async fn put(&self, event: &Event, trace: &TraceHeaders) -> Result<(), NotTaken> {
        if let Some(refusal) = &self.refuse {
            return Err(refusal.clone());
        }
        self.taken.lock().unwrap().push((event.id.to_string(), trace.clone()));
        Ok(())
    }
}

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000);

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

struct Page {
    intake: Arc<FakeIntake>,
    metrics: Arc<Metrics>,
    router: Router,
}

impl Page {
    fn new(tokens: &str, secrets: &str, refuse: Option<NotTaken>) -> Self {
        let intake = Arc::new(FakeIntake { refuse, ..FakeIntake::default() });
        let metrics = Arc::new(Metrics::new().unwrap());
        let list = |text: &str| SecretList::lines_of(Secret::fixed(text));
        let keys = Keys { tokens: list(tokens), webhook_secrets: list(secrets) };
        let router = router(Ingest::new(Arc::clone(&intake), keys, 1_000, Arc::clone(&metrics)));
        Self { intake, metrics, router }
    }

    fn open() -> Self {
        Self::new("", "", None)
    }

    async fn post(&self, headers: &[(&str, &str)], body: impl Into<Body>) -> (StatusCode, HeaderMap, Value) {
        let mut request = Request::post("/notifications").extension(ConnectInfo(PEER)).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().call(request.body(body.into()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, MAX_BODY).await.unwrap();
        (head.status, head.headers, serde_json::from_slice(&body).unwrap())
    }

    fn taken(&self) -> Vec<String> {
        self.intake.taken.lock().unwrap().iter().map(|(id, _)| id.clone()).collect()
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");

fn event(id: &str) -> String {
    format!(r#"{{"id":"{id}","project":"p","type":"t","data":{{}}}}"#)
}

#[tokio::test]
async fn one_event_an_array_and_lines_are_answered_with_their_ids() {
    let page = Page::open();
    let (status, _, body) = page.post(&[JSON], event("a")).await;
    assert_eq!((status, body), (StatusCode::ACCEPTED, json!({"ids": ["a"]})));
    let array = format!("[{},{}]", event("b"), event("c"));
    assert_eq!(
        page.post(&[("content-type", "application/json; charset=utf-8")], array).await.2["ids"],
        json!(["b", "c"])
    );
    let lines = format!("{}\n{}\n", event("d"), event("e"));
    let (status, _, body) = page.post(&[("content-type", "application/x-ndjson")], lines).await;
    assert_eq!((status, body), (StatusCode::ACCEPTED, json!({"ids": ["d", "e"]})));
    assert_eq!(page.taken(), ["a", "b", "c", "d", "e"]);
    assert_eq!(page.metrics.ingest_events.get(), 5);
    assert_eq!(page.metrics.ingest_requests.with_label_values(&["202"]).get(), 3);
}

#[tokio::test]
async fn a_refusal_is_a_problem_document_that_names_event_and_field_and_takes_nothing() {
    let page = Page::open();
    let missing = r#"{"id":"x","type":"t","data":{}}"#;
    let huge = event(&"x".repeat(1_000));
    for (body, status, at, field) in [
        (String::new(), 400, Value::Null, Value::Null),
        ("{\"id\":".to_owned(), 400, json!(0), Value::Null),
        ("[{}".to_owned(), 400, Value::Null, Value::Null),
        (missing.to_owned(), 422, json!(0), json!("project")),
        (format!("[{},{missing}]", event("a")), 422, json!(1), json!("project")),
        ("7".to_owned(), 422, json!(0), Value::Null),
        (format!("[{},{huge}]", event("a")), 413, json!(1), Value::Null),
        (format!("[{}]", vec![event("a"); MAX_EVENTS + 1].join(",")), 413, Value::Null, Value::Null),
        (" ".repeat(MAX_BODY + 1), 413, Value::Null, Value::Null),
    ] {
        let (code, headers, problem) = page.post(&[JSON], body.clone()).await;
        let shown: String = body.chars().take(60).collect();
        assert_eq!(code.as_u16(), status, "{shown}: {problem}");
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(
            (&problem["status"], &problem["event"], &problem["field"]),
            (&json!(status), &at, &field),
            "{shown}"
        );
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
    }
    assert!(page.taken().is_empty());
}

#[tokio::test]
async fn only_json_types_without_an_encoding_are_taken() {
    let page = Page::open();
    let gzip = [JSON, ("content-encoding", "gzip")];
    for headers in [&[][..], &[("content-type", "text/plain")], &gzip] {
        let (status, ..) = page.post(headers, event("a")).await;
        assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{headers:?}");
    }
    assert_eq!(page.post(&[JSON, ("content-encoding", "identity")], event("a")).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn any_token_of_the_list_opens_and_nothing_else() {
    let page = Page::new("one\ntwo", "", None);
    for (value, status) in [
        ("Bearer one", StatusCode::ACCEPTED),
        ("bearer two", StatusCode::ACCEPTED),
        ("Bearer three", StatusCode::UNAUTHORIZED),
        ("Bearer", StatusCode::UNAUTHORIZED),
        ("Basic one", StatusCode::UNAUTHORIZED),
    ] {
        let (given, headers, _) = page.post(&[JSON, ("authorization", value)], event("a")).await;
        assert_eq!(given, status, "{value}");
        assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), status == StatusCode::UNAUTHORIZED);
    }
    let unread = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    assert_eq!(page.post(&[JSON], unread).await.0, StatusCode::UNAUTHORIZED, "decided before the body");
}

#[tokio::test]
async fn a_signature_is_as_good_as_a_token_and_holds_for_its_body_and_time_only() {
    let page = Page::new("one", SECRET, None);
    let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
    let now = jiff::Timestamp::now().as_second();
    let other = standardwebhooks::Webhook::new("whsec_AAAA").unwrap();
    for (webhook, time, signed, status) in [
        (&webhook, now, event("a"), StatusCode::ACCEPTED),
        (&webhook, now, event("b"), StatusCode::UNAUTHORIZED),
        (&webhook, now - 600, event("a"), StatusCode::UNAUTHORIZED),
        (&webhook, i64::MIN, event("a"), StatusCode::UNAUTHORIZED),
        (&other, now, event("a"), StatusCode::UNAUTHORIZED),
    ] {
        let signature = webhook.sign("msg_1", time, signed.as_bytes()).unwrap();
        let time = time.to_string();
        let headers =
            [JSON, ("webhook-id", "msg_1"), ("webhook-timestamp", time.as_str()), ("webhook-signature", &signature)];
        let (given, _, problem) = page.post(&headers, event("a")).await;
        assert_eq!(given, status, "{time} {problem}");
    }
    assert_eq!(page.taken(), ["a"]);
}

#[tokio::test]
async fn without_keys_no_web_page_and_no_proxy_gets_events_in() {
    let page = Page::open();
    for header in [("sec-fetch-site", "cross-site"), ("x-forwarded-for", "192.0.2.1"), ("via", "1.1 x")] {
        assert_eq!(page.post(&[JSON, header], event("a")).await.0, StatusCode::FORBIDDEN, "{header:?}");
    }
    let rebound = Request::post("/notifications").extension(ConnectInfo(PEER)).header("host", "evil.example:1");
    let rebound = rebound.header(JSON.0, JSON.1).body(Body::from(event("a"))).unwrap();
    assert_eq!(page.router.clone().call(rebound).await.unwrap().status(), StatusCode::FORBIDDEN);
    assert!(page.taken().is_empty());
}

#[tokio::test]
async fn what_is_not_proven_yet_takes_no_room_from_what_is() {
    let page = Page::new("one", SECRET, None);
    let waiting: Vec<_> = (0..UNPROVEN / MAX_BODY)
        .map(|_| {
            let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
            let request = Request::post("/notifications").header(JSON.0, JSON.1).header("webhook-signature", "x");
            tokio::spawn(page.router.clone().call(request.body(body).unwrap()))
        })
        .collect();
    tokio::task::yield_now().await;
    assert_eq!(page.post(&[JSON, ("webhook-signature", "x")], event("a")).await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(page.post(&[JSON, ("authorization", "Bearer one")], event("a")).await.0, StatusCode::ACCEPTED);
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn without_the_broker_the_answer_is_503_with_a_time_to_come_again() {
    for refusal in [NotTaken::Away("the broker blocks publishers".into()), NotTaken::Unroutable("p.t".into())] {
        let page = Page::new("", "", Some(refusal.clone()));
        let (status, headers, problem) = page.post(&[JSON], event("a")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(headers[header::RETRY_AFTER], "5");
        assert!(problem["detail"].as_str().unwrap().starts_with(&refusal.to_string()), "{problem}");
    }
}

#[tokio::test]
async fn what_waits_is_bounded_and_the_rest_is_told_to_come_again() {
    let page = Page::open();
    let waiting: Vec<_> = (0..BUDGET / MAX_BODY)
        .map(|_| {
            let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
            let request = Request::post("/notifications").extension(ConnectInfo(PEER)).header("host", "localhost");
            let request = request.header(JSON.0, JSON.1).body(body).unwrap();
            tokio::spawn(page.router.clone().call(request))
        })
        .collect();
    tokio::task::yield_now().await;
    let (status, headers, _) = page.post(&[JSON], event("a")).await;
    assert_eq!((status, &headers[header::RETRY_AFTER]), (StatusCode::TOO_MANY_REQUESTS, &"1".parse().unwrap()));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    for task in waiting {
        assert!(task.await.is_err());
    }
    assert_eq!(page.post(&[JSON], event("a")).await.0, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn the_trace_goes_along_and_what_is_over_long_does_not() {
    let page = Page::open();
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long = "x".repeat(MAX_TRACE + 1);
    page.post(&[JSON, ("traceparent", parent), ("tracestate", &long)], event("a")).await;
    let taken = page.intake.taken.lock().unwrap();
    assert_eq!(taken[0].1, TraceHeaders(vec![("traceparent", parent.to_owned())]));
}
