//! What operators change through `/api/v1`: dead letters, on the real broker, counted event by event; deliveries by Svix, in
//! the sandbox. All of it is written down.

use crate::support::{
    SOON,
    events::{Sample, generated},
    hookbro::{Hookbro, command},
    store::Store,
    until,
    world::World,
};
use serde_json::{Value, json};
use svix_sandbox::{Fault, FaultKind, RequestKind};

/// `printf %s one | sha256sum | cut -c1-12`
const ONE: &str = "token:7692c3ad3540";

/// An answer to a change asked for with a token, if one is given, and further headers.
async fn asked(hookbro: &Hookbro, path: &str, body: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}/api/v1{path}", hookbro.url())).body(body.to_owned());
    let json = ("content-type", "application/json");
    let json = headers.iter().all(|(name, _)| *name != json.0).then_some(&json);
    let request = headers.iter().chain(json).fold(request, |request, (name, value)| request.header(*name, *value));
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

async fn changed(hookbro: &Hookbro, path: &str, body: Value) -> (u16, Value) {
    let headers = [("authorization", "Bearer one"), ("x-hookbro-user", "anna")];
    asked(hookbro, path, &body.to_string(), &headers).await
}

fn ids(events: &Value) -> Vec<&str> {
    let mut ids: Vec<_> = events.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn of<'s>(samples: &'s [Sample], project: &str) -> Vec<&'s str> {
    let mut ids: Vec<_> = samples.iter().filter(|one| one.project == project).map(|one| one.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_read_replayed_and_discarded_each_once_and_written_down() {
    let world = World::new("operate").await.with("admin.tokens", "one,two");
    let state = tempfile::tempdir().unwrap();
    let environment = [("STATE_DIRECTORY", state.path().to_str().unwrap())];
    let hookbro = Hookbro::ready_with(world.settings(), &environment).await;
    let samples = generated("op", &["keep", "again", "gone"], 90);
    world.all_too_large(&samples).await;
    // Reading: by filter, page by page, and nothing is moved by it.
    let (status, page) = hookbro.api("/dead?project=again&limit=20", Some("two")).await;
    assert_eq!((status, &page["total"], page["events"].as_array().unwrap().len()), (200, &json!(30), 20), "{page}");
    let next = page["next"].as_str().unwrap();
    let (_, rest) = hookbro.api(&format!("/dead?project=again&limit=20&cursor={next}"), Some("two")).await;
    let both = [page["events"].as_array().unwrap().clone(), rest["events"].as_array().unwrap().clone()].concat();
    assert_eq!((ids(&json!(both)), &rest["next"]), (of(&samples, "again"), &Value::Null));
    assert_eq!(page["events"][0]["reason"], "too_large");
    assert!(page["events"][0].get("body").is_none(), "{page}");
    let one = &samples[0];
    let (_, shown) = hookbro.api(&format!("/dead/{}", one.id), Some("one")).await;
    assert_eq!(shown["events"][0]["id"], one.id.as_str());
    assert_eq!(shown["events"][0]["properties"]["headers"]["x-hookbro-reason"], "too_large", "{shown}");
    assert_eq!(hookbro.api("/dead/nobody", Some("one")).await.0, 404);

    // Without `confirm` it is only said.
    let again = json!({"filter": {"project": ["again"]}});
    let (status, answered) = changed(&hookbro, "/dead/replay", again.clone()).await;
    assert_eq!((status, &answered["events"], &answered["confirmed"]), (200, &json!(30), &json!(false)), "{answered}");
    assert!(answered["note"].as_str().unwrap().contains("duplicate"), "{answered}");
    assert_eq!(world.broker.ready_dead().await, 90);

    let (status, answered) =
        changed(&hookbro, "/dead/replay", json!({"filter": again["filter"], "confirm": true})).await;
    assert_eq!((status, &answered["events"], &answered["confirmed"]), (200, &json!(30), &json!(true)), "{answered}");
    let replayed: Vec<_> = samples.iter().filter(|one| one.project == "again").cloned().collect();
    world.arrive(&replayed).await;
    let (status, answered) =
        changed(&hookbro, "/dead/discard", json!({"filter": {"project": ["gone"]}, "confirm": true})).await;
    assert_eq!((status, &answered["events"]), (200, &json!(30)), "{answered}");
    let file = std::path::PathBuf::from(answered["file"].as_str().unwrap());
    assert_eq!(file.parent(), Some(state.path()));
    let lines = std::fs::read_to_string(&file).unwrap();
    let written: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(ids(&json!(written)), of(&samples, "gone"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let (_, left) = hookbro.api("/dead?limit=200", Some("one")).await;
    assert_eq!((ids(&left["events"]), &left["total"]), (of(&samples, "keep"), &json!(30)));
    assert_eq!(world.svix.sandbox.message_count(), 30, "nothing but the replayed came to Svix, each once");

    let (_, job) = hookbro.api("/dead/job", Some("one")).await;
    assert_eq!((&job["job"]["action"], &job["job"]["state"]), (&json!("discard"), &json!("done")), "{job}");
    let (_, audit) = hookbro.api("/audit", Some("one")).await;
    let answered: Vec<_> = audit["changes"].as_array().unwrap().iter().collect();
    assert_eq!(answered.len(), 2, "what was only asked is no change: {audit}");
    for (change, action, project) in [(answered[0], "dead.discard", "gone"), (answered[1], "dead.replay", "again")] {
        assert_eq!(change["who"], json!({"identity": ONE, "claimed": "anna"}), "{change}");
        assert_eq!((&change["action"], &change["project"]), (&json!(action), &json!(project)));
        assert_eq!((&change["outcome"], &change["detail"]), (&json!("done"), &json!(format!("project {project}"))));
    }
    assert!(answered[1]["outcome_detail"].as_str().unwrap().contains("replayed 30 events"), "{audit}");
    assert!(!hookbro.whole_log().contains("Bearer"), "no token in the log");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_refused_without_a_token_and_where_it_is_unclear_what_is_meant() {
    let world = World::new("opauth").await.with("admin.tokens", "one");
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated("oa", &["a"], 3);
    world.all_too_large(&samples).await;
    let all = r#"{"all": true, "confirm": true}"#;
    let one = ("authorization", "Bearer one");
    for (body, headers, expected) in [
        (all, &[][..], 401),
        (all, &[("authorization", "Bearer two")], 401),
        (all, &[one, ("content-type", "text/plain")], 415),
        (all, &[one, ("content-type", "application/x-www-form-urlencoded")], 415),
        (all, &[one, ("x-hookbro-user", "a\tb")], 400),
        ("{}", &[one], 422),
        (r#"{"confirm": true}"#, &[one], 422),
        (r#"{"all": true, "filter": {"id": ["x"]}}"#, &[one], 422),
        (r#"{"filter": {}, "confirm": true}"#, &[one], 422),
        (r#"{"filter": {"id": []}, "confirm": true}"#, &[one], 422),
        (r#"{"filter": {"project": ["a"], "id": []}, "confirm": true}"#, &[one], 422),
        (r#"{"filter": {"colour": ["red"]}, "confirm": true}"#, &[one], 422),
        (r#"{"all": true, "comfirm": true}"#, &[one], 422),
        ("all", &[one], 400),
    ] {
        let (status, problem) = asked(&hookbro, "/dead/discard", body, headers).await;
        assert_eq!((status, &problem["status"]), (expected, &json!(expected)), "{body} {headers:?}: {problem}");
    }
    assert_eq!(hookbro.api("/dead/discard", Some("one")).await.0, 405, "a link changes nothing");
    assert_eq!(world.broker.ready_dead().await, 3);
    assert_eq!(hookbro.api("/audit", Some("one")).await.1["changes"], json!([]));
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tokens_no_web_page_changes_anything_and_without_a_journal_nobody() {
    let world = World::new("oplocal").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated("ol", &["a"], 2);
    world.all_too_large(&samples).await;
    let all = r#"{"all": true, "confirm": true}"#;
    for headers in
        [&[("sec-fetch-site", "cross-site")][..], &[("host", "evil.example")], &[("x-forwarded-for", "192.0.2.1")]]
    {
        assert_eq!(asked(&hookbro, "/dead/discard", all, headers).await.0, 403, "{headers:?}");
    }
    // What a browser asks before it sends JSON to another site is not granted.
    let preflight =
        reqwest::Client::new().request(reqwest::Method::OPTIONS, format!("{}/api/v1/dead/discard", hookbro.url()));
    let answer = preflight.header("origin", "https://evil.example").send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 405);
    assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
    hookbro.stop().await;

    let world = world.with("journal.url", "off");
    let hookbro = Hookbro::ready(world.settings()).await;
    let (status, problem) = asked(&hookbro, "/dead/discard", all, &[]).await;
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("journal.url"), "{problem}");
    assert_eq!(world.broker.ready_dead().await, 2);
    let (status, answered) = asked(&hookbro, "/dead/discard", r#"{"all": true}"#, &[]).await;
    assert_eq!((status, &answered["events"]), (200, &json!(2)), "asking changes nothing");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_tell_one_story_of_who_did_what_in_postgres() {
    let Some(mut store) = Store::server() else { return };
    let world = World::new("oppg").await.with("journal.url", &store.url);
    let replicas = [Hookbro::ready(world.settings()).await, Hookbro::ready(world.settings()).await];
    let samples = generated("pg", &["a", "b"], 4);
    world.all_too_large(&samples).await;
    for (replica, project) in replicas.iter().zip(["a", "b"]) {
        let body = json!({"filter": {"project": [project]}, "confirm": true});
        let (status, answered) =
            asked(replica, "/dead/replay", &body.to_string(), &[("x-hookbro-user", project)]).await;
        assert_eq!((status, &answered["events"]), (200, &json!(2)), "{answered}");
    }
    world.arrive(&samples).await;
    for replica in &replicas {
        let (_, audit) = replica.api("/audit", None).await;
        let answered: Vec<_> =
            audit["changes"].as_array().unwrap().iter().map(|one| (&one["project"], &one["who"])).collect();
        let who = |name: &str| json!({"identity": "local", "claimed": name});
        assert_eq!(answered, [(&json!("b"), &who("b")), (&json!("a"), &who("a"))]);
    }
    // With the store away nothing is changed.
    store.stop();
    let (status, problem) = asked(&replicas[0], "/dead/replay", r#"{"all": true, "confirm": true}"#, &[]).await;
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().starts_with("nothing was changed"), "{problem}");
    assert!(store.start());
    for replica in replicas {
        replica.stop().await;
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_of_the_command_line_keeps_the_api_waiting_and_takes_nothing_from_it() {
    let world = World::new("opbusy").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated("ob", &["a"], 40);
    world.all_too_large(&samples).await;
    // Two events a second: the queue is in its hand for many seconds.
    let mut slow = command(&["dead", "replay", "--all", "--yes", "--rate", "2"], world.settings()).spawn().unwrap();
    until("some are replayed", SOON, async || (!world.svix.sandbox.messages().is_empty()).then_some(())).await;
    let (status, problem) = hookbro.api("/dead", None).await;
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("another process"), "{problem}");
    slow.kill().unwrap();
    slow.wait().unwrap();
    let page = until("the queue is free", SOON, async || {
        let (status, page) = hookbro.api("/dead?limit=200", None).await;
        (status == 200).then_some(page)
    })
    .await;
    let arrived = world.svix.sandbox.message_count();
    let total = page["total"].as_u64().unwrap();
    // At least once: what was replayed and not yet taken out is in both.
    assert!(total + arrived as u64 >= 40, "{total} left, {arrived} arrived");
    let (status, answered) = asked(&hookbro, "/dead/replay", r#"{"all": true, "confirm": true}"#, &[]).await;
    assert_eq!((status, answered["events"].as_u64()), (200, Some(total)), "{answered}");
    world.arrive(&samples).await;
    hookbro.stop().await;
    world.end().await;
}

/// Asks Svix itself, as whoever sets up an endpoint does.
async fn at_svix(world: &World, path: &str, body: Value) -> Value {
    let request = reqwest::Client::new().post(format!("{}/api/v1{path}", world.svix.url()));
    let request = request.bearer_auth(crate::support::svix::TOKEN).header("content-type", "application/json");
    let response = request.body(body.to_string()).send().await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    serde_json::from_str(&response.text().await.unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn svix_tests_resends_and_recovers_as_it_is_told_and_what_it_refuses_is_said() {
    let world = World::new("opendpoints").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = generated("oh", &["gigs"], 1).remove(0);
    world.publish_one(&event).await;
    world.arrive(std::slice::from_ref(&event)).await;
    let example = json!({"name": "t.example", "description": "", "schemas": {"1": {"examples": [{"n": 7}]}}});
    at_svix(&world, "/event-type", example).await;
    at_svix(&world, "/event-type", json!({"name": "t.bare", "description": ""})).await;
    let wish = json!({"url": "https://example.com/hook", "uid": "ep-one", "filterTypes": ["t.example"]});
    let made = at_svix(&world, "/app/gigs/endpoint", wish).await;

    let (status, page) = hookbro.api("/projects/gigs/endpoints", None).await;
    let expected =
        json!({"id": made["id"], "url": "https://example.com/hook", "disabled": false, "event_types": ["t.example"]});
    assert_eq!((status, &page["endpoints"][0]), (200, &expected), "{page}");
    assert_eq!(hookbro.api("/projects/nobody/endpoints", None).await.0, 404);

    let ask = async |path: &str, body: Value| asked(&hookbro, path, &body.to_string(), &[]).await;
    let (status, answered) = ask("/projects/gigs/endpoints/ep-one/test", json!({})).await;
    assert_eq!((status, &answered["type"]), (200, &json!("svix.ping")), "{answered}");
    let (status, answered) = ask("/projects/gigs/endpoints/ep-one/test", json!({"type": "t.example"})).await;
    assert_eq!(status, 200, "{answered}");
    let sent = world.svix.sandbox.messages();
    let sent = sent.iter().find(|message| message.event_type == "t.example").unwrap();
    assert_eq!((&answered["message_id"], &sent.payload[..]), (&json!(sent.id), &b"{\"n\":7}"[..]));
    let (status, answered) =
        ask(&format!("/events/{}/resend", event.id), json!({"project": "gigs", "endpoint": "ep-one"})).await;
    assert_eq!((status, &answered["id"]), (202, &json!(event.id)), "{answered}");
    let hour_ago = (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1)).to_string();
    let (status, answered) = ask("/projects/gigs/endpoints/ep-one/recover", json!({"since": hour_ago})).await;
    assert_eq!(status, 202, "{answered}");
    assert!(answered["task_id"].as_str().unwrap().starts_with("qtask_"), "{answered}");
    let (status, link) = ask("/projects/gigs/portal", json!({})).await;
    assert_eq!(status, 200, "{link}");
    assert!(link["note"].as_str().unwrap().contains("no customer portal"), "{link}");
    let kinds: Vec<_> = world.svix.sandbox.requests().into_iter().map(|line| line.kind).collect();
    let calls = |kind: RequestKind| kinds.iter().filter(|one| **one == kind).count();
    assert_eq!(calls(RequestKind::SendExample), 2);
    assert_eq!((calls(RequestKind::Resend), calls(RequestKind::Recover), calls(RequestKind::Portal)), (1, 1, 1));

    for (path, body, expected, says) in [
        ("/projects/gigs/endpoints/ep-one/test", json!({"type": "t.none"}), 404, "event type"),
        ("/projects/gigs/endpoints/ep-one/test", json!({"type": "t.bare"}), 422, "400"),
        ("/projects/gigs/endpoints/ep-two/test", json!({}), 404, "endpoint"),
        ("/projects/gigs/endpoints/ep-one/recover", json!({"since": "2020-01-01T00:00:00Z"}), 422, "since"),
        ("/projects/gigs/endpoints/ep-one/recover", json!({}), 422, "since"),
        ("/projects/nobody/portal", json!({}), 404, "application"),
        ("/projects/app_x/portal", json!({}), 400, "project"),
        ("/events/evt_none/resend", json!({"project": "gigs", "endpoint": "ep-one"}), 404, "message"),
        ("/events/evt_none/resend", json!({"project": "gigs"}), 422, "endpoint"),
    ] {
        let (status, problem) = ask(path, body).await;
        assert_eq!(status, expected, "{path}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{path}: {problem}");
    }
    let away = Fault { status: Some(401), kind: FaultKind::Any, ..Fault::default() };
    world.svix.sandbox.add_fault(away);
    let (status, problem) = ask("/projects/gigs/endpoints/ep-one/test", json!({})).await;
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("svix.token"), "{problem}");

    let (_, audit) = hookbro.api("/audit?project=gigs&limit=200", None).await;
    let changes = audit["changes"].as_array().unwrap();
    let done: Vec<_> = changes.iter().rev().filter(|one| one["outcome"] == "done").map(|one| &one["action"]).collect();
    assert_eq!(done, ["endpoint.test", "endpoint.test", "event.resend", "endpoint.recover", "portal.link"]);
    let failed = changes.iter().filter(|one| one["outcome"] == "failed").count();
    assert_eq!(failed + done.len(), changes.len(), "{audit}");
    assert_eq!(failed, 6, "what never got as far as Svix is no change");
    let url = link["url"].as_str().unwrap();
    assert!(!audit.to_string().contains(url) && !hookbro.whole_log().contains(url), "a link is a secret");
    hookbro.stop().await;
    world.end().await;
}
