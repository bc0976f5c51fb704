//! Nothing settles without proof: what Svix stored and calls nobody for, conflicts that are none, and acceptances of something
//! else.

use crate::support::{
    SOON,
    events::{Sample, generated, one},
    hookbro::Hookbro,
    ledger,
    svix::TOKEN,
    until,
    world::World,
};
use serde_json::{Value, json};
use std::time::Duration;
use svix_sandbox::{Fault, FaultKind, Trigger};

/// So many rungs that a test of retries never runs out of them.
const RUNGS: &str = "200ms,200ms,300ms,300ms,400ms,400ms";

/// Calls Svix's API as an operator does.
async fn ask(world: &World, method: &str, path: &str, body: Value) -> Value {
    let method = method.parse().unwrap();
    let request = reqwest::Client::new().request(method, format!("{}/api/v1{path}", world.svix.url()));
    let answer = request.bearer_auth(TOKEN).body(body.to_string()).send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap()
}

/// An application of this name with one endpoint; answers the endpoint's id.
async fn with_endpoint(world: &World, app: &str, endpoint: Value) -> String {
    ask(world, "POST", "/app?get_if_exists=true", json!({"name": app, "uid": app})).await;
    let made = ask(world, "POST", &format!("/app/{app}/endpoint"), endpoint).await;
    made["id"].as_str().unwrap().to_owned()
}

fn hook() -> Value {
    json!({"url": "https://receiver.example/hook"})
}

/// The calls of each of these events at its endpoints, counted one by one.
fn called(world: &World, events: &[Sample]) -> Vec<(String, usize)> {
    let messages = world.svix.sandbox.messages();
    let count = |event: &Sample| {
        let mine = |m: &&svix_sandbox::StoredMessage| m.event_id.as_ref() == Some(&event.id);
        messages.iter().filter(mine).map(|message| message.attempts.len()).sum()
    };
    events.iter().map(|event| (event.id.clone(), count(event))).collect()
}

async fn all_called(world: &World, hookbro: &Hookbro, events: &[Sample]) {
    until("every event is called for", SOON, async || {
        called(world, events).iter().all(|(_, calls)| *calls > 0).then_some(())
    })
    .await;
    idle(hookbro, world).await;
    assert_eq!(world.broker.ready_dead().await, 0);
}

async fn idle(hookbro: &Hookbro, world: &World) {
    until("all is settled", SOON, async || {
        let idle = hookbro.metric("hookbro_events_in_flight").await == 0.0;
        (idle && world.broker.ready(&world.broker.queue).await == Some(0)).then_some(())
    })
    .await;
}

async fn settled(hookbro: &Hookbro, outcome: &str) -> f64 {
    hookbro.metric(&format!("hookbro_events_settled_total{{outcome=\"{outcome}\"}}")).await
}

fn undispatched(fault: Fault) -> Fault {
    Fault { after_commit: true, undispatched: true, ..fault }
}

