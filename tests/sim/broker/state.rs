//! What lies on the broker: queues, what is unsettled, and what is on its way.

use super::{Defect, Fate, Happening, Moved, Why};
use bytes::Bytes;
use hookbro::event::ProjectId;
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// How the broker is set up.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Of the work queue, then of each retry queue.
    pub prefetch: Vec<usize>,
    /// Before each retry queue.
    pub delays: Vec<Duration>,
    /// Returns after which a message leaves for the next rung.
    pub delivery_limit: u32,
    /// Projects that may have a lot of their own.
    pub most_lots: usize,
}

/// One message. A copy is another one, of the same event.
#[derive(Debug, Clone)]
pub struct Message {
    pub number: u64,
    pub event: usize,
    pub routing_key: String,
    pub body: Bytes,
    returns: u32,
    /// Since when it has been parked.
    pub parked: Option<Timestamp>,
}

/// Where a message lies or comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The work queue is 0, then the retry queues.
    Rung(usize),
    Lot(ProjectId),
    Others,
    Dead,
}

/// The operation on one delivery.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Ack(Why),
    /// To the next rung.
    Reject,
    Return,
}

pub(super) struct Connection {
    pub process: u32,
    /// What it may hold of each rung, and does.
    room: Vec<usize>,
    held: Vec<usize>,
    /// Sent to it, and not taken off it yet: tag, rung and message.
    arrived: VecDeque<(u64, usize, Message)>,
}

struct Unsettled {
    connection: u64,
    from: Place,
    message: Message,
}

pub(super) struct State {
    pub rules: Rules,
    fate: Arc<dyn Fate>,
    queues: BTreeMap<Place, VecDeque<Message>>,
    unsettled: BTreeMap<u64, Unsettled>,
    /// By the time of their arrival.
    moving: BTreeMap<(Instant, u64), (Place, Message)>,
    settling: BTreeMap<(Instant, u64), (u64, Operation)>,
    connections: BTreeMap<u64, Connection>,
    /// Something is ready or has room that was not or had none when this looked last.
    unsent: bool,
    /// The connection that was sent a message of each rung last: they take turns.
    served: Vec<u64>,
    /// Projects with a lot of their own.
    pub lots: BTreeSet<ProjectId>,
    pub dead: Vec<(Message, &'static str)>,
    pub away_until: Option<Instant>,
    last: u64,
}

impl State {
    pub(super) fn new(rules: Rules, fate: Arc<dyn Fate>) -> Self {
        Self {
            unsent: true,
            served: vec![0; rules.prefetch.len()],
            rules,
            fate,
            queues: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            moving: BTreeMap::new(),
            settling: BTreeMap::new(),
            connections: BTreeMap::new(),
            lots: BTreeSet::new(),
            dead: Vec::new(),
            away_until: None,
            last: 0,
        }
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn queue(&mut self, place: Place) -> &mut VecDeque<Message> {
        self.unsent = true;
        self.queues.entry(place).or_default()
    }

    pub(super) fn first(&self, place: &Place) -> Option<&Message> {
        self.queues.get(place)?.front()
    }

    pub(super) fn ready(&self, place: &Place) -> usize {
        self.queues.get(place).map_or(0, VecDeque::len)
    }

    pub(super) fn left(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum::<usize>() + self.unsettled.len() + self.moving.len()
    }

    pub(super) fn is_away(&self, now: Instant) -> bool {
        self.away_until.is_some_and(|until| now < until)
    }

    /// When something arrives next.
    pub(super) fn due(&self) -> Option<Instant> {
        let moving = self.moving.keys().next();
        moving.into_iter().chain(self.settling.keys().next()).map(|(at, _)| *at).min()
    }

    /// Lets everything arrive that has by now, in its order, and sends what may be sent. True if it has sent something.
    pub(super) fn turn(&mut self, now: Instant) -> bool {
        while let Some(due) = self.due().filter(|due| *due <= now) {
            if let Some(first) = self.settling.first_entry().filter(|first| first.key().0 == due) {
                let (tag, operation) = first.remove();
                self.settle(due, tag, operation);
            } else if let Some((_, (place, message))) = self.moving.pop_first() {
                self.arrive(due, place, message);
            }
        }
        self.send(now)
    }

    /// Sends to each connection what it may have.
    fn send(&mut self, now: Instant) -> bool {
        let mut sent = false;
        if !std::mem::take(&mut self.unsent) {
            return sent;
        }
        for rung in 0..self.served.len() {
            while self.ready(&Place::Rung(rung)) > 0 {
                let has_room = |(_, each): &(&u64, &Connection)| each.held[rung] < each.room[rung];
                let after = self.connections.range(self.served[rung] + 1..).find(has_room);
                let next = after.or_else(|| self.connections.iter().find(has_room));
                let Some((to, process)) = next.map(|(number, each)| (*number, each.process)) else { break };
                self.served[rung] = to;
                let taken = self.take(now, to, Place::Rung(rung), process);
                if let (Some((tag, message)), Some(connection)) = (taken, self.connections.get_mut(&to)) {
                    connection.arrived.push_back((tag, rung, message));
                    sent = true;
                }
            }
        }
        sent
    }

    /// Says what a connection may hold of each rung from now on.
    pub(super) fn allow(&mut self, connection: u64, room: Vec<usize>) {
        self.unsent = true;
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.room = room;
        }
    }

