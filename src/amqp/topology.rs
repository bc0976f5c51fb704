//! The objects on the broker as one value: names, arguments, and the order that never leaves a gap.
//!
//! Every dead-letter step is a fanout exchange and a quorum queue of one name, so that the original routing key
//! survives without `x-dead-letter-routing-key`. At-least-once dead-lettering needs quorum queues with
//! `x-overflow=reject-publish`; without it RabbitMQ falls back to at-most-once in silence.

use super::settings::Settings;
use crate::domain::Attempt;
use lapin::types::{AMQPValue, FieldTable, LongString};
use std::{collections::BTreeMap, time::Duration};

/// Returns a dead event survives while people look at it: RabbitMQ 4 would drop it after 20 by default.
const DEAD_DELIVERY_LIMIT: u32 = 1_000_000;
/// A retry queue gets this part of Q's prefetch: retries are fewer, and must not crowd out fresh events.
const RETRY_PREFETCH_PART: u16 = 8;

/// One queue argument, in the few types that are used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Argument {
    Text(String),
    Number(i64),
}

/// One durable quorum queue and its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    pub name: String,
    pub arguments: BTreeMap<&'static str, Argument>,
}

/// A queue bound to an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    pub queue: String,
    pub exchange: String,
    pub routing_key: String,
}

/// A queue that hookbro consumes, and the attempt that its deliveries are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    pub queue: String,
    pub attempt: Attempt,
    pub prefetch: u16,
}

/// Everything that must stand, each list in the order of its declaration: the far end first, the work queue last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The publishers' topic exchange: used as it is, created only if missing.
    pub topic_exchange: String,
    /// Our own exchanges, all fanout and durable.
    pub fanouts: Vec<String>,
    pub queues: Vec<Queue>,
    pub bindings: Vec<Binding>,
    /// Q first.
    pub rungs: Vec<Rung>,
}

impl Topology {
    pub fn new(settings: &Settings) -> Self {
        let names = Names(&settings.queue);
        let delays = settings.ladder.delays();
        let mut queues = vec![dead_queue(names.dead())];
        // From the last rung down, so that every dead-letter target stands before what leads to it.
        for (rung, delay) in (1..).zip(delays).collect::<Vec<_>>().into_iter().rev() {
            let beyond = if rung == delays.len() { names.dead() } else { names.delay(rung + 1) };
            queues.push(work_queue(names.retry(rung), &beyond, settings.delivery_limit));
            queues.push(delay_queue(names.delay(rung), &names.retry(rung), *delay));
        }
        let beyond = if delays.is_empty() { names.dead() } else { names.delay(1) };
        queues.push(work_queue(names.work(), &beyond, settings.delivery_limit));

        let fanouts: Vec<String> = queues.iter().map(|q| q.name.clone()).collect();
        let own = fanouts.iter().map(|name| bind(name, name, ""));
        let from_publishers = settings.bindings.iter().map(|key| bind(&settings.queue, &settings.exchange, key));
        let rungs = settings.ladder.attempts().map(|attempt| Rung {
            queue: if attempt == Attempt::FIRST { names.work() } else { names.retry(attempt.rung()) },
            attempt,
            prefetch: match attempt {
                Attempt::FIRST => settings.prefetch,
                _ => (settings.prefetch / RETRY_PREFETCH_PART).max(1),
            },
        });
        Self {
            topic_exchange: settings.exchange.clone(),
            bindings: own.chain(from_publishers).collect(),
            rungs: rungs.collect(),
            fanouts,
            queues,
        }
    }

    /// The fanout exchange and queue of events given up.
    pub fn dead(&self) -> &str {
        self.queues.first().map_or("", |q| q.name.as_str())
    }

    /// The part of the topology that is about one queue.
    pub(super) fn only(&self, queue: &Queue) -> Self {
        Self {
            topic_exchange: self.topic_exchange.clone(),
            fanouts: vec![queue.name.clone()],
            queues: vec![queue.clone()],
            bindings: self.bindings.iter().filter(|binding| binding.queue == queue.name).cloned().collect(),
            rungs: Vec::new(),
        }
    }

    /// The fanout exchange through which replays enter: every other consumer of the publishers' exchange would see them.
    pub fn entry(&self) -> &str {
        self.rungs.first().map_or("", |rung| rung.queue.as_str())
    }

    /// Most deliveries that can be unsettled at once.
    pub fn max_in_flight(&self) -> usize {
        self.rungs.iter().map(|r| usize::from(r.prefetch)).sum()
    }
}

/// The names that derive from `broker.queue`.
struct Names<'a>(&'a str);

impl Names<'_> {
    fn work(&self) -> String {
        self.0.to_owned()
    }
    fn delay(&self, rung: usize) -> String {
        format!("{}.delay.{rung}", self.0)
    }
    fn retry(&self, rung: usize) -> String {
        format!("{}.retry.{rung}", self.0)
    }
    fn dead(&self) -> String {
        format!("{}.dead", self.0)
    }
}

fn bind(queue: &str, exchange: &str, routing_key: &str) -> Binding {
    Binding { queue: queue.into(), exchange: exchange.into(), routing_key: routing_key.into() }
}

fn quorum(name: String, arguments: impl IntoIterator<Item = (&'static str, Argument)>) -> Queue {
    let mut arguments: BTreeMap<_, _> = arguments.into_iter().collect();
    arguments.insert("x-queue-type", Argument::Text("quorum".into()));
    Queue { name, arguments }
}

fn dead_lettering(to: &str) -> [(&'static str, Argument); 3] {
    [
        ("x-dead-letter-exchange", Argument::Text(to.into())),
        ("x-dead-letter-strategy", Argument::Text("at-least-once".into())),
        ("x-overflow", Argument::Text("reject-publish".into())),
    ]
}

fn work_queue(name: String, beyond: &str, delivery_limit: u32) -> Queue {
    let limit = ("x-delivery-limit", Argument::Number(delivery_limit.into()));
    quorum(name, dead_lettering(beyond).into_iter().chain([limit]))
}

fn delay_queue(name: String, retry: &str, delay: Duration) -> Queue {
    // A ladder's delays are below 2^32 ms.
    let ttl = ("x-message-ttl", Argument::Number(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)));
    quorum(name, dead_lettering(retry).into_iter().chain([ttl]))
}

fn dead_queue(name: String) -> Queue {
    quorum(name, [("x-delivery-limit", Argument::Number(DEAD_DELIVERY_LIMIT.into()))])
}

impl From<&Argument> for AMQPValue {
    fn from(argument: &Argument) -> Self {
        match argument {
            Argument::Text(text) => Self::LongString(LongString::from(text.as_str())),
            Argument::Number(number) => Self::LongLongInt(*number),
        }
    }
}

impl Queue {
    /// A queue that keeps what another one held while that is made anew.
    pub(super) fn holding(name: String) -> Self {
        dead_queue(name)
    }

    pub(super) fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, value) in &self.arguments {
            table.insert((*name).into(), value.into());
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::RetryLadder, ports::secret::Secret};

    fn topology(delays: &[u64], prefetch: u16) -> Topology {
        let delays = delays.iter().copied().map(Duration::from_secs).collect();
        Topology::new(&Settings {
            access: Secret::fixed("amqp://localhost").into(),
            exchange: "x".into(),
            queue: "q".into(),
            bindings: vec!["a.#".into(), "b".into()],
            prefetch,
            delivery_limit: 100,
            ladder: RetryLadder::try_new(delays).unwrap(),
        })
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
    fn an_empty_ladder_leads_straight_to_the_dead_queue() {
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
}
