//! The main job on a real broker: every event to its own application, once, byte for byte.

use crate::support::{
    SOON,
    events::{documented, generated, one},
    hookbro::Hookbro,
    ledger, until,
    world::World,
};
use svix_sandbox::Fault;

#[tokio::test(flavor = "multi_thread")]
async fn documented_and_5000_generated_events_each_reach_their_own_application_once() {
    let world = World::new("deliver").await.with("metrics.projects", "gigs,dev");
    let hookbro = Hookbro::ready(world.settings()).await;
    let mut events = documented("deliver");
    events.extend(generated("deliver", &["gigs", "acme-mobile", "dev"], 5_000));
    world.publish(&events).await;
    world.arrive(&events).await;
    until("all are settled", SOON, async || (hookbro.metric("hookbro_events_in_flight").await == 0.0).then_some(()))
        .await;
    ledger::check(&world.svix, &events);
    let total = events.len() as f64;
    assert_eq!(hookbro.metric("hookbro_events_received_total{attempt=\"1\"}").await, total);
    assert_eq!(hookbro.metric("hookbro_events_settled_total{outcome=\"delivered\"}").await, total);
    assert_eq!(hookbro.metric("hookbro_event_age_seconds_count").await, total);
    for project in ["gigs", "dev"] {
        let own = events.iter().filter(|event| event.project == project).count() as f64;
        let series = format!("hookbro_project_events_settled_total{{outcome=\"delivered\",project=\"{project}\"}}");
        assert_eq!(hookbro.metric(&series).await, own, "{project}");
    }
    hookbro.stop().await;
    assert_eq!(world.broker.ready(&world.broker.queue).await, Some(0), "everything was acknowledged");
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_project_is_provisioned_once_under_a_burst_of_200_events() {
    let world = World::new("burst").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("burst", &["brand-new"], 200);
    world.publish(&events).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert_eq!(hookbro.metric("hookbro_apps_provisioned_total").await, 1.0);
    assert_eq!(world.svix.calls().iter().filter(|call| call.had_application).count(), 1, "one creating call");
    assert_eq!(world.svix.sandbox.applications().len(), 1);
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_that_race_to_provision_lose_nothing() {
    let world = World::new("race").await;
    let replicas = [Hookbro::ready(world.settings()).await, Hookbro::ready(world.settings()).await];
    let projects = ["r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8"];
    let events = generated("race", &projects, 400);
    world.publish(&events).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert_eq!(world.svix.sandbox.applications().len(), projects.len());
    for replica in replicas {
        replica.stop().await;
    }
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_of_one_project_do_not_hold_up_another() {
    let world = World::new("fresh").await.with("retry.delays", "1h").with("broker.prefetch", "16");
    world.svix.sandbox.add_fault(Fault { app: Some("sick".into()), status: Some(503), ..Fault::default() });
    let hookbro = Hookbro::ready(world.settings()).await;
    let (sick, well) = (generated("sick", &["sick"], 5), generated("well", &["well"], 300));
    world.publish(&sick).await;
    world.publish(&well).await;
    // Nobody waits an hour here: the well that waited for the sick would not arrive.
    world.arrive(&well).await;
    let waiting = format!("{}.delay.1", world.broker.queue);
    until("the sick lie in the delay queue", SOON, async || {
        (world.broker.ready(&waiting).await == Some(5)).then_some(())
    })
    .await;
    hookbro.stop().await;
    ledger::check(&world.svix, &well);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mapped_project_goes_to_the_application_that_the_operator_named() {
    let world = World::new("mapped").await.with("routing.apps", "from=to");
    let hookbro = Hookbro::ready(world.settings()).await;
    // The application must exist: one that the configuration names is never provisioned.
    world.publish_one(&one("maker", "to")).await;
    until("it exists", SOON, async || (!world.svix.sandbox.messages().is_empty()).then_some(())).await;
    world.publish_one(&one("mapped", "from")).await;
    until("it arrives", SOON, async || (world.svix.sandbox.message_count() == 2).then_some(())).await;
    assert!(world.svix.sandbox.messages().iter().all(|message| message.app == "to"));
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_brokers_the_first_that_answers_is_used() {
    let world = World::new("several").await;
    let urls = format!("amqp://127.0.0.1:1,{}", world.broker.url);
    let world = world.with("broker.url", &urls);
    let hookbro = Hookbro::ready(world.settings()).await;
    let sample = one("several", "gigs");
    world.publish_one(&sample).await;
    world.arrive(std::slice::from_ref(&sample)).await;
    hookbro.stop().await;
    world.end().await;
}
