//! The topology: the objects on the broker as one value: names, arguments, and the order that never leaves a gap.
//!
//! Every dead-letter step is a fanout exchange and a quorum queue of one name, so that the original routing key
//! survives without `x-dead-letter-routing-key`. At-least-once dead-lettering needs quorum queues with
//! `x-overflow=reject-publish`; without it RabbitMQ falls back to at-most-once silently.

pub(super) mod changeover;
pub(super) mod declare;
mod emptiness;
pub(super) mod entrance;
mod management;
pub(super) mod migrate;
pub(super) mod policies;
pub mod topic;

use super::settings::{Lane, Settings};
use crate::event::{Attempt, ProjectId, RetryLadder};
use lapin::types::{AMQPValue, FieldTable, LongString};
use ring::digest::{SHA256, digest};
use std::{collections::BTreeMap, time::Duration};

/// How often a kept event may return to its queue, as it does after each reading: RabbitMQ 4 would drop it after 20 by default.
const KEPT_DELIVERY_LIMIT: u32 = 1_000_000;
/// Most notices that lie unread, by number and by bytes. Each is read at once; where nobody reads them, as under an older version,
/// the oldest go. No event goes with a notice: it is in the dead-letter queue.
const MOST_NOTICES: u32 = 10_000;
const MOST_NOTICE_BYTES: u32 = 64 << 20;
/// How often a notice may return to its queue. Its event may be one that ends every process that looks at it, and nothing is lost
/// without the notice.
const NOTICE_DELIVERY_LIMIT: u32 = 10;
/// A retry queue gets this part of Q's prefetch: retries are fewer, and must not crowd out fresh events.
const RETRY_PREFETCH_PART: u16 = 8;

/// The argument that makes a delay queue.
const TTL: &str = "x-message-ttl";
const DEAD_LETTER_EXCHANGE: &str = "x-dead-letter-exchange";

/// Bytes of the hash in a fork's name: two arrangements of one installation must not meet.
const FORK_HASH: usize = 8;

/// Bytes of the hash in the name of a queue of parked events whose project's id is too long for it.
const LOT_HASH: usize = 16;
/// Longest name of an object, in bytes (AMQP 0-9-1, short strings).
const MAX_NAME: usize = 255;

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

/// A queue that hookbro consumes, with the delays before and after its attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rung {
    pub queue: String,
    /// Counted from the default lane.
    pub lane: usize,
    pub attempt: Attempt,
    /// The delay before this attempt.
    pub waited: Duration,
    /// The delay after it; `None` on the last rung.
    pub next_delay: Option<Duration>,
    pub prefetch: u16,
}

/// Where an event's first attempt on its lane would leave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LaneOf {
    /// Counted from the default lane.
    pub number: usize,
    /// The delay after the first attempt; `None`: there is no second.
    pub next_delay: Option<Duration>,
    /// The exchange that leads to that delay, or to the dead-letter queue.
    pub beyond: String,
}

/// Routes events to their lanes: an internal topic exchange. An event that matches no lane's keys goes to Q.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// Named after its bindings, so that other bindings are another exchange: AMQP cannot list the bindings of an exchange.
    pub exchange: String,
    /// Its alternate exchange, which leads to Q.
    pub otherwise: String,
    /// The routing keys that bind it to the publishers' exchange.
    pub bindings: Vec<String>,
}

/// Everything that must exist, each list in the order of its declaration: the far end first, the work queue last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    /// The publishers' topic exchange: used as it is, created only if missing.
    pub topic_exchange: String,
    /// Our own exchanges that lead to one queue each, all fanout and durable.
    pub fanouts: Vec<String>,
    /// None without lanes: then Q is bound to the publishers' exchange itself.
    pub fork: Option<Fork>,
    pub queues: Vec<Queue>,
    pub bindings: Vec<Binding>,
    /// Q first.
    pub rungs: Vec<Rung>,
    /// The bindings that led to Q directly, where a fork leads to it now.
    pub(super) unbound: Vec<Binding>,
    /// The lanes' names and patterns, in order.
    lanes: Vec<Lane>,
    dead: String,
    copies: String,
    moved: String,
    parked: String,
}

