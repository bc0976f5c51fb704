//! The sandbox against the recording of a real Svix server (`tests/contract/*.json`).
//!
//! Every recorded case is replayed in the order it was recorded, or named in [`OUT_OF_SCOPE`] with the reason. With
//! `HOOKBRO_TEST_SVIX_URL` (plain `http://`) and `HOOKBRO_TEST_SVIX_TOKEN` set, the same cases are asked of that
//! server instead, with names of their own, less those that need tokens it alone could sign.

mod compare;
mod recorded;

use std::collections::BTreeMap;
use std::time::SystemTime;

use jiff::{SignedDuration, Timestamp};
use svix_sandbox::{Options, Role, Sandbox};
use tokio::net::TcpListener;

use crate::raw_http::send;
use recorded::Case;

/// Recorded in this order; later cases build on earlier ones.
const ORDER: &str = include_str!("../contract/order.txt");

const IN_SCOPE: &[&str] = &["health_", "unknown_route", "method_not_allowed_", "cors_", "app_", "auth_", "msg_"];
const ALSO_IN_SCOPE: &[&str] = &[
    "attempts_by_msg_missing",
    "cloud_only_",
    "double_slash_path",
    "endpoint_",
    "event_type_",
    "recover",
    "resend",
    "send_example",
];

const OUT_OF_SCOPE: &[(&str, &str)] = &[
    ("attempt", "nothing is sent, so no attempt ever fails or takes long; their shape is held in sandbox/attempts.rs"),
    ("endpoint_create_bad_secret", "the recording hides what is bad about it"),
    ("endpoint_stats", "nothing is delivered, so there is nothing to count"),
    ("idem_", "idempotency-key is ignored"),
    ("memory_queue_", "there is no queue to lose"),
    ("pg_", "there is no database to stop; script a fault with a status or a delay"),
    ("redis_", "there is no cache or queue to stop; script a fault"),
    ("shutdown_", "about a process ending; the sandbox's own end is tested in sandbox.rs"),
];

/// Cases a foreign server cannot be asked: each needs a token signed with its secret.
const NEEDS_THE_SECRET: &[&str] = &[
    "auth_app_token_",
    "auth_bad_sub",
    "auth_expired_",
    "auth_jwt_secret_as_token",
    "auth_missing_sub",
    "auth_no_exp",
    "auth_other_org_",
];

