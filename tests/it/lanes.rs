//! Lanes: one for each event, ladders of their own, and changes that leave no gap.

use crate::support::{
    SOON,
    events::{Sample, generated, one},
    hookbro::{Hookbro, command},
    ledger, until,
    world::World,
};
use std::{
    process::Output,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use svix_sandbox::{Fault, Outcome, RequestLine};

fn run(world: &World, args: &[&str]) -> Output {
    command(args, world.settings()).output().unwrap()
}

fn declare(world: &World) {
    let done = run(world, &["topology", "declare"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

/// Events that Svix had already. A 409 to a call that would make the application too may only say that another replica has
/// just made it.
fn repeats(world: &World) -> usize {
    let repeated = |call: &&RequestLine| call.outcome == Outcome::Answered(409) && !call.had_application;
    world.svix.calls().iter().filter(repeated).count()
}

/// Without lanes the fork goes, and then the rest by name.
async fn end(world: World) {
    let lanes: Vec<_> =
        world.settings().iter().map(|(key, _)| key).filter(|key| key.starts_with("lanes.")).cloned().collect();
    let world = lanes.iter().fold(world, |world, key| world.without(key));
    declare(&world);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_on_exactly_one_lane_and_delivered_once() {
    let world = World::new("lanes").await.with("lanes.bulk.keys", "acme.#").with("lanes.slow.keys", "beta.#,gamma.*.#");
    let hookbro = Hookbro::ready(world.settings()).await;
    let events = generated("lanes", &["acme", "gigs", "dev"], 90);
    world.publish(&events).await;
    world.arrive(&events).await;
    until("all is settled", SOON, async || (hookbro.metric("hookbro_events_in_flight").await == 0.0).then_some(()))
        .await;
    ledger::check(&world.svix, &events);
    assert_eq!((world.svix.answered(202), repeats(&world)), (90, 0), "nothing came twice");
    until("every queue is counted, and empty", SOON, async || {
        let queues = hookbro.status().await["queues"].clone();
        let names = ["", ".lane.bulk", ".lane.bulk.delay.1", ".lane.bulk.retry.2", ".lane.slow", ".dead"];
        names.iter().all(|name| queues[format!("{}{name}", world.broker.queue)] == 0).then_some(())
    })
    .await;
    hookbro.stop().await;
    // Nobody consumes now: where does each go?
    world.publish(&generated("laneswhere", &["acme", "gigs"], 10)).await;
    let queue = world.broker.queue.clone();
    assert_eq!(world.broker.ready(&format!("{queue}.lane.bulk")).await, Some(5));
    assert_eq!(world.broker.ready(&queue).await, Some(5));
    end(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_has_its_own_retry_policy_and_a_replay_enters_by_it() {
    let world = World::new("laneladder").await.with("lanes.bulk.keys", "acme.#").with("lanes.bulk.delays", "100ms");
    let hookbro = Hookbro::ready(world.settings()).await;
    let (laned, other) = (one("laned", "acme"), one("other", "gigs"));
    let poison = |sample: &Sample| Fault { event_id: Some(sample.id.clone()), status: Some(500), ..Fault::default() };
    world.svix.sandbox.add_fault(poison(&laned));
    world.svix.sandbox.add_fault(poison(&other));
    world.publish(&[laned.clone(), other.clone()]).await;
    // What the last attempt needs to be the event's own fault: others get through all the while.
    let mut others = generated("laneladder", &["acme", "gigs"], 2_000).into_iter();
    until("both are given up", SOON, async || {
        world.publish_one(&others.next().unwrap()).await;
        (world.broker.ready_dead().await == 2).then_some(())
    })
    .await;
    hookbro.stop().await;
    // Calls would not tell: an event that is parked for want of other acceptances makes more of them.
    let listed = run(&world, &["dead", "list", "--output", "json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let attempts =
        |of: &Sample| listed.as_array().unwrap().iter().find(|dead| dead["id"] == of.id).unwrap()["attempts"].clone();
    assert_eq!((attempts(&laned), attempts(&other)), (2.into(), 3.into()), "one delay on the lane, two on the default");
    let replayed = run(&world, &["dead", "replay", "--all", "--yes"]);
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let queue = world.broker.queue.clone();
    assert_eq!(world.broker.ready(&format!("{queue}.lane.bulk")).await, Some(1));
    assert_eq!(world.broker.ready(&queue).await, Some(1));
    end(world).await;
}

/// Publishers go on through every change; a moment without a way would make one of their mandatory publishes come back.
#[tokio::test(flavor = "multi_thread")]
async fn lanes_come_change_and_go_without_a_gap() {
    let mut world = World::new("lanechange").await;
    declare(&world);
    let hookbro = Hookbro::ready(world.settings()).await;
    let arrangements: [&[(&str, &str)]; 4] = [
        &[("lanes.bulk.keys", "acme.#")],
        &[("lanes.bulk.keys", "acme.#,beta.#"), ("lanes.slow.keys", "gigs.#"), ("lanes.slow.prefetch", "4")],
        &[("lanes.bulk.keys", "dev.#"), ("lanes.slow.keys", "")],
        &[],
    ];
    // Events come until all changes are made, however fast the machine does either.
    let changed = AtomicBool::new(false);
    let broker = &world.broker;
    let publishing = async {
        let mut events = Vec::new();
        while !changed.load(Ordering::Relaxed) {
            let part = generated(&format!("lanechange{}", events.len()), &["acme", "gigs", "dev", "beta"], 50);
            let one = async |sample: &Sample| {
                let properties = lapin::BasicProperties::default().with_delivery_mode(2);
                broker.publish(&sample.routing_key(), properties, &sample.body).await;
            };
            futures_util::future::join_all(part.iter().map(one)).await;
            events.extend(part);
        }
        events
    };
    let settings = world.settings().to_vec();
    let changing = async {
        let mut replica = hookbro;
        for arrangement in arrangements.iter().chain(&arrangements[..2]) {
            let lanes = arrangement.iter().map(|(key, value)| ((*key).into(), (*value).into()));
            // A rolling deployment: the new one is there before the old one goes.
            let next = Hookbro::ready(&[settings.clone(), lanes.collect()].concat()).await;
            std::mem::replace(&mut replica, next).stop().await;
        }
        changed.store(true, Ordering::Relaxed);
        replica
    };
    let (events, replica) = tokio::join!(publishing, changing);
    replica.stop().await;
    // What lies in lanes that are gone is delivered by lanes without keys.
    world = world.with("lanes.bulk.keys", "").with("lanes.slow.keys", "");
    let last = Hookbro::ready(world.settings()).await;
    world.arrive(&events).await;
    until("all is settled", SOON, async || {
        let queues = last.status().await["queues"].clone();
        let empty = queues.as_object().unwrap().values().all(|ready| ready == 0);
        (empty && last.metric("hookbro_events_in_flight").await == 0.0).then_some(())
    })
    .await;
    last.stop().await;
    ledger::check(&world.svix, &events);
    let odd =
        world.svix.calls().into_iter().filter(|c| !matches!(c.outcome, Outcome::Answered(202 | 404 | 409))).count();
    assert_eq!(odd, 0);
    end(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_change_lanes_at_once_take_turns() {
    let world = World::new("laneturns").await;
    let arrange = |keys: &str| {
        let lanes = vec![("lanes.bulk.keys".to_owned(), keys.to_owned())];
        [world.settings().to_vec(), lanes].concat()
    };
    let children: Vec<_> = (0..6)
        .map(|n| command(&["topology", "declare"], &arrange(&format!("project{}.#", n % 3))).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let world = world.with("lanes.bulk.keys", "acme.#");
    declare(&world);
    world.publish(&generated("laneturns", &["acme", "project0", "project1", "project2"], 40)).await;
    let queue = world.broker.queue.clone();
    assert_eq!(
        world.broker.ready(&format!("{queue}.lane.bulk")).await,
        Some(10),
        "only the last arrangement leads here"
    );
    assert_eq!(world.broker.ready(&queue).await, Some(30), "and nothing came twice");
    end(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_lane_that_is_gone_are_not_forgotten() {
    let world = World::new("stranded").await.with("lanes.bulk.keys", "acme.#");
    declare(&world);
    let events = generated("stranded", &["acme"], 7);
    world.publish(&events).await;
    let world = world.without("lanes.bulk.keys");
    for args in [["topology", "declare"].as_slice(), &["check"]] {
        let said = String::from_utf8(run(&world, args).stdout).unwrap();
        assert!(said.contains("lane `bulk`") && said.contains("7 messages") && said.contains("keys = []"), "{said}");
    }
    let hookbro = Hookbro::ready(world.settings()).await;
    assert_eq!(hookbro.logged("lane `bulk`").len(), 1);
    hookbro.stop().await;
    let world = world.with("lanes.bulk.keys", "");
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&events).await;
    hookbro.stop().await;
    let checked = run(&world.with("lanes.none.keys", ""), &["check"]);
    assert!(!String::from_utf8_lossy(&checked.stdout).contains("`bulk`"), "empty, it is silent");
}

/// The small version of `make bench ARGS=--lanes`: a flood on a lane does not make the others wait.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_on_a_lane_makes_no_other_wait() {
    const FLOOD: usize = 4_000;
    /// Flood events that go before one of the others: in one queue it would be all that were left of it. Counted instead of
    /// timed, since a busy machine slows both alike.
    const BOUND: usize = 300;
    let world = World::new("flood").await.with("lanes.bulk.keys", "acme.#").with("svix.rate_limit", "500");
    declare(&world);
    world.publish(&generated("flood", &["acme"], FLOOD)).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let before = |calls: &[RequestLine]| calls.iter().filter(|call| call.app.as_deref() == Some("acme")).count();
    let mut overtaken = Vec::new();
    for sample in generated("floodother", &["gigs"], 40) {
        let so_far = before(&world.svix.calls());
        world.publish_one(&sample).await;
        let calls = until("it arrives", SOON, async || {
            let calls = world.svix.calls();
            let at = calls.iter().position(|call| call.event_id.as_deref() == Some(&sample.id))?;
            Some(calls[..at].to_vec())
        })
        .await;
        overtaken.push(before(&calls).saturating_sub(so_far));
    }
    let left = world.broker.ready(&format!("{}.lane.bulk", world.broker.queue)).await.unwrap();
    assert!(left > 500, "the flood was over too soon to tell: {left} left");
    overtaken.sort_unstable();
    assert!(overtaken[38] < BOUND, "{overtaken:?}");
    drop(hookbro);
    end(world).await;
}

/// In a rolling deployment the older replicas may lose their connection: coming back, they find the newer ones' lanes.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_comes_back_leaves_the_lanes_of_a_newer_one() {
    let cases = [
        ("laneback", [("lanes.bulk.keys", "acme.#")].as_slice(), ".lane.bulk"),
        // Both consume it: both lose their connections.
        ("laneback0", &[], ""),
    ];
    for (name, older, deleted) in cases {
        let world = World::new(name).await;
        let settings = |lanes: &[(&str, &str)]| {
            let lanes = lanes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            [world.settings().to_vec(), lanes.collect()].concat()
        };
        let old = Hookbro::ready(&settings(older)).await;
        let new = Hookbro::ready(&settings(&[("lanes.slow.keys", "acme.#")])).await;
        let queue = world.broker.queue.clone();
        for round in 1..=3 {
            world.broker.delete(&format!("{queue}{deleted}")).await;
            until("the old one is back", SOON, async || {
                let again = old.metric("hookbro_broker_reconnects_total").await >= f64::from(round);
                (again && old.status_of("/readyz").await == 200).then_some(())
            })
            .await;
            until("the new one is there", SOON, async || (new.status_of("/readyz").await == 200).then_some(())).await;
        }
        assert!(!old.logged("lanes that another replica").is_empty(), "it says so: {}", old.whole_log());
        assert!(new.logged("lanes that another replica").is_empty(), "{}", new.whole_log());
        let events = generated(name, &["acme", "gigs"], 40);
        world.publish(&events).await;
        world.arrive(&events).await;
        old.stop().await;
        new.stop().await;
        assert_eq!((world.svix.answered(202), repeats(&world)), (40, 0), "nothing came twice");
        // Nobody consumes now: where does each go?
        world.publish(&generated(&format!("{name}where"), &["acme", "gigs"], 10)).await;
        assert_eq!(world.broker.ready(&format!("{queue}.lane.slow")).await, Some(5));
        assert_eq!(world.broker.ready(&queue).await, Some(5));
        assert!(matches!(world.broker.ready(&format!("{queue}.lane.bulk")).await, None | Some(0)));
        // One that starts is the newest, whatever was before.
        let restarted = Hookbro::ready(&settings(older)).await;
        restarted.stop().await;
        world.publish(&generated(&format!("{name}again"), &["acme"], 4)).await;
        assert_eq!(world.broker.ready(&format!("{queue}.lane.slow")).await, Some(5));
        end(world.with("lanes.slow.keys", "")).await;
    }
}

/// What a lane had unsettled before a reconnect comes again from the broker, and must not take the others' room.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_lane_has_unsettled_over_a_reconnect_takes_no_room_of_the_others() {
    const HANG: Duration = Duration::from_secs(12);
    let world = World::new("laneroom").await.with("lanes.bulk.keys", "acme.#").with("lanes.bulk.prefetch", "16");
    let world = world.with("broker.prefetch", "8");
    let hookbro = Hookbro::ready(world.settings()).await;
    let first = generated("laneroomfirst", &["acme", "gigs"], 2);
    world.publish(&first).await;
    world.arrive(&first).await;
    let hang = Fault { app: Some("acme".into()), delay: HANG, ..Fault::default() };
    let fault = world.svix.sandbox.add_fault(hang);
    let flood = generated("laneroom", &["acme"], 40);
    world.publish(&flood).await;
    let in_flight = async || hookbro.metric("hookbro_events_in_flight").await;
    until("the lane's prefetch hangs", SOON, async || (in_flight().await == 16.0).then_some(())).await;
    world.broker.delete(&world.broker.queue).await;
    until("it is back", SOON, async || {
        let again = hookbro.metric("hookbro_broker_reconnects_total").await == 1.0;
        (again && hookbro.status_of("/readyz").await == 200).then_some(())
    })
    .await;
    let others = generated("laneroomother", &["gigs"], 40);
    for sample in &others {
        world.publish_one(sample).await;
        until("it arrives", SOON, async || (!world.svix.calls_for(&sample.id).is_empty()).then_some(())).await;
    }
    assert_eq!(world.svix.answered(202), 42, "none of the flood had to end first");
    assert_eq!(in_flight().await, 16.0);
    world.svix.sandbox.remove_fault(fault);
    world.arrive(&flood).await;
    hookbro.stop().await;
    end(world).await;
}
