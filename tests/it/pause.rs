//! When Svix as a whole is unusable: nothing is taken, nothing is spent, nothing dies, and it ends by itself.

use crate::support::{
    SOON,
    events::{generated, one},
    hookbro::Hookbro,
    ledger,
    svix::{TOKEN, TestSvix},
    until,
    world::World,
};
use std::{collections::BTreeMap, time::Duration};
use svix_sandbox::{Fault, Options, Outcome};

async fn paused(hookbro: &Hookbro, reason: &str) {
    let (series, what) = (format!("hookbro_paused{{reason=\"{reason}\"}}"), format!("paused: {reason}"));
    until(&what, SOON, async || (hookbro.metric(&series).await == 1.0).then_some(())).await;
}

/// Nothing was spent: every delivery was a first attempt, and nothing is dead.
async fn nothing_was_spent(world: &World, hookbro: &Hookbro) {
    assert_eq!(hookbro.metric("hookbro_events_received_total{attempt=\"2\"}").await, 0.0, "an attempt was spent");
    assert_eq!(hookbro.metric("hookbro_events_settled_total{outcome=\"retried\"}").await, 0.0);
    assert_eq!(world.broker.ready_dead().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_429_no_call_is_made_before_its_time_and_nothing_is_spent() {
    let world = World::new("throttle").await;
    let events = generated("throttle", &["gigs"], 300);
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish(&events[..100]).await;
    world.arrive(&events[..100]).await;
    let refusal = Fault { status: Some(429), retry_after: Some("2".into()), times: Some(1), ..Fault::default() };
    world.svix.sandbox.add_fault(refusal);
    world.publish(&events[100..]).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    let calls = world.svix.calls();
    let refused = calls.iter().find(|call| call.outcome == Outcome::Answered(429)).unwrap();
    let answered_at = refused.at + refused.elapsed;
    // Calls begun before hookbro could have read the answer were on their way already.
    let on_their_way = answered_at + Duration::from_millis(250);
    let early = calls.iter().filter(|c| c.at > on_their_way && c.at < answered_at + Duration::from_secs(2)).count();
    assert_eq!(early, 0, "calls within Retry-After");
    nothing_was_spent(&world, &hookbro).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_pauses_and_the_right_one_in_its_file_resumes_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "testsk_wrong\n").unwrap();
    let world = World::new("token").await.without("svix.token").with("svix.token_file", file.to_str().unwrap());
    let hookbro = Hookbro::ready(world.settings()).await;
    paused(&hookbro, "auth").await;
    assert_eq!(hookbro.status_of("/readyz").await, 200, "paused on purpose is ready");
    let events = generated("token", &["gigs", "dev"], 500);
    world.publish(&events).await;
    assert_eq!(world.broker.ready(&world.broker.queue).await, Some(500), "the broker keeps what cannot be sent");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    nothing_was_spent(&world, &hookbro).await;
    let log = hookbro.whole_log();
    assert!(!log.contains("testsk_"), "a token is in the log");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_turns_wrong_under_load_spends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let world = World::new("turns").await.without("svix.token").with("svix.token_file", file.to_str().unwrap());
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("turns", &["gigs"], 1_500);
    world.publish(&events[..500]).await;
    std::fs::write(&file, "testsk_wrong").unwrap();
    world.publish(&events[500..1_000]).await;
    // The same one each time: another payload under its id would be another event.
    let nudge = one("nudge", "gigs");
    until("the file was read", SOON, async || {
        world.publish_one(&nudge).await;
        (hookbro.metric("hookbro_paused{reason=\"auth\"}").await == 1.0).then_some(())
    })
    .await;
    world.publish(&events[1_000..]).await;
    std::fs::write(&file, TOKEN).unwrap();
    world.arrive(&events).await;
    nothing_was_spent(&world, &hookbro).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn svix_away_at_start_and_back_ends_the_halt_without_an_event_and_then_events_flow() {
    let mut world = World::new("idle").await;
    world.svix.go_away().await;
    let hookbro = Hookbro::ready(world.settings()).await;
    paused(&hookbro, "unreachable").await;
    assert_eq!(hookbro.status().await["svix"]["state"], "paused");
    world.svix.come_back().await;
    until("the halt is over", SOON, async || {
        (hookbro.metric("hookbro_paused{reason=\"unreachable\"}").await == 0.0).then_some(())
    })
    .await;
    let status = hookbro.status().await;
    assert_eq!(status["svix"]["state"], "ok");
    assert!(status["svix"]["detail"].as_str().unwrap().contains("first event"), "{status}");
    assert!(world.svix.calls().is_empty(), "no event was there to try");
    assert_eq!(hookbro.status_of("/readyz").await, 200);
    let events = generated("idle", &["gigs", "dev"], 300);
    world.publish(&events).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert!(hookbro.status().await["svix"]["detail"].is_null(), "an event was accepted");
    nothing_was_spent(&world, &hookbro).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn svix_away_for_20_seconds_loses_and_spends_nothing() {
    let mut world = World::new("away").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("away", &["gigs", "dev", "acme"], 3_000);
    world.publish(&events[..1_000]).await;
    world.svix.go_away().await;
    world.publish(&events[1_000..2_000]).await;
    paused(&hookbro, "unreachable").await;
    // The outage itself has to last: this one wait is what is tested.
    tokio::time::sleep(Duration::from_secs(20)).await;
    world.publish(&events[2_000..]).await;
    assert_eq!(world.broker.ready_dead().await, 0, "an outage kills nothing");
    world.svix.come_back().await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert_eq!(world.broker.ready_dead().await, 0);
    // Calls cut in the middle may have been stored; their repeats are 409, and nothing else is.
    let cut = world.svix.calls().iter().filter(|call| call.outcome == Outcome::Abandoned).count();
    assert!(world.svix.answered(409) <= cut + 1, "{} repeats for {cut} cut calls", world.svix.answered(409));
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_several_applications_halt_and_an_acceptance_resumes() {
    let world = World::new("inarow").await.with("retry.delays", "1s,1s,1s").with("broker.prefetch", "8");
    let hookbro = Hookbro::ready(world.settings()).await;
    // The probe is answered all the while: only message calls fail.
    let fault = world.svix.sandbox.add_fault(Fault { status: Some(500), body: Some("{}".into()), ..Fault::default() });
    let events = generated("inarow", &["gigs", "dev", "test"], 400);
    world.publish(&events).await;
    paused(&hookbro, "failing").await;
    let calls = world.svix.calls().len();
    assert!((20..=20 + 8 + 3).contains(&calls), "{calls} calls until the pause");
    until("more than one probe was made", SOON, async || (world.svix.calls().len() >= calls + 3).then_some(())).await;
    world.svix.sandbox.remove_fault(fault);
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_not_svix_pauses_and_is_not_followed() {
    let world = World::new("notsvix").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let html =
        Fault { content_type: Some("text/html".into()), body: Some("<html>hi</html>".into()), ..Fault::default() };
    let elsewhere = BTreeMap::from([("location".to_owned(), "http://127.0.0.1:1/".to_owned())]);
    let faults = [
        Fault { status: Some(200), times: Some(1), ..html.clone() },
        Fault { status: Some(302), times: Some(1), headers: elsewhere, ..html.clone() },
        Fault { status: Some(404), times: Some(1), ..Fault::default() },
        Fault { status: Some(407), times: Some(1), ..html },
    ];
    for (n, fault) in faults.into_iter().enumerate() {
        let id = world.svix.sandbox.add_fault(fault);
        let sample = one(&format!("page{n}"), "gigs");
        world.publish_one(&sample).await;
        paused(&hookbro, "not_svix").await;
        world.svix.sandbox.remove_fault(id);
        world.arrive(&[sample]).await;
    }
    nothing_was_spent(&world, &hookbro).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_the_configuration_names_is_never_provisioned() {
    let world = World::new("named").await.with("routing.apps", "gigs=elsewhere");
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish_one(&one("named", "gigs")).await;
    let dead = world.given_up().await;
    assert_eq!(dead.reason(), "unroutable");
    assert_eq!(dead.header("x-hookbro-status").as_deref(), Some("404"));
    assert!(world.svix.sandbox.applications().is_empty());
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_projects_are_given_up_where_the_operator_wants_that() {
    let world = World::new("unknown").await.with("routing.unknown_project", "dead_letter");
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish_one(&one("unknown", "nobody")).await;
    assert_eq!(world.given_up().await.reason(), "unroutable");
    assert!(world.svix.sandbox.applications().is_empty());
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_more_new_projects_than_the_limit_are_parked_and_others_go_on() {
    let mut world = World::new("limit").await.with("routing.provision_limit", "3");
    let hookbro = Hookbro::ready(world.settings()).await;
    let known = generated("known", &["known"], 40);
    world.publish(&known[..20]).await;
    world.arrive(&known[..20]).await;
    let projects: Vec<String> = (0..30).map(|n| format!("new{n}")).collect();
    let names: Vec<&str> = projects.iter().map(String::as_str).collect();
    let new = generated("limit", &names, 60);
    world.publish(&new).await;
    world.publish(&known[20..]).await;
    world.arrive(&known).await;
    let parked = async |hookbro: &Hookbro| hookbro.metric("hookbro_events_parked{reason=\"provisioning\"}").await;
    until("all but those of two projects are parked", SOON, async || (parked(&hookbro).await == 56.0).then_some(()))
        .await;
    assert_eq!(world.svix.sandbox.applications().len(), 3);
    let others = format!("{}.parked.~others", world.broker.queue);
    until("they share a queue", SOON, async || (world.broker.ready(&others).await? > 0).then_some(())).await;
    for name in &projects {
        let own = format!("{}.parked.{name}", world.broker.queue);
        assert_eq!(world.broker.ready(&own).await, None, "anybody can invent projects: {own} must not exist");
    }
    assert_eq!(hookbro.metric("hookbro_paused{reason=\"provisioning\"}").await, 0.0);
    assert_eq!(hookbro.metric("hookbro_circuits_open").await, 0.0, "no application fails");
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    assert_eq!(world.svix.sandbox.applications().len(), 3, "and so it stays");
    // Another process, which may create more, finds them.
    world = world.with("routing.provision_limit", "100");
    let hookbro = Hookbro::ready(world.settings()).await;
    let all = [known, new].concat();
    world.arrive(&all).await;
    ledger::check(&world.svix, &all);
    until("nothing is parked", SOON, async || (parked(&hookbro).await == 0.0).then_some(())).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organisations_token_pauses_instead_of_creating_applications_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, TOKEN).unwrap();
    let tokens = vec![(TOKEN.into(), "org_ours".into()), ("testsk_theirs".into(), "org_theirs".into())];
    let svix = TestSvix::with(Options { tokens, ..Options::default() }).await;
    let broker = crate::support::broker::Broker::shared("foreign");
    let world = World::of(broker, svix).without("svix.token").with("svix.token_file", file.to_str().unwrap());
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("foreign", &["gigs", "dev"], 40);
    world.publish(&events[..20]).await;
    world.arrive(&events[..20]).await;
    std::fs::write(&file, "testsk_theirs").unwrap();
    until("the file was read", SOON, async || (!hookbro.logged("secret changed").is_empty()).then_some(())).await;
    world.publish(&events[20..]).await;
    paused(&hookbro, "provisioning").await;
    assert!(world.svix.sandbox.applications().iter().all(|app| app.org == "org_ours"), "created with a foreign token");
    std::fs::write(&file, TOKEN).unwrap();
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    nothing_was_spent(&world, &hookbro).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_kept_and_an_overloaded_svix_gets_fewer_calls_at_once() {
    let world = World::new("paced").await.with("svix.rate_limit", "200");
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("paced", &["gigs"], 600);
    let started = std::time::Instant::now();
    world.publish(&events).await;
    world.arrive(&events).await;
    let took = started.elapsed().as_secs_f64();
    assert!(took >= 2.8, "600 events at 200 a second took {took} s");
    ledger::check(&world.svix, &events);
    let limit = async || hookbro.metric("hookbro_svix_in_flight_limit").await;
    let before = limit().await;
    // The latency of a busy machine may have lowered it a little already.
    assert!(
        (10.0..=320.0).contains(&before),
        "{before}: prefetch 256, and an eighth of it for each of two retry queues"
    );
    let throttled = Fault { status: Some(429), retry_after: Some("1".into()), ..Fault::default() };
    world.svix.sandbox.add_fault(Fault { times: Some(15), ..throttled });
    let more = generated("more", &["gigs"], 50);
    world.publish(&more).await;
    until("the limit falls", SOON, async || (limit().await < before * 0.5).then_some(())).await;
    world.arrive(&more).await;
    hookbro.stop().await;
    world.end().await;
}
