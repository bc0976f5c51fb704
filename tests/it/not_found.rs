//! A 404 to a message is judged by asking Svix for the application: neither a wording nor a gateway costs an event.

use crate::support::{
    SOON,
    events::{generated, one},
    hookbro::Hookbro,
    ledger, until,
    world::World,
};
use svix_sandbox::{Fault, FaultKind, RequestKind};

const ENTITY_NOT_FOUND: &str = r#"{"code":"not_found","detail":"Entity not found"}"#;
const NO_ROUTE: &str = r#"{"detail":"Not Found"}"#;

fn not_found(body: &str) -> Fault {
    Fault { status: Some(404), body: Some(body.to_owned()), ..Fault::default() }
}

async fn is_halted(hookbro: &Hookbro) -> bool {
    hookbro.metric("hookbro_paused{reason=\"not_svix\"}").await == 1.0
}

/// Publishes 60 events: all wait, none is a dead letter, and all arrive when the fault is gone.
async fn costs_nothing(world: World, fault: Fault, projects: &[&str]) {
    let fault = world.svix.sandbox.add_fault(fault);
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("costs", projects, 60);
    world.publish(&events).await;
    until("it is halted", SOON, async || is_halted(&hookbro).await.then_some(())).await;
    // More than one event was tried alone, to the same end.
    let calls = world.svix.calls().len();
    until("it is tried again", SOON, async || (world.svix.calls().len() >= calls + 2).then_some(())).await;
    assert!(is_halted(&hookbro).await);
    assert_eq!(hookbro.metric("hookbro_events_dead_total{reason=\"refused\"}").await, 0.0);
    assert_eq!(hookbro.metric("hookbro_events_dead_total{reason=\"unroutable\"}").await, 0.0);
    assert_eq!(world.broker.ready_dead().await, 0);
    world.svix.sandbox.remove_fault(fault);
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert_eq!(hookbro.metric("hookbro_events_received_total{attempt=\"2\"}").await, 0.0, "an attempt was spent");
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_application_that_is_there_another_404_of_svixs_own_halts() {
    let world = World::new("nfthere").await.with("routing.apps", "gigs=gigs");
    world.application("gigs").await;
    costs_nothing(world, not_found(ENTITY_NOT_FOUND), &["gigs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_s_404_halts_whoever_s_application_is_asked_for() {
    let world = World::new("nfgateway").await.with("routing.apps", "gigs=gigs");
    world.application("gigs").await;
    costs_nothing(world, not_found(NO_ROUTE), &["gigs", "dev", "acme"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_base_address_halts_and_creates_nothing() {
    let world = World::new("nfbase").await.with("routing.unknown_project", "dead_letter");
    for project in ["gigs", "dev"] {
        world.application(project).await;
    }
    let everything = Fault { kind: FaultKind::Any, ..not_found(NO_ROUTE) };
    costs_nothing(world, everything, &["gigs", "dev"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_ever_found_no_application_is_missing() {
    // Svix's own words for everything, the list of applications too.
    let world = World::new("nfall").await;
    let everything = Fault { kind: FaultKind::Any, ..not_found(ENTITY_NOT_FOUND) };
    costs_nothing(world, everything, &["gigs"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_application_is_created_whatever_the_wording() {
    let world = World::new("nfwords").await;
    let words = r#"{"code":"not_found","detail":"No such application in this environment"}"#;
    world.svix.sandbox.add_fault(Fault { times: Some(1), ..not_found(words) });
    let hookbro = Hookbro::ready(world.settings()).await;
    let event = one("nfwords", "gigs");
    world.publish_one(&event).await;
    world.arrive(std::slice::from_ref(&event)).await;
    assert_eq!(hookbro.metric("hookbro_apps_provisioned_total").await, 1.0);
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_for_a_missing_application_is_given_up_one_by_one_and_asks_rarely() {
    let world = World::new("nfburst").await.with("routing.apps", "gigs=nowhere");
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("nfburst", &["gigs"], 300);
    world.publish(&events).await;
    until("all are given up", SOON, async || (world.broker.ready_dead().await == 300).then_some(())).await;
    let mut dead: Vec<_> =
        world.broker.drain_dead().await.iter().filter_map(|d| d.header("x-hookbro-event-id")).collect();
    dead.sort();
    let mut all: Vec<_> = events.iter().map(|event| event.id.clone()).collect();
    all.sort();
    assert_eq!(dead, all, "each once");
    let asked = world.svix.sandbox.requests().iter().filter(|line| line.kind == RequestKind::AppGet).count();
    // Once in 5 s.
    assert!((1..=12).contains(&asked), "{asked} looks for 300 events");
    assert!(world.svix.sandbox.applications().is_empty());
    hookbro.stop().await;
    world.end().await;
}
