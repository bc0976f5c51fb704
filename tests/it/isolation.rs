//! One application that fails or hangs costs no other an event or a second, and loses none of its own.

use crate::support::{
    SOON,
    events::{Sample, generated},
    hookbro::Hookbro,
    ledger, until,
    world::World,
};
use std::time::{Duration, Instant};
use svix_sandbox::Fault;

/// Others' events must not wait longer, on a machine with much else to do. Without isolation they wait for minutes or for ever.
const OTHERS_WAIT: Duration = Duration::from_secs(20);

fn fails(app: &str) -> Fault {
    Fault { app: Some(app.into()), status: Some(500), body: Some("{}".into()), ..Fault::default() }
}

async fn parked(hookbro: &Hookbro, reason: &str) -> f64 {
    hookbro.metric(&format!("hookbro_events_parked{{reason=\"{reason}\"}}")).await
}

async fn circuits(hookbro: &Hookbro, open: f64) {
    let what = format!("{open} circuits are open");
    until(&what, SOON, async || (hookbro.metric("hookbro_circuits_open").await == open).then_some(())).await;
}

/// Publishes these, and waits until they are delivered; how long that took.
async fn pass(world: &World, others: &[Sample]) -> Duration {
    let began = Instant::now();
    world.publish(others).await;
    world.arrive(others).await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_fails_holds_up_no_other_and_gets_all_its_events_when_it_is_back() {
    let world = World::new("isofails").await.with("broker.prefetch", "32");
    let fault = world.svix.sandbox.add_fault(fails("sick"));
    let sick = generated("sick", &["sick"], 2_000);
    // In front of the others.
    let hookbro = Hookbro::ready(world.settings()).await;
    world.publish(&sick).await;
    let well = generated("well", &["well"], 100);
    let took = pass(&world, &well).await;
    assert!(took < OTHERS_WAIT, "{took:?} for others behind 2,000 events of an application that fails");
    until("what can wait is parked", SOON, async || (parked(&hookbro, "circuit_open").await >= 1_950.0).then_some(()))
        .await;
    circuits(&hookbro, 1.0).await;
    let status = hookbro.status().await;
    assert_eq!(status["circuits"][0]["project"], "sick", "{status}");
    let failed = world.svix.answered(500);
    assert!(failed < 100, "{failed} calls to an application that fails");
    world.svix.sandbox.remove_fault(fault);
    world.arrive(&sick).await;
    ledger::check(&world.svix, &[sick, well].concat());
    circuits(&hookbro, 0.0).await;
    until("nothing is parked", SOON, async || (parked(&hookbro, "circuit_open").await == 0.0).then_some(())).await;
    assert_eq!(world.broker.ready_dead().await, 0, "an outage of one application gives up nothing");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_hangs_holds_up_no_other() {
    let world = World::new("isohangs").await.with("broker.prefetch", "32").with("svix.timeout", "4s");
    let hangs = Fault { app: Some("sick".into()), delay: Duration::from_secs(20), ..Fault::default() };
    let fault = world.svix.sandbox.add_fault(hangs);
    let hookbro = Hookbro::ready(world.settings()).await;
    let both = generated("both", &["sick", "well"], 1_000);
    let (well, sick): (Vec<_>, Vec<_>) = both.iter().cloned().partition(|sample| sample.project == "well");
    let began = Instant::now();
    world.publish(&both).await;
    world.arrive(&well).await;
    let took = began.elapsed();
    assert!(took < OTHERS_WAIT, "{took:?} for others beside an application that hangs");
    circuits(&hookbro, 1.0).await;
    world.svix.sandbox.remove_fault(fault);
    world.arrive(&sick).await;
    circuits(&hookbro, 0.0).await;
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_applications_that_fail_hold_up_none_that_works() {
    const SICK: usize = 30;
    let world = World::new("isomany").await.with("broker.prefetch", "32");
    let names: Vec<_> = (0..SICK).map(|nth| format!("sick{nth}")).collect();
    let faults: Vec<_> = names.iter().map(|name| world.svix.sandbox.add_fault(fails(name))).collect();
    let hookbro = Hookbro::ready(world.settings()).await;
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let sick = generated("manysick", &names, SICK * 20);
    world.publish(&sick).await;
    // A steady one, as there is wherever so many applications are.
    let well = generated("manywell", &["well"], 200);
    let took = pass(&world, &well).await;
    assert!(took < OTHERS_WAIT, "{took:?} for others beside {SICK} applications that fail");
    for fault in faults {
        world.svix.sandbox.remove_fault(fault);
    }
    world.arrive(&sick).await;
    circuits(&hookbro, 0.0).await;
    ledger::check(&world.svix, &[sick, well].concat());
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_events_survive_a_kill_and_another_process_finds_them() {
    let world = World::new("isokill").await;
    let fault = world.svix.sandbox.add_fault(fails("sick"));
    let mut hookbro = Hookbro::ready(world.settings()).await;
    let sick = generated("killed", &["sick"], 300);
    world.publish(&sick).await;
    until("many are parked", SOON, async || (parked(&hookbro, "circuit_open").await >= 250.0).then_some(())).await;
    hookbro.kill();
    world.svix.sandbox.remove_fault(fault);
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&sick).await;
    ledger::check(&world.svix, &sick);
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poisonous_event_among_good_ones_is_exhausted_and_the_others_go_on() {
    let world = World::new("isopoison").await.with("retry.delays", "300ms,1s");
    let events = generated("poison", &["gigs"], 300);
    let poison = &events[7];
    let fault = Fault { event_id: Some(poison.id.clone()), ..fails("gigs") };
    world.svix.sandbox.add_fault(fault);
    let hookbro = Hookbro::ready(world.settings()).await;
    let publishing = async {
        for sample in &events {
            world.publish_one(sample).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (dead, ()) = tokio::join!(world.given_up(), publishing);
    assert_eq!((&dead.body[..], dead.reason().as_str()), (&poison.body[..], "exhausted"));
    let good: Vec<_> = events.iter().filter(|sample| sample.id != poison.id).cloned().collect();
    world.arrive(&good).await;
    ledger::check(&world.svix, &good);
    assert_eq!(world.svix.calls_for(&poison.id).len(), 3);
    circuits(&hookbro, 0.0).await;
    hookbro.stop().await;
    world.end().await;
}

/// Without isolation the others wait for all of the flood, 32 events a second. Setting it aside takes seconds of computing, so a
/// busy machine lets some of it out before them, far from half.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_project_that_floods_does_not_hold_up_the_others() {
    let world = World::new("isoflood").await.with("broker.prefetch", "32");
    let slow = Fault { app: Some("flood".into()), delay: Duration::from_secs(1), ..Fault::default() };
    let slow = world.svix.sandbox.add_fault(slow);
    let hookbro = Hookbro::ready(world.settings()).await;
    let others = generated("others", &["one", "two"], 40);
    pass(&world, &others[..20]).await;
    let flood = generated("flood", &["flood"], 2_000);
    world.publish(&flood).await;
    let ahead = ledger::missing(&world.svix, &flood);
    let took = pass(&world, &others[20..]).await;
    let left = ledger::missing(&world.svix, &flood);
    println!("{took:?} for others behind {ahead} events of a flood, of which {left} are left");
    // In the order of their publishing they would come after all of it.
    assert!(left > 0 && left >= ahead / 2, "others behind {ahead} events of a flood wait until {left} are left");
    world.svix.sandbox.remove_fault(slow);
    let all = [others, flood].concat();
    until("the flood is over", Duration::from_secs(120), async || ledger::complete(&world.svix, &all).then_some(()))
        .await;
    ledger::check(&world.svix, &all);
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    world.end().await;
}
