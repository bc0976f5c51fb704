//! Names, arguments and order of what is declared.

use super::*;
use crate::process::secret::Secret;

fn settings(delays: &[u64], prefetch: u16) -> Settings {
    let delays = delays.iter().copied().map(Duration::from_secs).collect();
    Settings {
        access: Secret::fixed("amqp://localhost").into(),
        management_url: Secret::fixed(""),
        exchange: "x".into(),
        queue: "q".into(),
        bindings: vec!["a.#".into(), "b".into()],
        prefetch,
        delivery_limit: 100,
        memory_budget: 128 << 20,
        ladder: RetryLadder::try_new(delays).unwrap(),
        lanes: Vec::new(),
        watchdog: Duration::from_secs(60),
    }
}

fn topology(delays: &[u64], prefetch: u16) -> Topology {
    Topology::new(&settings(delays, prefetch))
}

fn leads_to(topology: &Topology, queue: &str) -> Option<String> {
    let queue = topology.queues.iter().find(|q| q.name == queue).unwrap();
    match queue.arguments.get("x-dead-letter-exchange") {
        Some(Argument::Text(text)) => Some(text.clone()),
        _ => None,
    }
}

#[test]
fn a_failed_event_climbs_every_rung_and_then_dies() {
    let topology = topology(&[5, 30], 256);
    let mut way = vec!["q".to_owned()];
    while let Some(next) = leads_to(&topology, &way[way.len() - 1]) {
        way.push(next);
    }
    assert_eq!(way, ["q", "q.delay.1", "q.retry.1", "q.delay.2", "q.retry.2", "q.dead"]);
}

#[test]
fn every_target_is_declared_before_what_leads_to_it_and_publishers_are_bound_last() {
    let topology = topology(&[5, 30, 60], 256);
    for (at, queue) in topology.queues.iter().enumerate() {
        if let Some(target) = leads_to(&topology, &queue.name) {
            assert!(topology.queues[..at].iter().any(|q| q.name == target), "{target} after {}", queue.name);
        }
    }
    let last: Vec<_> = topology.bindings.iter().rev().take(2).map(|b| b.exchange.as_str()).collect();
    assert_eq!(last, ["x", "x"]);
}

#[test]
fn whatever_dead_letters_does_so_at_least_once() {
    for queue in topology(&[5], 256).queues {
        assert_eq!(queue.arguments["x-queue-type"], Argument::Text("quorum".into()));
        if queue.arguments.contains_key("x-dead-letter-exchange") {
            assert_eq!(queue.arguments["x-dead-letter-strategy"], Argument::Text("at-least-once".into()));
            assert_eq!(queue.arguments["x-overflow"], Argument::Text("reject-publish".into()));
        }
    }
}

#[test]
fn parked_events_leave_their_queue_only_by_a_release() {
    let topology = topology(&[5], 256);
    let parked = topology.queues.iter().find(|queue| queue.name == topology.parked()).unwrap();
    let arguments: Vec<_> = parked.arguments.keys().copied().collect();
    assert_eq!((topology.parked(), arguments), ("q.parked", vec!["x-delivery-limit", "x-overflow", "x-queue-type"]));
    assert!(topology.rungs.iter().all(|rung| rung.queue != topology.parked()), "nobody consumes it");
}

#[test]
fn a_length_limit_refuses_and_drops_nothing_in_any_queue() {
    let topology = topology(&[5], 256);
    let holding = topology.event_queues().map(|queue| Queue::holding("q.migrating".into(), queue)).collect::<Vec<_>>();
    for queue in topology.event_queues().chain(&holding) {
        assert_eq!(queue.arguments["x-overflow"], Argument::Text("reject-publish".into()), "{}", queue.name);
    }
}

#[test]
fn what_the_broker_gives_up_is_a_dead_letter_and_a_notice_and_hookbros_own_copies_are_dead_letters_alone() {
    let topology = topology(&[5], 256);
    let behind = |exchange: &str| -> Vec<_> {
        let bound = topology.bindings.iter().filter(|binding| binding.exchange == exchange);
        bound.map(|binding| binding.queue.as_str()).collect()
    };
    let last = topology.rungs.iter().find(|rung| rung.next_delay.is_none()).unwrap();
    assert_eq!(leads_to(&topology, &last.queue).as_deref(), Some("q.dead"));
    assert_eq!(behind("q.dead"), ["q.dead", "q.dead.moved"]);
    assert_eq!((topology.copies(), behind("q.dead.copies")), ("q.dead.copies", vec!["q.dead"]));
    assert_eq!((topology.filled_by("q.dead"), topology.filled_by("q")), ("q.dead.copies", "q"));
    assert!(topology.fanouts.iter().any(|name| name == "q.dead.copies"));
    let notices = topology.queues.iter().find(|queue| queue.name == topology.moved()).unwrap();
    assert_eq!(notices.arguments["x-overflow"], Argument::Text("drop-head".into()), "they hold up no dead letter");
    // Each queue's part, and what is left without the publishers' bindings, lead there too.
    let dead = topology.queues.iter().find(|queue| queue.name == topology.dead()).unwrap();
    assert_eq!(topology.only(dead).fanouts, ["q.dead", "q.dead.copies"]);
    assert_eq!(topology.only(notices).fanouts, ["q.dead", "q.dead.moved"]);
    let own = topology.bindings.len() - 2;
    assert_eq!(topology.without_entrances().bindings, topology.bindings[..own]);
}

#[test]
fn an_empty_ladder_leads_straight_to_the_dead_letter_queue() {
    let topology = topology(&[], 4);
    assert_eq!(leads_to(&topology, "q").as_deref(), Some("q.dead"));
    assert_eq!(topology.rungs.len(), 1);
    assert_eq!(topology.max_in_flight(), 4);
}

#[test]
fn each_retry_queue_gets_an_eighth_of_the_prefetch_and_at_least_one() {
    assert_eq!(topology(&[5, 30], 256).rungs.iter().map(|r| r.prefetch).collect::<Vec<_>>(), [256, 32, 32]);
    assert_eq!(topology(&[5], 3).rungs[1].prefetch, 1);
}
