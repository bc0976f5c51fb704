//! A broker in memory that keeps the rules of RabbitMQ's quorum queues: prefetch, returns, delays, delivery limits, confirmed
//! copies, and connections that may end at any moment. What goes wrong, and when, says whoever uses it.

mod link;
mod parking;
mod receipt;
mod source;
mod state;

pub use link::Link;
pub use state::{Message, Place, Rules};

use state::State;
use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// A broker. Clones share it.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    changed: Notify,
    fate: Arc<dyn Fate>,
}

/// What goes wrong, how long things take, and who hears of it.
pub trait Fate: Send + Sync + 'static {
    /// To the broker, or back.
    fn way(&self) -> Duration {
        Duration::ZERO
    }

    /// From a queue to the one that it dead-letters to.
    fn transit(&self) -> Duration {
        Duration::ZERO
    }

    /// What becomes of a copy.
    fn copy(&self) -> CopyFate {
        CopyFate::Confirmed
    }

    /// What is wrong with this broker, if anything.
    fn defect(&self) -> Option<Defect> {
        None
    }

    fn saw(&self, _at: Instant, _what: Happening) {}
}

/// What becomes of a copy that is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFate {
    Confirmed,
    /// Stored, and nobody hears of it.
    Unconfirmed,
    Refused,
}

/// Something that a broker, or what stands before it, may do wrong: to show that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// It sends more than was asked for.
    IgnoresPrefetch,
    /// What is returned is acknowledged.
    AcksReturns,
    /// The original is acknowledged before its copy is confirmed.
    AcksBeforeTheCopy,
    /// A failed attempt is given up at once.
    GivesUpAtOnce,
    /// What should be parked climbs a rung instead.
    ParkingSpendsAttempts,
    /// What should be parked goes back to the front of its queue.
    NeverParks,
    /// Nobody is told which lots there are.
    ForgetsLots,
    /// What a lot gives is acknowledged as it is given.
    LotsAckAtOnce,
}

/// Something that happened at the broker. Copies of one event share its `event`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Happening {
    Published {
        event: usize,
        message: u64,
    },
    /// It is ready, after a delay.
    Ready {
        event: usize,
        message: u64,
        at: Place,
    },
    /// `held`: what this connection has unsettled of the queue now.
    Delivered {
        event: usize,
        message: u64,
        from: Place,
        process: u32,
        held: usize,
    },
    /// The process has judged it.
    Judged {
        event: usize,
        message: u64,
        process: u32,
        verdict: Judged,
    },
    /// A copy has been stored.
    Copied {
        event: usize,
        message: u64,
        of: u64,
        to: Place,
        reason: Option<&'static str>,
    },
    /// The copy is confirmed to whoever published it.
    Confirmed {
        event: usize,
        of: u64,
    },
    /// Its settlement is on its way: the process is done with it.
    Written {
        event: usize,
        message: u64,
    },
    Acked {
        event: usize,
        message: u64,
        why: Why,
    },
    /// To a rung, after its delay, or to the dead letters.
    Moved {
        event: usize,
        message: u64,
        to: Place,
        why: Moved,
    },
    Returned {
        event: usize,
        message: u64,
    },
    /// A settlement came after the end of its connection.
    TooLate {
        event: usize,
        message: u64,
    },
    Disconnected {
        process: u32,
    },
}

/// A verdict, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Judged {
    Delivered,
    Retry { defect: bool },
    Dead(&'static str),
    Parked(&'static str),
    Released(&'static str),
}

/// Why a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// The verdict says that the sink has it.
    Settled,
    /// A copy is in its place.
    Copied,
}

/// Why the broker moves a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moved {
    Rejected,
    /// It was returned too often.
    Limit,
}

impl Broker {
    pub fn new(rules: Rules, fate: Arc<dyn Fate>) -> Self {
        let state = Mutex::new(State::new(rules, Arc::clone(&fate)));
        Self(Arc::new(Inner { state, changed: Notify::new(), fate }))
    }

    /// Up to date: what was on its way and has arrived by now is there.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().unwrap();
        if state.turn(Instant::now()) {
            self.0.changed.notify_waiters();
        }
        state
    }

    /// Does something, and wakes whoever waits for a change.
    fn change<T>(&self, how: impl FnOnce(&mut State, Instant) -> T) -> T {
        let done = how(&mut self.state(), Instant::now());
        self.0.changed.notify_waiters();
        done
    }

    async fn travel(&self) {
        let way = self.0.fate.way();
        if !way.is_zero() {
            tokio::time::sleep(way).await;
        }
    }

    pub fn publish(&self, event: usize, routing_key: &str, body: bytes::Bytes) {
        self.change(|state, now| state.publish(now, event, routing_key, body));
    }

    /// All connections of a process end.
    pub fn disconnect(&self, process: u32) {
        self.change(|state, now| state.disconnect(now, |connection| connection.process == process));
    }

    /// All connections of all processes end, and nobody connects before `until`.
    pub fn go_away(&self, until: Instant) {
        self.change(|state, now| {
            state.away_until = Some(until);
            state.disconnect(now, |_| true);
        });
    }

    /// Messages ready in the work queue.
    pub fn ready(&self) -> usize {
        self.state().ready(&Place::Rung(0))
    }

    /// Messages anywhere but among the dead letters.
    pub fn left(&self) -> usize {
        self.state().left()
    }

    pub fn take_dead(&self) -> Vec<(Message, &'static str)> {
        std::mem::take(&mut self.state().dead)
    }
}