impl Topology {
    pub fn new(settings: &Settings) -> Self {
        let dead = format!("{}.dead", settings.queue);
        let default = Ladder { stem: settings.queue.clone(), dead: &dead, limit: settings.delivery_limit };
        let parked = format!("{}.parked", settings.queue);
        let (copies, moved) = (format!("{dead}.copies"), format!("{dead}.moved"));
        let mut queues = vec![keeping_queue(dead.clone()), notice_queue(moved.clone()), keeping_queue(parked.clone())];
        let mut rungs = default.rungs(0, &settings.ladder, settings.prefetch);
        for (lane, number) in settings.lanes.iter().zip(1..) {
            let own = Ladder { stem: lane_queue(&settings.queue, &lane.name), ..default };
            queues.extend(own.queues(&lane.ladder));
            rungs.extend(own.rungs(number, &lane.ladder, lane.prefetch));
        }
        queues.extend(default.queues(&settings.ladder));

        let mut fanouts: Vec<String> = queues.iter().map(|q| q.name.clone()).collect();
        let own = fanouts.iter().map(|name| bind(name, name, ""));
        let own: Vec<_> = own.chain([bind(&dead, &copies, ""), bind(&moved, &dead, "")]).collect();
        fanouts.push(copies.clone());
        let direct = settings.bindings.iter().map(|key| bind(&settings.queue, &settings.exchange, key));
        let fork = fork(settings);
        let (to_queues, unbound): (Vec<_>, Vec<_>) = match &fork {
            None => (direct.collect(), Vec::new()),
            Some(fork) => {
                let keys = settings.lanes.iter().flat_map(|lane| lane.keys.iter().map(move |key| (lane, key)));
                let to_lanes =
                    keys.map(|(lane, key)| bind(&lane_queue(&settings.queue, &lane.name), &fork.exchange, key));
                (to_lanes.collect(), direct.collect())
            }
        };
        Self {
            topic_exchange: settings.exchange.clone(),
            bindings: own.into_iter().chain(to_queues).collect(),
            lanes: settings.lanes.clone(),
            rungs,
            fanouts,
            fork,
            queues,
            unbound,
            dead,
            copies,
            moved,
            parked,
        }
    }

    /// The queue of dead letters, and the fanout exchange to which the last rungs dead-letter.
    pub fn dead(&self) -> &str {
        &self.dead
    }

    /// The fanout exchange by which hookbro's own copies enter the queue of dead letters, past that of the notices.
    pub(super) fn copies(&self) -> &str {
        &self.copies
    }

    /// The queue of the notices: of each event that the broker itself moves to the queue of dead letters it gets a copy.
    pub(super) fn moved(&self) -> &str {
        &self.moved
    }

    /// The queues whose messages are events, each of them there alone: all but that of the notices.
    pub fn event_queues(&self) -> impl Iterator<Item = &Queue> {
        self.queues.iter().filter(|queue| queue.name != self.moved)
    }

    /// The fanout exchange by which hookbro itself puts messages into a queue of that name.
    pub(super) fn filled_by<'t>(&'t self, queue: &'t str) -> &'t str {
        if queue == self.dead { &self.copies } else { queue }
    }

    /// The fanout exchange and queue of the index of parked events: which projects have a queue of their own.
    pub fn parked(&self) -> &str {
        &self.parked
    }

    /// The queue of the record of paused projects. It is declared by whoever reads it.
    pub(super) fn pauses(&self) -> Queue {
        keeping_queue(format!("{}.pauses", self.work_queue()))
    }

