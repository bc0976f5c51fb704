//! Refusals in a burst: a Svix that refuses everything does not empty the queue into the dead-letter queue.

use crate::support::{
    SOON,
    events::{Sample, generated},
    hookbro::Hookbro,
    ledger, until,
    world::World,
};
use std::collections::BTreeSet;
use svix_sandbox::Fault;

const REASON: &str = "hookbro_paused{reason=\"refusing\"}";
const DEAD: &str = "hookbro_events_dead_total{reason=\"refused\"}";

fn refusal() -> Fault {
    let body = r#"{"detail":[{"loc":["body","payload"],"msg":"no","type":"value_error"}]}"#;
    Fault { status: Some(422), body: Some(body.to_owned()), ..Fault::default() }
}

/// Counts one by one: each of these events is either a dead letter, once, or at Svix, once. Answers how many are dead.
async fn each_ends_once(world: &World, hookbro: &Hookbro, events: &[Sample]) -> usize {
    until("every event ends", SOON, async || {
        let dead = world.broker.ready_dead().await as usize;
        (world.svix.sandbox.message_count() + dead == events.len()).then_some(())
    })
    .await;
    let dead = world.broker.drain_dead().await;
    assert!(dead.iter().all(|letter| letter.reason() == "refused"));
    let ids: BTreeSet<_> = dead.iter().map(|letter| letter.header("x-hookbro-event-id").unwrap()).collect();
    assert_eq!(ids.len(), dead.len(), "each once");
    let (given_up, rest): (Vec<_>, Vec<_>) = events.iter().cloned().partition(|event| ids.contains(&event.id));
    assert_eq!(given_up.len(), dead.len(), "nothing else is a dead letter");
    ledger::check(&world.svix, &rest);
    assert_eq!(hookbro.metric("hookbro_events_received_total{attempt=\"2\"}").await, 0.0, "an attempt was spent");
    dead.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_svix_that_refuses_everything_halts_and_one_event_at_a_time_is_tried() {
    let world = World::new("refusing").await;
    let fault = world.svix.sandbox.add_fault(refusal());
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("refusing", &["gigs", "dev", "acme"], 500);
    world.publish(&events).await;
    until("it is halted", SOON, async || (hookbro.metric(REASON).await == 1.0).then_some(())).await;
    until("three events were tried alone", SOON, async || (hookbro.metric(DEAD).await >= 19.0 + 3.0).then_some(()))
        .await;
    assert_eq!(hookbro.metric(REASON).await, 1.0, "a refusal ends nothing");
    assert_eq!(hookbro.status().await["svix"]["reason"], "refusing");
    world.svix.sandbox.remove_fault(fault);
    let dead = each_ends_once(&world, &hookbro, &events).await;
    assert!((22..=19 + 8).contains(&dead), "{dead} dead letters of 500 events");
    assert_eq!(hookbro.metric(REASON).await, 0.0, "an acceptance ends it");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_among_acceptances_are_dead_letters_and_halt_nothing() {
    let world = World::new("refusedsome").await;
    // They are there, so that each event is one call, and every second call is refused.
    for project in ["gigs", "dev"] {
        world.application(project).await;
    }
    world.svix.sandbox.add_fault(Fault { share: Some(0.5), ..refusal() });
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("refusedsome", &["gigs", "dev"], 300);
    world.publish(&events).await;
    assert_eq!(each_ends_once(&world, &hookbro, &events).await, 150);
    let refused = world.svix.answered(422);
    assert_eq!(refused, 150, "each refusal is a dead letter");
    assert!(hookbro.logged("halted").is_empty());
    hookbro.stop().await;
    world.end().await;
}
