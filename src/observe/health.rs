//! The state of the process, written by the parts that know it and read by the operator's pages.

use crate::event::HaltReason;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::watch;

/// A consuming loop that has not turned for this long is stuck: it wakes itself every second.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// One reconnect repairs a broken connection, a second covers a passing fault of the broker. What a third does not repair is
/// likely in this process, and a new process should try.
pub const STALLED_IN_A_ROW: u32 = 3;

const BEAT_EVERY: Duration = Duration::from_secs(1);

/// The state of the connection to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    Connecting { last_error: Option<String> },
    Connected { since: SystemTime },
    Draining,
}

/// Whether events are sent to Svix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Svix {
    Ok,
    /// A halt for this reason is over by its probe alone: no event has come yet that could be tried.
    Untried {
        reason: HaltReason,
    },
    Halted {
        reason: HaltReason,
        detail: String,
        since: SystemTime,
        until: Option<SystemTime>,
    },
}

/// Why the process cannot make progress by itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAlive {
    #[error("the consuming loop is stuck")]
    Stuck,
    #[error("queue {queue} has messages ready and sends none, {times} connections in a row")]
    Stalled { queue: String, times: u32 },
}

/// An open circuit: events of this project are parked, but for probes.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct OpenCircuit {
    pub project: String,
    pub since: jiff::Timestamp,
    /// The failure that opened it, or that of its last probe.
    pub cause: String,
}

/// The state of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Journal {
    Off,
    Opening,
    Open {
        since: SystemTime,
    },
    /// Deliveries go on and are not written down.
    Away {
        detail: String,
        since: SystemTime,
    },
}

/// Why a queue cannot be consumed, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable {
    pub detail: String,
    pub since: SystemTime,
}

/// One board per process. Each part is written by one owner.
#[derive(Debug)]
pub struct Health {
    pub broker: watch::Sender<Broker>,
    pub svix: watch::Sender<Svix>,
    pub journal: watch::Sender<Journal>,
    /// Messages ready per queue, as last asked.
    pub queues: watch::Sender<BTreeMap<String, u64>>,
    /// By project.
    pub circuits: watch::Sender<Vec<OpenCircuit>>,
    /// Events that are parked, as far as this process knows.
    pub parked: watch::Sender<u64>,
    /// Queues with a stalled consumer, and over how many connections in a row.
    pub stalled: watch::Sender<BTreeMap<String, u32>>,
    /// Retry queues that cannot be consumed, while the others are.
    pub unavailable: watch::Sender<BTreeMap<String, Unavailable>>,
    /// Grows whenever an operator of this process begins or ends to take events out of the dead-letter queue.
    dead_turn: AtomicU64,
    started: Instant,
    /// Milliseconds after `started` at which the consuming loop last turned.
    pulse: AtomicU64,
}

impl Health {
    pub fn new() -> Self {
        Self {
            broker: watch::Sender::new(Broker::Connecting { last_error: None }),
            svix: watch::Sender::new(Svix::Ok),
            journal: watch::Sender::new(Journal::Off),
            queues: watch::Sender::default(),
            circuits: watch::Sender::default(),
            parked: watch::Sender::default(),
            stalled: watch::Sender::default(),
            unavailable: watch::Sender::default(),
            dead_turn: AtomicU64::new(0),
            started: Instant::now(),
            pulse: AtomicU64::new(0),
        }
    }

    /// The consuming loop says that it turns.
    pub fn beat(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.pulse.store(now, Ordering::Relaxed);
    }

    /// Runs `work` to its end, and shows all the while that the loop which waits for it is not stuck.
    pub async fn beating<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut beat = tokio::time::interval(BEAT_EVERY);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                _ = beat.tick() => self.beat(),
            }
        }
    }

    /// Runs what takes events out of the dead-letter queue, so that nobody wonders why it shrinks.
    pub async fn taking_dead<T>(&self, work: impl Future<Output = T>) -> T {
        self.dead_turn.fetch_add(1, Ordering::Relaxed);
        let done = work.await;
        self.dead_turn.fetch_add(1, Ordering::Relaxed);
        done
    }

    pub fn dead_turn(&self) -> u64 {
        self.dead_turn.load(Ordering::Relaxed)
    }

    /// The consumer of a queue with messages ready is sent none.
    pub fn consumer_stalled(&self, queue: &str) {
        self.stalled.send_modify(|stalled| *stalled.entry(queue.to_owned()).or_default() += 1);
    }

    /// The consumer of a queue is sent messages again, or there are none.
    pub fn consumer_flows(&self, queue: &str) {
        self.stalled.send_if_modified(|stalled| stalled.remove(queue).is_some());
    }

    /// A queue cannot be consumed; true if it could be before.
    pub fn queue_unavailable(&self, queue: &str, detail: String) -> bool {
        let mut is_new = false;
        self.unavailable.send_modify(|queues| match queues.get_mut(queue) {
            Some(known) => known.detail = detail,
            None => {
                is_new = true;
                queues.insert(queue.to_owned(), Unavailable { detail, since: SystemTime::now() });
            }
        });
        is_new
    }

    /// A queue is consumed; true if it could not be before.
    pub fn queue_available(&self, queue: &str) -> bool {
        self.unavailable.send_if_modified(|queues| queues.remove(queue).is_some())
    }

    /// Whether the process can make progress. Svix and a lost broker do not count; a consumer that stays stalled over several
    /// connections does.
    pub fn alive(&self) -> Result<(), NotAlive> {
        let last = Duration::from_millis(self.pulse.load(Ordering::Relaxed));
        if self.started.elapsed().saturating_sub(last) >= STUCK_AFTER {
            return Err(NotAlive::Stuck);
        }
        match self.stalled.borrow().iter().find(|(_, times)| **times >= STALLED_IN_A_ROW) {
            Some((queue, times)) => Err(NotAlive::Stalled { queue: queue.clone(), times: *times }),
            None => Ok(()),
        }
    }

    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}