#[tokio::test(flavor = "multi_thread")]
async fn hookbro_killed_between_commit_and_queue_leaves_no_event_that_nobody_is_called_for() {
    let world = World::new("undispatched").await.with("retry.delays", RUNGS).with("svix.timeout", "2s");
    for app in ["gigs", "dev"] {
        with_endpoint(&world, app, hook()).await;
    }
    // Every call is for a while between the two; some end there whatever their caller does.
    let sandbox = &world.svix.sandbox;
    sandbox.add_fault(undispatched(Fault { drop: true, share: Some(0.02), times: Some(10), ..Fault::default() }));
    sandbox.add_fault(undispatched(Fault { reset: true, share: Some(0.02), times: Some(10), ..Fault::default() }));
    let hang = Duration::from_secs(30);
    sandbox.add_fault(undispatched(Fault { delay: hang, share: Some(0.01), times: Some(5), ..Fault::default() }));
    sandbox.add_fault(undispatched(Fault { delay: Duration::from_millis(100), ..Fault::default() }));
    let events = generated("undispatched", &["gigs", "dev"], 1_500);
    let mut hookbro = Hookbro::ready(world.settings()).await;
    let publishing = world.publish(&events);
    let killing = async {
        for stored in [200, 500, 800] {
            until("it is in the middle", SOON, async || (sandbox.message_count() >= stored).then_some(())).await;
            hookbro.kill();
            hookbro = Hookbro::ready(world.settings()).await;
        }
        hookbro
    };
    let ((), hookbro) = tokio::join!(publishing, killing);
    all_called(&world, &hookbro, &events).await;
    ledger::check(&world.svix, &events);
    let rescued = hookbro.metric("hookbro_events_rescued_total").await;
    // A kill may leave two copies of an event, and each may find that nobody was called yet.
    let manual = |message: &svix_sandbox::StoredMessage| {
        message.attempts.iter().filter(|attempt| attempt.trigger == Trigger::Manual).count()
    };
    let sent: usize = sandbox.messages().iter().map(manual).sum();
    assert!(rescued > 0.0 && sent >= rescued as usize, "{rescued} rescued, {sent} sent again");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_is_counted_and_told_in_the_timeline() {
    let world = World::new("rescued").await;
    let endpoint = with_endpoint(&world, "gigs", hook()).await;
    world.svix.sandbox.add_fault(undispatched(Fault { drop: true, times: Some(1), ..Fault::default() }));
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = one("rescued", "gigs");
    world.publish_one(&event).await;
    let timeline = until("it is settled", SOON, async || {
        let (status, timeline) = hookbro.api(&format!("/events/{}", event.id), None).await;
        (status == 200 && timeline["outcome"] == "duplicate").then_some(timeline)
    })
    .await;
    // Broken off, too young to say, and on the last rung sent again.
    let outcomes: Vec<_> = timeline["attempts"].as_array().unwrap().iter().map(|one| one["outcome"].clone()).collect();
    assert_eq!(outcomes, ["retried", "retried", "duplicate"], "{timeline}");
    assert!(
        timeline["attempts"][1]["detail"].as_str().unwrap().starts_with("stored by Svix, not yet dispatched"),
        "{timeline}"
    );
    let last = &timeline["attempts"][2];
    assert_eq!((&last["reason"], &last["detail"]), (&json!("rescued"), &json!("Svix sends it to 1 endpoint now")));
    assert_eq!(last["message_id"], timeline["svix"]["message"]["id"]);
    assert_eq!(timeline["svix"]["attempts"][0]["endpoint_id"], endpoint.as_str());
    assert_eq!(hookbro.metric("hookbro_events_rescued_total").await, 1.0);
    assert_eq!(called(&world, std::slice::from_ref(&event)), [(event.id.clone(), 1)]);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_tells_no_endpoint_from_one_that_was_not_called() {
    let world = World::new("nobody").await.with("retry.delays", "20m");
    with_endpoint(&world, "waits", hook()).await;
    with_endpoint(&world, "off", json!({"url": "https://x.example", "disabled": true})).await;
    with_endpoint(&world, "other", json!({"url": "https://x.example", "channels": ["elsewhere"]})).await;
    let waits = Some("waits".to_owned());
    world.svix.sandbox.add_fault(undispatched(Fault { drop: true, app: waits, times: Some(1), ..Fault::default() }));
    let hookbro = Hookbro::ready(world.settings()).await;
    for (project, outcome, expected) in [
        ("waits", "retried", "not_dispatched"),
        ("off", "delivered", "endpoints_disabled"),
        ("other", "delivered", "filtered"),
        ("none", "delivered", "no_endpoint"),
    ] {
        let event = one(&format!("nobody{project}"), project);
        world.publish_one(&event).await;
        let timeline = until("the timeline says so", SOON, async || {
            let (status, timeline) = hookbro.api(&format!("/events/{}", event.id), None).await;
            (status == 200 && timeline["outcome"] == outcome).then_some(timeline)
        })
        .await;
        assert_eq!(timeline["svix"]["undispatched"], expected, "{timeline}");
        assert_eq!(timeline["svix"]["reason"], Value::Null, "{timeline}");
    }
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_an_application_without_a_taker_says_so_and_is_settled() {
    let world = World::new("notaker").await;
    with_endpoint(&world, "gigs", json!({"url": "https://x.example", "disabled": true})).await;
    world.svix.sandbox.add_fault(undispatched(Fault { drop: true, times: Some(1), ..Fault::default() }));
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = one("notaker", "gigs");
    world.publish_one(&event).await;
    let timeline = until("it is settled", SOON, async || {
        let (status, timeline) = hookbro.api(&format!("/events/{}", event.id), None).await;
        (status == 200 && timeline["outcome"] == "duplicate").then_some(timeline)
    })
    .await;
    // At once: there is nobody to wait for.
    assert_eq!(timeline["attempts"][1]["reason"], "endpoints_disabled", "{timeline}");
    assert_eq!(hookbro.metric("hookbro_events_rescued_total").await, 0.0);
    hookbro.stop().await;
    world.end().await;
}

/// Nothing of these answers may settle an event.
/// `shown`: the series by which operators see that something is wrong.
async fn acknowledges_nothing(name: &str, fault: Fault, shown: &str) {
    let world = World::new(name).await.with("retry.delays", "500ms,500ms");
    let events = generated(name, &["gigs"], 60);
    with_endpoint(&world, "gigs", hook()).await;
    let fault = world.svix.sandbox.add_fault(fault);
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish(&events).await;
    until("it is shown", SOON, async || (hookbro.metric(shown).await == 1.0).then_some(())).await;
    assert_eq!((settled(&hookbro, "delivered").await, settled(&hookbro, "duplicate").await), (0.0, 0.0));
    assert_eq!(world.broker.ready_dead().await, 0);
    world.svix.sandbox.remove_fault(fault);
    world.arrive(&events).await;
    all_called(&world, &hookbro, &events).await;
    ledger::check(&world.svix, &events);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_s_conflict_acknowledges_nothing() {
    let body = Some(r#"{"detail":"x"}"#.to_owned());
    acknowledges_nothing(
        "gateway409",
        Fault { status: Some(409), body, ..Fault::default() },
        "hookbro_paused{reason=\"not_svix\"}",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_of_another_event_delivers_nothing() {
    let body = Some(r#"{"id":"msg_1","eventId":"evt_of_somebody_else","eventType":"t","payload":{}}"#.to_owned());
    acknowledges_nothing(
        "foreign202",
        Fault { status: Some(202), body, ..Fault::default() },
        "hookbro_paused{reason=\"not_svix\"}",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptance_without_the_event_s_id_delivers_nothing() {
    let body = Some(r#"{"id":"msg_2srOrx2ZWZBpBUvZwXKQmoEY"}"#.to_owned());
    acknowledges_nothing(
        "idonly200",
        Fault { status: Some(200), body, ..Fault::default() },
        "hookbro_paused{reason=\"not_svix\"}",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conflict_with_a_message_that_is_not_there_acknowledges_nothing() {
    let body = Some(r#"{"code":"conflict","detail":"A conflict has occurred"}"#.to_owned());
    acknowledges_nothing("hollow409", Fault { status: Some(409), body, ..Fault::default() }, "hookbro_circuits_open")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_event_under_the_same_id_is_a_dead_letter_and_the_same_one_a_duplicate() {
    let world = World::new("mismatch").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = one("mismatch", "gigs");
    let other =
        Sample { body: String::from_utf8(event.body.to_vec()).unwrap().replace("1.10", "2.5").into(), ..event.clone() };
    world.publish_one(&event).await;
    world.arrive(std::slice::from_ref(&event)).await;
    world.publish_one(&event).await;
    until("it is a duplicate", SOON, async || (settled(&hookbro, "duplicate").await == 1.0).then_some(())).await;
    world.publish_one(&other).await;
    let dead = world.given_up().await;
    assert_eq!((dead.header("x-hookbro-reason").as_deref(), dead.body.as_slice()), (Some("conflict"), &other.body[..]));
    assert_eq!(hookbro.metric("hookbro_events_dead_total{reason=\"conflict\"}").await, 1.0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_svix_lets_nobody_look_a_repeat_is_settled_counted_and_told() {
    let world = World::new("unchecked").await;
    with_endpoint(&world, "gigs", hook()).await;
    world.svix.sandbox.add_fault(undispatched(Fault { drop: true, times: Some(1), ..Fault::default() }));
    let body = Some(r#"{"code":"insufficient access","detail":"Insufficient access"}"#.to_owned());
    world.svix.sandbox.add_fault(Fault { kind: FaultKind::Proof, status: Some(403), body, ..Fault::default() });
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = one("unchecked", "gigs");
    world.publish_one(&event).await;
    until("it is settled", SOON, async || (settled(&hookbro, "duplicate").await == 1.0).then_some(())).await;
    assert_eq!(hookbro.metric("hookbro_events_unchecked_total").await, 1.0);
    assert_eq!(hookbro.logged("could not be checked").len(), 1);
    assert_eq!(hookbro.metric("hookbro_paused{reason=\"auth\"}").await, 0.0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_svix_that_cannot_be_asked_for_proof_is_a_failure_or_a_halt_and_the_event_waits() {
    for (name, status, body) in [("prooffail", 500, "{}"), ("proofauth", 401, "")] {
        let world = World::new(name).await.with("retry.delays", RUNGS);
        with_endpoint(&world, "gigs", hook()).await;
        let sandbox = &world.svix.sandbox;
        sandbox.add_fault(undispatched(Fault { drop: true, times: Some(1), ..Fault::default() }));
        let (status, body, times) = (Some(status), Some(body.to_owned()), Some(2));
        sandbox.add_fault(Fault { kind: FaultKind::Proof, status, body, times, ..Fault::default() });
        let hookbro = Hookbro::ready(world.settings()).await;
        let event = one(name, "gigs");
        world.publish_one(&event).await;
        all_called(&world, &hookbro, std::slice::from_ref(&event)).await;
        until("it is settled", SOON, async || (settled(&hookbro, "duplicate").await == 1.0).then_some(())).await;
        assert_eq!(hookbro.metric("hookbro_events_rescued_total").await, 1.0);
        hookbro.stop().await;
        world.end().await;
    }
}
