//! `hookbro topology migrate`: other arguments, and not a message less.

use crate::support::{
    SOON,
    broker::Broker,
    events::{Sample, generated},
    hookbro::{Hookbro, command},
    ledger,
    node::Node,
    svix::TestSvix,
    until,
    world::World,
};
use hookbro::sources::rabbitmq as amqp;
use lapin::types::FieldTable;
use std::{
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use svix_sandbox::Fault;

/// A world on a broker with a management API, which is not configured yet.
async fn with_management(test: &str) -> (Node, World) {
    let node = Node::with("rabbitmq_management").await;
    let world = World::of(Broker::private(node.url.clone(), test), TestSvix::start().await);
    (node, world)
}

fn migrate(world: &World) -> Command {
    command(&["topology", "migrate", "--yes"], world.settings())
}

fn topology(world: &World, args: &[&str]) -> Output {
    command(&[&["topology"], args].concat(), world.settings()).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn new_delays_are_moved_to_while_a_replica_is_up_and_nothing_is_lost() {
    let (node, world) = with_management("migrate").await;
    let world = world.with("retry.delays", "1h,2h");
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
    // By AMQP alone nobody sees what is on its way from there.
    let refused = topology(&world, &["migrate", "--yes"]);
    assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
    assert!(said(&refused).contains("set broker.management_url"), "{}", said(&refused));
    assert_eq!(world.broker.ready(&waiting).await, Some(15));
    let world = world.with("broker.management_url", &node.management());
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
    let (node, world) = with_management("consumed").await;
    let world = world.with("retry.delays", "1h").with("broker.management_url", &node.management());
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

/// Events that have left a delay queue, and that no queue has taken: at-least-once dead-lettering keeps them where AMQP shows
/// none.
#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_events_on_their_way_from_a_delay_queue_are_not_deleted_with_it() {
    let (node, world) = with_management("transit").await;
    let world = world.with("retry.delays", "300ms,1h").with("broker.management_url", &node.management());
    assert!(topology(&world, &["declare"]).status.success());
    let (delay, retry) = (format!("{}.delay.1", world.broker.queue), format!("{}.retry.1", world.broker.queue));
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    let (queue, exchange) = (retry.as_str().into(), retry.as_str().into());
    channel.queue_unbind(queue, exchange, "".into(), FieldTable::default()).await.unwrap();
    amqp::close(connection).await;
    let events = generated("transit", &["gigs", "dev"], 2_000);
    world.publish_to(&delay, &events).await;
    until("all have waited", SOON, async || (world.broker.ready(&delay).await == Some(0)).then_some(())).await;

    let world = world.with("retry.delays", "400ms,1h");
    let done = migrate(&world).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&events).await;
    ledger::check(&world.svix, &events);
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

/// Most events whose delays run out while queues move, and how many of them are published at once.
const EXPIRING: usize = 8_000;
const AT_ONCE: usize = 40;

/// Two delay queues move to and fro while events are put into both, by the thousand and without a break, and a replica
/// takes them from the retry queues. One run is killed in the middle; then two run at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn delays_run_out_by_the_thousand_while_queues_move_and_none_is_lost() {
    let (node, world) = with_management("expiring").await;
    let world = world.with("broker.management_url", &node.management()).with("retry.delays", "500ms,700ms");
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("expiring", &["acme", "gigs", "dev"], EXPIRING);
    let delays = [1, 2].map(|n| format!("{}.delay.{n}", world.broker.queue));
    let other = world.settings().to_vec();
    let other: Vec<_> = other.into_iter().filter(|(key, _)| key != "retry.delays").collect();
    let with_delays = |delays: &str| [other.clone(), vec![("retry.delays".to_owned(), delays.to_owned())]].concat();
    let (there, back) = (with_delays("600ms,800ms"), with_delays("500ms,700ms"));
    let run = async |settings: &[(String, String)]| {
        let mut migrate = command(&["topology", "migrate", "--yes"], settings);
        tokio::task::spawn_blocking(move || migrate.output().unwrap()).await.unwrap()
    };
    let moved = AtomicBool::new(false);
    let moving = async {
        let mut killed = command(&["topology", "migrate", "--yes"], &there).stdout(Stdio::null()).spawn().unwrap();
        let holding = format!("{}.migrating", delays[0]);
        until("it is in the middle", SOON, async || world.broker.ready(&holding).await).await;
        killed.kill().unwrap();
        killed.wait().unwrap();
        let (one, another) = tokio::join!(run(&there), run(&there));
        let last = run(&back).await;
        for output in [one, another, last] {
            assert!(output.status.success(), "{}", said(&output));
        }
        moved.store(true, Ordering::Relaxed);
    };
    let publishing = async {
        let mut published = 0;
        for (turn, some) in events.chunks(AT_ONCE).enumerate() {
            if moved.load(Ordering::Relaxed) {
                break;
            }
            world.publish_to(&delays[turn % 2], some).await;
            published += some.len();
            tokio::time::sleep(PUBLISH_EVERY * 4).await;
        }
        published
    };
    let ((), published) = tokio::join!(moving, publishing);
    assert!(published >= EXPIRING / 4, "only {published} were published meanwhile");
    world.arrive(&events[..published]).await;
    ledger::check(&world.svix, &events[..published]);
    for delay in &delays {
        assert_eq!(world.broker.ready(&format!("{delay}.migrating")).await, None);
    }
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    world.end().await;
}

/// Between publishes that go on while queues move.
const PUBLISH_EVERY: Duration = Duration::from_millis(30);

/// Lanes that nobody has declared before come with the new arguments, or go with them.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_and_arguments_change_together_while_publishers_go_on() {
    let (node, without) = with_management("migratelanes").await;
    let without = without.with("broker.management_url", &node.management());
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
        let mut migrate = migrate(&world);
        let output = tokio::task::spawn_blocking(move || migrate.output().unwrap()).await.unwrap();
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