    /// What was sent to a connection and is not taken off it yet.
    pub(super) fn arrived(&mut self, connection: u64) -> Option<(u64, usize, Message)> {
        self.connections.get_mut(&connection)?.arrived.pop_front()
    }

    fn arrive(&mut self, at: Instant, place: Place, message: Message) {
        if place == Place::Dead {
            // The broker's own dead letters have no reason: it was the last rung.
            self.dead.push((message, "exhausted"));
            return;
        }
        self.fate.saw(at, Happening::Ready { event: message.event, message: message.number, at: place.clone() });
        self.queue(place).push_back(message);
    }

    pub(super) fn publish(&mut self, now: Instant, event: usize, routing_key: &str, body: Bytes) {
        let number = self.number();
        self.fate.saw(now, Happening::Published { event, message: number });
        let message = Message { number, event, routing_key: routing_key.to_owned(), body, returns: 0, parked: None };
        self.queue(Place::Rung(0)).push_back(message);
    }

    pub(super) fn connect(&mut self, process: u32) -> u64 {
        let (number, none) = (self.number(), vec![0; self.rules.prefetch.len()]);
        let connection = Connection { process, room: none.clone(), held: none, arrived: VecDeque::new() };
        self.connections.insert(number, connection);
        number
    }

    pub(super) fn is_connected(&self, connection: u64) -> bool {
        self.connections.contains_key(&connection)
    }

    /// What connections have not settled comes back, oldest first. What they have written and has not arrived is lost.
    pub(super) fn disconnect(&mut self, now: Instant, which: impl Fn(&Connection) -> bool) {
        let ended: BTreeMap<u64, u32> = self
            .connections
            .iter()
            .filter(|(_, each)| which(each))
            .map(|(number, each)| (*number, each.process))
            .collect();
        self.end(now, &ended);
    }

    /// Ends one connection; what it has written arrives first.
    pub(super) fn close(&mut self, now: Instant, connection: u64) {
        let Some(process) = self.connections.get(&connection).map(|connection| connection.process) else { return };
        let written: Vec<_> = std::mem::take(&mut self.settling).into_iter().collect();
        for (key, (tag, operation)) in written {
            if self.unsettled.get(&tag).is_some_and(|unsettled| unsettled.connection == connection) {
                self.settle(now, tag, operation);
            } else {
                self.settling.insert(key, (tag, operation));
            }
        }
        self.end(now, &BTreeMap::from([(connection, process)]));
    }

    fn end(&mut self, now: Instant, ended: &BTreeMap<u64, u32>) {
        for (connection, process) in ended {
            self.connections.remove(connection);
            self.fate.saw(now, Happening::Disconnected { process: *process });
        }
        let of_ended = |unsettled: &Unsettled| ended.contains_key(&unsettled.connection);
        let tags: Vec<u64> = self.unsettled.iter().filter(|(_, each)| of_ended(each)).map(|(tag, _)| *tag).collect();
        self.settling.retain(|_, (tag, _)| tags.binary_search(tag).is_err());
        for tag in tags.into_iter().rev() {
            self.settle(now, tag, Operation::Return);
        }
    }

