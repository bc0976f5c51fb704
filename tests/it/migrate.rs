//! `hookbro topology migrate`: other arguments, and not a message less.

use crate::support::{
    SOON,
    events::{Sample, generated},
    hookbro::{Hookbro, command},
    ledger, until,
    world::World,
};
use std::{
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use svix_sandbox::Fault;

fn topology(world: &World, args: &[&str]) -> Output {
    command(&[&["topology"], args].concat(), world.settings()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_delays_are_moved_to_while_a_replica_is_up_and_nothing_is_lost() {
    let world = World::new("migrate").await.with("retry.delays", "1h,2h");
    let fault = world.svix.sandbox.add_fault(Fault { status: Some(503), times: Some(15), ..Fault::default() });
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("migrate", &["gigs", "dev"], 100);
    world.publish(&events).await;
    let waiting = format!("{}.delay.1", world.broker.queue);
    until("fifteen wait for an hour", SOON, async || (world.broker.ready(&waiting).await == Some(15)).then_some(()))
        .await;
    world.svix.sandbox.remove_fault(fault);

    let world = world.with("retry.delays", "300ms,2h");
    let planned = topology(&world, &["migrate"]);
    assert!(planned.status.success());
    assert_eq!(said(&planned), format!("would migrate `{waiting}`\nadd --yes to migrate\n"));
    let done = topology(&world, &["migrate", "--yes"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains(&format!("migrated `{waiting}` with 15 messages")), "{}", said(&done));
    // The replica that ran all along takes them from the retry queue now.
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    assert_eq!(
        said(&topology(&world, &["migrate", "--yes"])),
        "nothing to migrate: every queue has the configured arguments\n"
    );
    assert!(topology(&world, &["declare"]).status.success());
    assert_eq!(world.broker.ready(&format!("{waiting}.migrating")).await, None);
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_consumed_is_not_touched_until_its_replicas_are_stopped() {
    let world = World::new("consumed").await.with("retry.delays", "1h");
    let hookbro = Hookbro::ready(world.settings()).await;
    // One rung more: the last retry queue leads elsewhere now.
    let world = world.with("retry.delays", "1h,2h").with("broker.delivery_limit", "50");
    let refused = topology(&world, &["migrate", "--yes"]);
    assert_eq!(refused.status.code(), Some(4), "{}", said(&refused));
    assert!(said(&refused).contains("stop the replicas"), "{}", said(&refused));
    hookbro.stop().await;
    let events = generated("consumed", &["gigs"], 50);
    world.publish(&events).await;
    let done = topology(&world, &["migrate", "--yes"]);
    assert!(done.status.success(), "{}", said(&done));
    assert!(said(&done).contains("with 50 messages"), "{}", said(&done));
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    hookbro.stop().await;
    world.end().await;
}

/// Between publishes that go on while queues move.
const PUBLISH_EVERY: Duration = Duration::from_millis(30);

/// Lanes that nobody has declared before come with the new arguments, or go with them.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_and_arguments_change_together_while_publishers_go_on() {
    let without = World::new("migratelanes").await;
    assert!(topology(&without, &["declare"]).status.success());
    let events = generated("migratelanes", &["acme", "gigs"], 5_000);
    let mut published = 0;
    let world = migrated(
        without.with("lanes.bulk.keys", "acme.#").with("broker.delivery_limit", "50"),
        &events,
        &mut published,
    );
    let world = world.await;
    let world = migrated(
        world.with("lanes.bulk.keys", "gigs.#").with("lanes.bulk.delays", "1h").with("broker.delivery_limit", "60"),
        &events,
        &mut published,
    );
    let world = world.await;
    let world = migrated(
        world.without("lanes.bulk.keys").without("lanes.bulk.delays").with("broker.delivery_limit", "70"),
        &events,
        &mut published,
    );
    let world = world.await.with("lanes.bulk.keys", "").with("lanes.bulk.delays", "1h");
    // What lies in the lane that is gone still has the arguments of its time.
    let moved = topology(&world, &["migrate", "--yes"]);
    assert!(moved.status.success(), "{}", said(&moved));
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&events[..published]).await;
    ledger::check(&world.svix, &events[..published]);
    hookbro.stop().await;
    let world = world.without("lanes.bulk.keys").without("lanes.bulk.delays");
    assert!(topology(&world, &["declare"]).status.success());
    world.end().await;
}

/// Migrates to the settings of `world` while events from `published` on are published, each confirmed in a queue.
async fn migrated(world: World, events: &[Sample], published: &mut usize) -> World {
    let done = AtomicBool::new(false);
    let migrating = async {
        // A few are there before.
        tokio::time::sleep(PUBLISH_EVERY * 4).await;
        let mut command = command(&["topology", "migrate", "--yes"], world.settings());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        done.store(true, Ordering::Relaxed);
        output
    };
    let publishing = async {
        while !done.load(Ordering::Relaxed) {
            world.publish_one(&events[*published]).await;
            *published += 1;
            // Each is moved twice, one at a time.
            tokio::time::sleep(PUBLISH_EVERY).await;
        }
    };
    let (output, ()) = tokio::join!(migrating, publishing);
    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(&format!("migrated `{}` with", world.broker.queue)), "{}", said(&output));
    world
}
