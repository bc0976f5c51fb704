//! Pages over a journal that means harm: what is escaped, which headers browsers get, who gets in.

use super::*;
use crate::{
    event::{EventId, ProjectId},
    http::{Api, Ops, Queues},
    observe::{health::Health, metrics::Metrics},
    operate::{
        api_types::{Attempt, Call, Endpoint, LastError, Message, Project},
        sanitize::Plain,
        timeline::{
            EventLine, EventPage, EventQuery, EventStory, MessageView, ProjectPage, SvixSide, Timeline, Unread,
        },
    },
    pipeline::{
        journal::Gap,
        pauses::{Board, Pause, Paused},
    },
    process::secret::{Secret, SecretList},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::ConnectInfo,
    http::{Request, header},
    response::Response,
};
use jiff::Timestamp;
use serde_json::Value;
use std::{net::SocketAddr, sync::Arc};
use tower_service::Service as _;

const EVIL: &str = "\"'><script>alert(1)</script>&\u{202e}";
const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 40_000);

/// Every text in it is hostile but for what an event's address needs.
struct Hostile;

fn evil() -> Option<Plain> {
    Some(EVIL.into())
}

fn attempt() -> Attempt {
    Attempt {
        at: Timestamp::UNIX_EPOCH,
        attempt: 1,
        outcome: EVIL.into(),
        status: Some(503),
        reason: evil(),
        detail: evil(),
        latency_ms: Some(3.0),
        processing_ms: -1.0,
        calls: 2,
        queue: EVIL.into(),
        routing_key: evil(),
        message_id: evil(),
        next_at: Some(Timestamp::UNIX_EPOCH),
    }
}

impl Timeline for Hostile {
    async fn events(&self, _: &EventQuery) -> Result<EventPage, Unread> {
        let line = EventLine { row_id: 1, project: evil(), id: evil(), kind: evil(), last: attempt() };
        Ok(EventPage { events: vec![line], next: Some(1) })
    }

    async fn stories(&self, _: &str, _: Option<&str>) -> Result<Vec<EventStory>, Unread> {
        let story = |project: &str| EventStory {
            project: Some(project.into()),
            kind: evil(),
            attempts: vec![attempt()],
            truncated: true,
        };
        Ok(vec![story("dev"), story(EVIL)])
    }

    async fn projects(&self, _: Option<&str>, _: Timestamp, _: Option<&str>, _: usize) -> Result<ProjectPage, Unread> {
        let last_error = LastError {
            at: Timestamp::UNIX_EPOCH,
            id: evil(),
            outcome: EVIL.into(),
            reason: evil(),
            status: None,
            detail: evil(),
        };
        let line = Project {
            project: evil(),
            delivered: 1,
            duplicate: 0,
            retried: 1,
            dead: 1,
            released: 0,
            success_rate: Some(0.5),
            p50_ms: Some(1.0),
            p99_ms: None,
            last_seen: None,
            last_error: Some(last_error),
            paused: None,
        };
        Ok(ProjectPage { projects: vec![line], next: None })
    }

    async fn gaps(&self, _: Timestamp, _: Timestamp) -> Result<Vec<Gap>, Unread> {
        Ok(vec![Gap { from: Timestamp::UNIX_EPOCH, until: None, lost: Some(2) }])
    }
}

impl MessageView for Hostile {
    fn destination(&self, _: &ProjectId) -> Plain {
        Plain::new(EVIL)
    }

    async fn message(&self, _: &ProjectId, _: &EventId) -> Result<Option<SvixSide>, String> {
        let text = Plain::new(EVIL);
        let call = |endpoint: &str| Call {
            at: text.clone(),
            endpoint_id: endpoint.into(),
            url: text.clone(),
            status: text.clone(),
            response_status: 200,
            response: text.clone(),
            duration_ms: None,
        };
        Ok(Some(SvixSide {
            message: Message { id: text.clone(), created_at: evil() },
            endpoints: vec![Endpoint {
                id: "ep_1".into(),
                url: "javascript:alert(1)".into(),
                status: text.clone(),
                next_attempt_at: evil(),
            }],
            attempts: vec![call("ep_1"), call("ep_gone")],
            truncated: true,
            undispatched: Some("not_dispatched"),
            missing: Some(EVIL.to_owned()),
        }))
    }
}

fn pages(tokens: &str) -> Router {
    let tokens = SecretList::lines_of(Secret::fixed(tokens));
    let ops = Ops {
        metrics: Arc::new(Metrics::new().unwrap()),
        health: Arc::new(Health::new()),
        topology: Value::Null,
        queues: Queues::default(),
    };
    let board = Arc::new(Board::new(Arc::clone(&ops.metrics)));
    let hostile = || Some(EVIL.to_owned());
    let pause =
        Pause { since: Timestamp::UNIX_EPOCH, identity: EVIL.to_owned(), claimed: hostile(), reason: hostile() };
    board.show(Paused::from([(ProjectId::try_new("paused").unwrap(), pause)]));
    let api = Arc::new(Api { tokens, timeline: Hostile, messages: Hostile, board });
    router(Console::new(api, ops, Forms::default()))
}