    /// Takes the first message of a place; it is unsettled under the tag then.
    pub(super) fn take(&mut self, now: Instant, connection: u64, from: Place, process: u32) -> Option<(u64, Message)> {
        let message = self.queues.get_mut(&from)?.pop_front()?;
        let tag = self.number();
        let held = match (&from, self.connections.get_mut(&connection)) {
            (Place::Rung(rung), Some(connection)) => {
                connection.held[*rung] += 1;
                connection.held[*rung]
            }
            _ => 1 + self.unsettled.values().filter(|each| each.from == from && each.connection == connection).count(),
        };
        let (event, number) = (message.event, message.number);
        self.fate.saw(now, Happening::Delivered { event, message: number, from: from.clone(), process, held });
        self.unsettled.insert(tag, Unsettled { connection, from, message: message.clone() });
        Some((tag, message))
    }

    /// Writes a settlement that arrives at `at`.
    pub(super) fn write(&mut self, now: Instant, at: Instant, tag: u64, operation: Operation) {
        if at <= now {
            return self.settle(now, tag, operation);
        }
        let number = self.number();
        self.settling.insert((at, number), (tag, operation));
    }

    fn settle(&mut self, at: Instant, tag: u64, operation: Operation) {
        let Some(Unsettled { connection, from, mut message }) = self.unsettled.remove(&tag) else { return };
        if let (Place::Rung(rung), Some(connection)) = (&from, self.connections.get_mut(&connection)) {
            connection.held[*rung] -= 1;
            self.unsent = true;
        }
        let (event, number) = (message.event, message.number);
        match operation {
            Operation::Return if self.fate.defect() == Some(Defect::AcksReturns) => {}
            Operation::Ack(why) => self.fate.saw(at, Happening::Acked { event, message: number, why }),
            Operation::Reject => self.climb(at, &from, message, Moved::Rejected),
            Operation::Return => {
                message.returns += 1;
                if matches!(from, Place::Rung(_)) && message.returns > self.rules.delivery_limit {
                    self.climb(at, &from, message, Moved::Limit);
                } else {
                    self.fate.saw(at, Happening::Returned { event, message: number });
                    self.queue(from).push_front(message);
                }
            }
        }
    }

    /// To the queue behind `from`, which is on no rung if it is a lot.
    fn climb(&mut self, at: Instant, from: &Place, mut message: Message, why: Moved) {
        let rung = if let Place::Rung(rung) = from { *rung } else { 0 };
        let delay = self.rules.delays.get(rung).copied();
        let to = delay.map_or(Place::Dead, |_| Place::Rung(rung + 1));
        self.fate.saw(at, Happening::Moved { event: message.event, message: message.number, to: to.clone(), why });
        message.returns = 0;
        let (arrives, number) = (at + self.fate.transit() + delay.unwrap_or_default(), self.number());
        if arrives <= at {
            return self.arrive(at, to, message);
        }
        self.moving.insert((arrives, number), (to, message));
    }

    /// Stores a copy of `original`, in a place or before a delay.
    pub(super) fn copy(&mut self, now: Instant, original: &Message, to: Place, reason: Option<&'static str>) {
        let number = self.number();
        let is_lot = matches!(to, Place::Lot(_) | Place::Others);
        let parked = is_lot.then(|| original.parked.unwrap_or_else(Timestamp::now));
        let message = Message { number, returns: 0, parked, ..original.clone() };
        let (event, of) = (message.event, original.number);
        self.fate.saw(now, Happening::Copied { event, message: number, of, to: to.clone(), reason });
        match to {
            Place::Dead => self.dead.push((message, reason.unwrap_or("exhausted"))),
            Place::Rung(rung @ 1..) => {
                let at = now + self.rules.delays[rung - 1];
                self.moving.insert((at, number), (Place::Rung(rung), message));
            }
            place => self.queue(place).push_back(message),
        }
    }

    /// Whether `project` has a lot, made now if there may be one more.
    pub(super) fn make_lot(&mut self, project: &ProjectId) -> bool {
        if self.lots.len() < self.rules.most_lots {
            self.lots.insert(project.clone());
        }
        self.lots.contains(project)
    }
}
