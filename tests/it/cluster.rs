//! Three nodes, of which the one that leads the work queue dies under load, twice.

use crate::support::{
    SOON, broker::Broker, events::generated, hookbro::Hookbro, ledger, node::Cluster, svix::TestSvix, until,
    world::World,
};
use std::time::{Duration, Instant};
use svix_sandbox::Fault;
use tokio_util::sync::CancellationToken;

const NODES: usize = 3;
/// Events published and sent in a second, for as long as it takes to kill twice.
const RATE: usize = 300;
/// Arrived before each kill.
const UNDER_LOAD: usize = 1_000;
/// From the kill until more have arrived than can have been in flight then.
const IN_FLIGHT: usize = 500;
const CONSUMING_AGAIN: Duration = Duration::from_secs(15);
/// A quorum queue killed within a second of its declaration can vanish (RabbitMQ 3.10 and 4.0).
const SETTLE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_killed_twice_under_load_loses_nothing_and_is_consumed_again_within_15_s() {
    let cluster = Cluster::start(NODES).await;
    let world = World::of(Broker::private(cluster.urls.join(","), "cluster"), TestSvix::start().await);
    let world = world.with("retry.delays", "200ms,200ms,300ms,300ms,400ms,400ms");
    let world = world.with("svix.rate_limit", &RATE.to_string());
    world.svix.sandbox.add_fault(Fault { status: Some(503), share: Some(0.1), times: Some(300), ..Fault::default() });
    world.svix.sandbox.add_fault(Fault { delay: Duration::from_millis(20), ..Fault::default() });
    let hookbro = Hookbro::ready(world.settings()).await;
    tokio::time::sleep(SETTLE).await;
    let stored = || world.svix.sandbox.message_count();
    let mut away = Vec::new();
    let killed_twice = CancellationToken::new();
    let killing = async {
        let mut asked = 0;
        for _ in 0..2 {
            let at = stored() + UNDER_LOAD;
            until("it is in the middle", SOON, async || (stored() >= at).then_some(())).await;
            let leader = cluster.leader(&world.broker.queue, asked).await;
            cluster.kill(leader).await;
            let (killed, before) = (Instant::now(), stored());
            until("it consumes again", SOON, async || (stored() > before + IN_FLIGHT).then_some(())).await;
            away.push(killed.elapsed());
            cluster.restart(leader).await;
            asked = (leader + 1) % NODES;
        }
        killed_twice.cancel();
    };
    let publishing = async {
        let mut events = Vec::new();
        while !killed_twice.is_cancelled() {
            let second = generated(&format!("cluster{}", events.len()), &["gigs", "dev", "acme"], RATE);
            tokio::join!(world.publish(&second), tokio::time::sleep(Duration::from_secs(1)));
            events.extend(second);
        }
        events
    };
    let (events, ()) = tokio::join!(publishing, killing);
    until("all arrive", 4 * SOON, async || ledger::complete(&world.svix, &events).then_some(())).await;
    until("all is settled", SOON, async || (hookbro.metric("hookbro_events_in_flight").await == 0.0).then_some(()))
        .await;
    hookbro.stop().await;
    ledger::check(&world.svix, &events);
    assert_eq!(world.broker.ready_dead().await, 0);
    assert!(away.iter().all(|away| *away < CONSUMING_AGAIN), "consuming again after {away:?}");
    eprintln!("consuming again after {away:?}");
    world.end().await;
}