    /// The lock under which a queue's messages are taken out and given back.
    pub(super) fn lock(&self, queue: &str) -> String {
        // A project may be called `lock`, and none has a tilde in its id.
        let ending = if queue == self.parked { "~lock" } else { ".lock" };
        format!("{queue}{ending}")
    }

    /// The fanout exchange and queue of a project's parked events.
    pub(super) fn lot(&self, project: &ProjectId) -> String {
        let name = format!("{}.{project}", self.parked);
        if name.len() <= MAX_NAME {
            return name;
        }
        // No project has a tilde in its id.
        format!("{}.~{}", self.parked, hex(project.as_str().as_bytes(), LOT_HASH))
    }

    /// The fanout exchange and queue of parked events whose project has none of its own.
    pub(super) fn lot_of_others(&self) -> String {
        format!("{}.~others", self.parked)
    }

    /// The objects of a queue of parked events.
    pub(super) fn of_lot(&self, name: &str) -> Self {
        let name = name.to_owned();
        Self {
            fanouts: vec![name.clone()],
            bindings: vec![bind(&name, &name, "")],
            queues: vec![keeping_queue(name)],
            fork: None,
            rungs: Vec::new(),
            unbound: Vec::new(),
            ..self.clone()
        }
    }

    /// The lane of an event that is not in it.
    pub(super) fn lane_of(&self, routing_key: &str) -> LaneOf {
        let entry = self.entry(routing_key);
        let first = self.rungs.iter().find(|rung| rung.queue == entry);
        let (number, next_delay) = first.map_or((0, None), |rung| (rung.lane, rung.next_delay));
        let beyond = if next_delay.is_some() { delay_name(entry, 1) } else { self.dead.clone() };
        LaneOf { number, next_delay, beyond }
    }

    /// The part of the topology that is about one queue.
    pub(super) fn only(&self, queue: &Queue) -> Self {
        let bindings: Vec<_> = self.bindings.iter().filter(|binding| binding.queue == queue.name).cloned().collect();
        let leads_to_it = |fanout: &&String| bindings.iter().any(|binding| binding.exchange == **fanout);
        Self {
            fanouts: self.fanouts.iter().filter(leads_to_it).cloned().collect(),
            queues: vec![queue.clone()],
            bindings,
            // It exists, and another replica may have arranged other lanes since.
            fork: None,
            rungs: Vec::new(),
            unbound: Vec::new(),
            ..self.clone()
        }
    }

    /// The retry queues, and that of the notices. Without one of them, everything else can be delivered.
    pub(super) fn spare(&self) -> impl Iterator<Item = &str> {
        let retries = self.rungs.iter().filter(|rung| rung.attempt != Attempt::FIRST);
        retries.map(|rung| rung.queue.as_str()).chain([self.moved()])
    }

    /// All but the queue of that name and what leads to it. Its exchange stays, for the queue that dead-letters there.
    pub(super) fn without(&self, queue: &str) -> Self {
        Self {
            queues: self.queues.iter().filter(|other| other.name != queue).cloned().collect(),
            bindings: self.bindings.iter().filter(|binding| binding.queue != queue).cloned().collect(),
            ..self.clone()
        }
    }

    /// All but the fork and the bindings by which publishers' events enter.
    pub(super) fn without_entrances(&self) -> Self {
        let own = self.bindings.iter().filter(|binding| self.fanouts.contains(&binding.exchange));
        Self { bindings: own.cloned().collect(), fork: None, unbound: Vec::new(), ..self.clone() }
    }

    /// The fanout exchange through which an event of this routing key is replayed, its lane's own: every other consumer of
    /// the publishers' exchange would see it there.
    pub fn entry(&self, routing_key: &str) -> &str {
        let of_lane = |lane: &&Lane| lane.keys.iter().any(|pattern| topic::matches(pattern, routing_key));
        let number = self.lanes.iter().zip(1..).find(|(lane, _)| of_lane(lane)).map_or(0, |(_, number)| number);
        self.rungs.iter().find(|rung| rung.lane == number).map_or("", |rung| rung.queue.as_str())
    }