/// State the recording presupposes without showing how it came about.
const BEFORE: &[(&str, &str, &str, &str)] = &[
    (
        "msg_expunge",
        "POST",
        "/api/v1/app/cust-941066/msg",
        r#"{"eventType":"user.created","eventId":"exp-941066","payload":{"a":1}}"#,
    ),
    (
        "msg_create_fail_delivery",
        "POST",
        "/api/v1/app/cust-941066/endpoint",
        r#"{"url":"http://x.example","uid":"epf-941066"}"#,
    ),
    ("app_create_uid_dotdot", "DELETE", "/api/v1/app/..", ""),
    ("app_uid_case_sensitive", "DELETE", "/api/v1/app/CaseX", ""),
    ("app_uid_case_sensitive", "POST", "/api/v1/app", r#"{"name":"x","uid":"CaseX"}"#),
    (
        "msg_event_id_case_sensitive",
        "POST",
        "/api/v1/app/CaseX/msg",
        r#"{"eventType":"user.created","eventId":"Evt-1","payload":{"a":1}}"#,
    ),
];

/// What the recording hides, and a value that will do as well.
const HIDDEN: (&str, &str) = ("whsec_EXAMPLE", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");

/// When the recording recovered from; Svix goes back 14 days at most, so another run must ask for a later time.
const RECENT: &str = "2026-11-23T19:51:18Z";

/// In every name of the recording, and replaced by another number when a server that remembers is asked.
const RUN: &str = "941066";

struct Target {
    authority: String,
    token: String,
    run: String,
    live: bool,
}

#[derive(Debug, PartialEq)]
enum Scope {
    In,
    Out(&'static str),
    Unlisted,
}

/// The longest prefix decides.
fn scope(name: &str) -> Scope {
    let listed = IN_SCOPE.iter().chain(ALSO_IN_SCOPE).map(|prefix| (*prefix, Scope::In));
    let listed = listed.chain(OUT_OF_SCOPE.iter().map(|(prefix, why)| (*prefix, Scope::Out(why))));
    let hits = listed.filter(|(prefix, _)| name.starts_with(prefix));
    hits.max_by_key(|(prefix, _)| prefix.len()).map_or(Scope::Unlisted, |(_, scope)| scope)
}

async fn target() -> Target {
    let var = |name: &str| std::env::var(name).ok();
    if let (Some(url), Some(token)) = (var("HOOKBRO_TEST_SVIX_URL"), var("HOOKBRO_TEST_SVIX_TOKEN")) {
        let authority = url.strip_prefix("http://").expect("HOOKBRO_TEST_SVIX_URL starts with http://");
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let run = format!("{:06}", seconds % 1_000_000);
        return Target { authority: authority.trim_end_matches('/').to_owned(), token, run, live: true };
    }
    let pair = |token: &str, role| (token.to_owned(), role);
    let sandbox = Sandbox::new(Options {
        tokens: vec![("TOKEN".to_owned(), "org_1".to_owned()), ("other-org".to_owned(), "org_2".to_owned())],
        roles: vec![
            pair("app-token", Role::Application("org_1".to_owned())),
            pair("bad-sub", Role::BadSubject),
            pair("no-sub", Role::NoSubject),
            pair("JWT_SECRET", Role::SigningSecret),
        ],
        ..Options::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { sandbox.serve(listener, std::future::pending()).await });
    Target { authority, token: "TOKEN".to_owned(), run: RUN.to_owned(), live: false }
}

/// The recording writes `TOKEN` whatever the token was; the case's name says which it was.
fn token(case: &str, target: &Target) -> String {
    let prefixes = [
        ("auth_other_org_", "other-org"),
        ("auth_app_token_", "app-token"),
        ("auth_bad_sub", "bad-sub"),
        ("auth_missing_sub", "no-sub"),
        ("auth_expired_1", "expired"),
    ];
    match prefixes.iter().find(|(prefix, _)| case.starts_with(prefix)) {
        _ if case == "auth_bad_signature" => format!("{}x", target.token),
        Some((_, token)) => (*token).to_owned(),
        None => target.token.clone(),
    }
}

async fn replay(target: &Target, case: &Case, ids: &mut BTreeMap<String, String>) -> Result<(), String> {
    let rename = |text: &str| recorded::rename(&text.replace(RUN, &target.run), ids);
    for (_, method, path, body) in BEFORE.iter().filter(|(name, ..)| *name == case.name) {
        let auth = format!("Bearer {}", target.token);
        let headers = [("authorization", auth.as_str())];
        let sent = send(&target.authority, method, &rename(path), &headers, Some(rename(body).as_bytes())).await;
        sent.map_err(|err| format!("setting up: {err}"))?;
    }
    let token = token(&case.name, target);
    let headers: Vec<(String, String)> = case.headers(&token);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let recent = (Timestamp::now() - SignedDuration::from_hours(1)).to_string();
    let body = case.body(&|text: &str| rename(text).replace(HIDDEN.0, HIDDEN.1).replace(RECENT, &recent));
    let path = rename(&case.request.path);
    let answer = send(&target.authority, &case.request.method, &path, &headers, body.as_deref()).await;
    let answer = answer.map_err(|err| format!("no answer: {err}"))?;
    compare::learn(case, &answer, ids);
    let rename = |text: &str| recorded::rename(&text.replace(RUN, &target.run), ids);
    compare::check(case, &answer, &rename, target.live)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_recorded_case_is_answered_as_svix_answered_it() {
    let cases = recorded::all();
    let target = target().await;
    let mut ids = BTreeMap::new();
    let mut failures = Vec::new();
    let (mut replayed, mut left_out) = (0, BTreeMap::<&str, usize>::new());
    for name in ORDER.lines() {
        let case = cases.get(name).unwrap_or_else(|| panic!("{name} is in order.txt and has no recording"));
        match scope(name) {
            Scope::Unlisted => failures.push(format!("{name}: neither in scope nor listed as out of scope")),
            Scope::Out(why) => *left_out.entry(why).or_default() += 1,
            Scope::In if target.live && NEEDS_THE_SECRET.iter().any(|prefix| name.starts_with(prefix)) => {
                *left_out.entry("needs a token signed with the server's secret").or_default() += 1;
            }
            Scope::In => {
                replayed += 1;
                if let Err(why) = replay(&target, case, &mut ids).await {
                    failures.push(format!("{name}: {why}"));
                }
            }
        }
    }
    println!("{replayed} cases replayed against {}; left out:", target.authority);
    left_out.iter().for_each(|(why, count)| println!("  {count:3}  {why}"));
    assert!(failures.is_empty(), "{} of {replayed} cases differ:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(replayed + left_out.values().sum::<usize>(), cases.len(), "a case was skipped silently");
}

#[test]
fn every_recording_has_its_place_in_the_order() {
    let listed: Vec<&str> = ORDER.lines().collect();
    let missing: Vec<String> = recorded::all().into_keys().filter(|name| !listed.contains(&name.as_str())).collect();
    assert!(missing.is_empty(), "recorded, and not in order.txt: {missing:?}");
}

#[test]
fn every_line_of_the_scope_tables_is_needed() {
    let prefixes = IN_SCOPE.iter().chain(ALSO_IN_SCOPE).chain(OUT_OF_SCOPE.iter().map(|(prefix, _)| prefix));
    for prefix in prefixes.chain(NEEDS_THE_SECRET) {
        assert!(ORDER.lines().any(|name| name.starts_with(prefix)), "{prefix} matches no case");
    }
}