async fn get(router: &mut Router, path: &str, given: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().uri(path).header(header::HOST, "localhost:9464");
    for (name, value) in given {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(PEER));
    router.call(request).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

const PATHS: [&str; 13] = [
    "/",
    "/live",
    "/events",
    "/events?outcome=dead&window=1h",
    "/events/evt_1",
    "/projects",
    "/projects/dev",
    "/projects/paused",
    "/find?q=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
    "/events?project=%22%3E%3Cscript%3E",
    "/events?%22%3E%3Cscript%3E=1",
    "/projects/%22%3E%3Cscript%3E",
    "/nowhere/%22%3E%3Cscript%3E",
];

#[tokio::test]
async fn hostile_values_are_shown_and_never_part_of_a_page() {
    let mut router = pages("");
    for path in PATHS {
        let page = text(get(&mut router, path, &[]).await).await;
        assert!(!page.contains("<script>") && !page.contains("'><") && !page.contains('\u{202e}'), "{path}: {page}");
        assert!(!page.contains("href=\"javascript:"), "{path}: {page}");
        assert!(!page.contains(" style=") && !page.contains(" onclick="), "{path} has what the policy forbids");
    }
    let page = text(get(&mut router, "/events/evt_1", &[]).await).await;
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&amp;\\u{202e}"), "{page}");
    assert!(page.contains("javascript:alert(1)"), "{page}");
}

#[tokio::test]
async fn a_paused_project_is_named_on_the_overview_in_the_list_and_on_its_own_page() {
    let mut router = pages("");
    for (path, shown) in [
        ("/", "/projects/paused"),
        ("/live", "/projects/paused"),
        ("/projects", "/projects/paused"),
        ("/projects/paused", "value=\"resume\""),
        ("/projects/dev", "value=\"pause\""),
    ] {
        let page = text(get(&mut router, path, &[]).await).await;
        assert!(page.contains(shown), "{path}: {page}");
        assert_eq!(page.contains("01-01 00:00:00</time> by "), path != "/projects/dev", "{path}: {page}");
    }
}

#[tokio::test]
async fn every_answer_tells_browsers_to_run_and_keep_nothing() {
    let mut router = pages("");
    for path in PATHS.into_iter().chain(["/assets/console.js", "/assets/nothing"]) {
        let response = get(&mut router, path, &[]).await;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let policy = header(header::CONTENT_SECURITY_POLICY);
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{path}: {policy}");
        for part in ["script-src 'self'", "form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
        assert_eq!(header(header::REFERRER_POLICY), "same-origin", "{path}");
        let kept = if path == "/assets/console.js" { "private, max-age=300" } else { "no-store" };
        assert_eq!(header(header::CACHE_CONTROL), kept, "{path}");
        assert!(!response.headers().contains_key(header::SET_COOKIE), "{path}");
    }
}

#[tokio::test]
async fn a_token_is_the_password_and_without_one_only_this_machine_gets_in() {
    let basic = |pair: &str| format!("Basic {}", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair));
    let (right, wrong) = (basic("zoë:two"), basic("two:zoë"));
    let mut router = pages("one\ntwo");
    for (given, status) in [
        (vec![], 401),
        (vec![("authorization", right.as_str())], 200),
        (vec![("authorization", "bearer one")], 200),
        (vec![("authorization", wrong.as_str())], 401),
        (vec![("authorization", "Basic %%%")], 401),
        (vec![("authorization", "Basic")], 401),
    ] {
        let response = get(&mut router, "/", &given).await;
        assert_eq!(response.status(), status, "{given:?}");
        let asked = response.headers().get(header::WWW_AUTHENTICATE).map(|asked| asked.to_str().unwrap().to_owned());
        assert_eq!(asked.is_some_and(|asked| asked.starts_with("Basic realm=")), status == 401, "{given:?}");
    }
    assert_eq!(get(&mut router, "/assets/console.css", &[]).await.status(), 200);
    let mut open = pages("");
    let followed = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    for (given, status) in [
        (vec![], 200),
        (vec![("x-forwarded-for", "192.0.2.1")], 403),
        (vec![("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors")], 403),
        (followed.to_vec(), 200),
    ] {
        assert_eq!(get(&mut open, "/", &given).await.status(), status, "{given:?}");
    }
}

#[tokio::test]
async fn the_search_box_leads_to_what_it_finds() {
    let mut router = pages("");
    for (query, status, place) in [
        ("evt_1", 303, Some("/events/evt_1")),
        ("+evt_1+", 303, Some("/events/evt_1")),
        ("", 303, Some("/")),
        ("a%20b", 404, None),
    ] {
        let response = get(&mut router, &format!("/find?q={query}"), &[]).await;
        assert_eq!(response.status(), status, "{query}");
        let led = response.headers().get(header::LOCATION).map(|to| to.to_str().unwrap());
        assert_eq!(led, place, "{query}");
    }
}