    /// How many lanes there are, the default one among them.
    pub fn lanes(&self) -> usize {
        self.lanes.len() + 1
    }

    /// Each lane's name and how many delays it has.
    pub(super) fn lane_ladders(&self) -> impl Iterator<Item = (&str, usize)> {
        self.lanes.iter().map(|lane| (lane.name.as_str(), lane.ladder.delays().len()))
    }

    /// Q
    pub(super) fn work_queue(&self) -> &str {
        self.rungs.first().map_or("", |rung| rung.queue.as_str())
    }

    /// The routing keys by which publishers' events enter.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let forked = self.fork.iter().flat_map(|fork| fork.bindings.iter().map(String::as_str));
        let direct = self.bindings.iter().filter(|binding| binding.exchange == self.topic_exchange);
        forked.chain(direct.map(|binding| binding.routing_key.as_str()))
    }

    /// The queues that fresh events come from: each lane's first.
    pub fn entries(&self) -> impl Iterator<Item = &str> {
        self.rungs.iter().filter(|rung| rung.attempt == Attempt::FIRST).map(|rung| rung.queue.as_str())
    }

    /// Most parked events that are on their way at once: as many as fresh ones.
    pub fn max_from_lots(&self) -> usize {
        self.rungs.first().map_or(1, |rung| rung.prefetch.into())
    }

    /// Most deliveries that can be unsettled at once, parked ones not counted.
    pub fn max_in_flight(&self) -> usize {
        self.rungs.iter().map(|r| usize::from(r.prefetch)).sum()
    }
}

/// The queue of a lane, and the stem of its other names; Q's own is `queue`.
pub(super) fn lane_queue(queue: &str, lane: &str) -> String {
    format!("{queue}.lane.{lane}")
}

/// The queues of a lane's ladder, from the stem of their names and the number of its delays.
pub(super) fn ladder_queues(stem: &str, delays: usize) -> impl Iterator<Item = String> {
    let rungs = (1..=delays).flat_map(move |rung| [format!("{stem}.delay.{rung}"), format!("{stem}.retry.{rung}")]);
    std::iter::once(stem.to_owned()).chain(rungs)
}

/// No lanes, no fork: a lane that only drains needs none either, but one exchange less is not worth a case of its own.
fn fork(settings: &Settings) -> Option<Fork> {
    if settings.lanes.is_empty() {
        return None;
    }
    // Neither a lane's name nor a key that AMQP carries has a line break inside.
    let lanes = settings.lanes.iter().map(|lane| format!("{}\n{}\n\n", lane.name, lane.keys.join("\n")));
    let name = hex(lanes.collect::<String>().as_bytes(), FORK_HASH);
    Some(Fork {
        exchange: format!("{}.lanes.{name}", settings.queue),
        otherwise: settings.queue.clone(),
        bindings: settings.bindings.clone(),
    })
}

/// One lane's ladder.
struct Ladder<'a> {
    stem: String,
    dead: &'a str,
    limit: u32,
}

impl Ladder<'_> {
    /// From the last rung down, so that every dead-letter target exists before the queue that leads to it.
    fn queues(&self, ladder: &RetryLadder) -> Vec<Queue> {
        let delays = ladder.delays();
        let mut queues = Vec::new();
        for (rung, delay) in (1..).zip(delays).collect::<Vec<_>>().into_iter().rev() {
            let beyond = if rung == delays.len() { self.dead.to_owned() } else { self.delay(rung + 1) };
            queues.push(work_queue(self.retry(rung), &beyond, self.limit));
            queues.push(delay_queue(self.delay(rung), &self.retry(rung), *delay));
        }
        let beyond = if delays.is_empty() { self.dead.to_owned() } else { self.delay(1) };
        queues.push(work_queue(self.stem.clone(), &beyond, self.limit));
        queues
    }

    fn rungs(&self, lane: usize, ladder: &RetryLadder, prefetch: u16) -> Vec<Rung> {
        let rung = |attempt: Attempt| Rung {
            queue: if attempt == Attempt::FIRST { self.stem.clone() } else { self.retry(attempt.rung()) },
            lane,
            attempt,
            waited: ladder.waited_before(attempt),
            next_delay: ladder.delay_after(attempt),
            prefetch: match attempt {
                Attempt::FIRST => prefetch,
                _ => (prefetch / RETRY_PREFETCH_PART).max(1),
            },
        };
        ladder.attempts().map(rung).collect()
    }

    fn delay(&self, rung: usize) -> String {
        delay_name(&self.stem, rung)
    }

    fn retry(&self, rung: usize) -> String {
        format!("{}.retry.{rung}", self.stem)
    }
}

fn delay_name(stem: &str, rung: usize) -> String {
    format!("{stem}.delay.{rung}")
}

/// The first `bytes` of the SHA-256 of `text`, as hexadecimal digits.
fn hex(text: &[u8], bytes: usize) -> String {
    digest(&SHA256, text).as_ref().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
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
        (DEAD_LETTER_EXCHANGE, Argument::Text(to.into())),
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
    let ttl = (TTL, Argument::Number(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX)));
    quorum(name, dead_lettering(retry).into_iter().chain([ttl]))
}

/// A queue that no message leaves by itself. A length limit, which any policy can set, refuses new messages and drops none.
fn keeping_queue(name: String) -> Queue {
    let overflow = ("x-overflow", Argument::Text("reject-publish".into()));
    quorum(name, [("x-delivery-limit", Argument::Number(KEPT_DELIVERY_LIMIT.into())), overflow])
}

/// Notices are copies: where they are not read, they make room for others and hold up no dead letter.
fn notice_queue(name: String) -> Queue {
    let numbers = [
        ("x-delivery-limit", NOTICE_DELIVERY_LIMIT),
        ("x-max-length", MOST_NOTICES),
        ("x-max-length-bytes", MOST_NOTICE_BYTES),
    ];
    let numbers = numbers.map(|(name, number)| (name, Argument::Number(number.into())));
    quorum(name, numbers.into_iter().chain([("x-overflow", Argument::Text("drop-head".into()))]))
}

impl From<&Argument> for AMQPValue {
    fn from(argument: &Argument) -> Self {
        match argument {
            Argument::Text(text) => Self::LongString(LongString::from(text.as_str())),
            Argument::Number(number) => Self::LongLongInt(*number),
        }
    }
}

impl Fork {
    pub(super) fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        table.insert("alternate-exchange".into(), AMQPValue::LongString(self.otherwise.as_str().into()));
        table
    }
}

impl Queue {
    /// A queue that holds the messages of another one while that is deleted and declared again. Messages that wait in a
    /// delay queue go on from here too, so that retries go on however long that takes.
    pub(super) fn holding(name: String, of: &Self) -> Self {
        if of.delays() { Self { name, ..of.clone() } } else { keeping_queue(name) }
    }

    /// The queue that records lanes: one or two messages that only hookbro writes. Its arguments are those of all versions,
    /// because it is never migrated.
    pub(super) fn lane_record(name: String) -> Self {
        quorum(name, [("x-delivery-limit", Argument::Number(KEPT_DELIVERY_LIMIT.into()))])
    }

    /// Whether its messages leave it after a while.
    pub(super) fn delays(&self) -> bool {
        self.arguments.contains_key(TTL)
    }

    /// Whether its messages can be on their way to another queue.
    pub(super) fn dead_letters(&self) -> bool {
        self.arguments.contains_key(DEAD_LETTER_EXCHANGE)
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
#[path = "topology_tests.rs"]
mod tests;
