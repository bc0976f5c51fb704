//! A source in memory: queues by attempt, a clock that waits for nobody, and everything to look at afterwards.

use super::{DELAYS, PREFETCH, Rig};
use crate::support::events::Sample;
use bytes::Bytes;
use hookbro::{
    event::{Attempt, Event, ProjectId, Released, Verdict},
    observe::metrics::Metrics,
    pipeline::{
        delivery::{Delivery, Message, Receipt, Unsettled},
        parking::{NotPassed, Parking, Passed},
        source::{Connect, Demand, Ended, NotOpen, Occasion, Source},
    },
};
use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// How long a delivery may stay unsettled.
const DEADLINE: Duration = Duration::from_secs(600);

/// A broker in memory. Clones share it.
#[derive(Clone)]
pub(super) struct MemoryRig(Arc<Broker>);

struct Broker {
    state: Mutex<State>,
    changed: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
struct Stored {
    routing_key: String,
    body: Bytes,
}

#[derive(Default)]
struct State {
    /// By attempt, from the first.
    ready: [VecDeque<Stored>; DELAYS.len() + 1],
    /// When each is ready again, and for which attempt.
    delayed: Vec<(tokio::time::Instant, usize, Stored)>,
    unsettled: BTreeMap<u64, (usize, Stored)>,
    dead: Vec<(Stored, String)>,
    parked: VecDeque<Stored>,
    next_tag: u64,
    /// Counts the sources: a receipt of an earlier one settles nothing.
    session: u64,
}

pub(super) struct MemorySource {
    broker: Arc<Broker>,
    session: u64,
    demand: Demand,
}

pub(super) struct MemoryReceipt {
    broker: Arc<Broker>,
    session: u64,
    tag: u64,
}

impl MemoryRig {
    pub(super) fn new() -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        Self(Arc::new(Broker { state: Mutex::default(), changed: Notify::new(), metrics }))
    }
}

impl Broker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    /// Moves what has waited long enough; answers when the next will have.
    fn wake(&mut self) -> Option<tokio::time::Instant> {
        let now = tokio::time::Instant::now();
        let (due, waiting) = std::mem::take(&mut self.delayed).into_iter().partition(|(at, ..)| *at <= now);
        self.delayed = waiting;
        for (_, rung, stored) in due {
            self.ready[rung].push_back(stored);
        }
        self.delayed.iter().map(|(at, ..)| *at).min()
    }

    fn take(&mut self, demand: Demand) -> Option<(u64, usize, Stored)> {
        let room = match demand {
            Demand::Nothing => 0,
            Demand::One => 1,
            Demand::Full => usize::from(PREFETCH),
        };
        let rung = (0..self.ready.len()).find(|rung| {
            let taken = self.unsettled.values().filter(|(of, _)| of == rung).count();
            taken < room && !self.ready[*rung].is_empty()
        })?;
        let stored = self.ready[rung].pop_front()?;
        self.next_tag += 1;
        self.unsettled.insert(self.next_tag, (rung, stored.clone()));
        Some((self.next_tag, rung, stored))
    }

    /// What the source that ends has not settled comes back, oldest first.
    fn give_all_back(&mut self) {
        self.session += 1;
        for (_, (rung, stored)) in std::mem::take(&mut self.unsettled).into_iter().rev() {
            self.ready[rung].push_front(stored);
        }
    }
}

impl Receipt for MemoryReceipt {
    async fn settle(self, verdict: Verdict, _: Bytes) -> Verdict {
        let mut state = self.broker.state();
        if state.session != self.session {
            return Verdict::Released(Released::SessionEnded);
        }
        let Some((rung, stored)) = state.unsettled.remove(&self.tag) else {
            panic!("tag {} is settled twice", self.tag)
        };
        match &verdict {
            Verdict::Delivered | Verdict::Duplicate => {}
            Verdict::Retry(_) => match DELAYS.get(rung) {
                Some(delay) => state.delayed.push((tokio::time::Instant::now() + *delay, rung + 1, stored)),
                None => state.dead.push((stored, "exhausted".to_owned())),
            },
            Verdict::Dead(dead) => state.dead.push((stored, dead.reason.as_str().to_owned())),
            Verdict::Released(Released::ProjectPaused) => state.parked.push_back(stored),
            Verdict::Released(_) => state.ready[rung].push_front(stored),
        }
        drop(state);
        self.broker.changed.notify_one();
        verdict
    }

    fn give_back(self) {
        let mut state = self.broker.state();
        if state.session == self.session
            && let Some((rung, stored)) = state.unsettled.remove(&self.tag)
        {
            state.ready[rung].push_front(stored);
        }
        self.broker.changed.notify_one();
    }
}

impl Source for MemorySource {
    type Receipt = MemoryReceipt;

    async fn set_demand(&mut self, demand: Demand) -> Result<(), Ended> {
        self.demand = demand;
        Ok(())
    }

    async fn next(&mut self) -> Result<Delivery<MemoryReceipt>, Ended> {
        loop {
            if let Some(delivery) = self.next_arrived() {
                return Ok(delivery);
            }
            let due = self.broker.state().wake();
            tokio::select! {
                () = self.broker.changed.notified() => {}
                () = async { tokio::time::sleep_until(due.unwrap()).await }, if due.is_some() => {}
            }
        }
    }

    fn next_arrived(&mut self) -> Option<Delivery<MemoryReceipt>> {
        let mut state = self.broker.state();
        state.wake();
        let (tag, rung, stored) = state.take(self.demand)?;
        let received = Instant::now();
        let message = Message {
            body: stored.body,
            attempt: Attempt::from_rung(rung as u8),
            content_type: None,
            content_encoding: None,
            header_bytes: 0,
            replayed: 0,
            queue: format!("attempt {}", rung + 1).into(),
            routing_key: stored.routing_key,
            received,
            deadline: received + DEADLINE,
            trace: Default::default(),
            unreadable: Default::default(),
            waited: rung.checked_sub(1).map_or(Duration::ZERO, |before| DELAYS[before]),
            next_delay: DELAYS.get(rung).copied(),
            lane: 0,
        };
        let receipt = MemoryReceipt { broker: Arc::clone(&self.broker), session: self.session, tag };
        Some(Delivery { message, token: Unsettled::new(receipt, Arc::clone(&self.broker.metrics)) })
    }

    fn connected(&self) -> bool {
        self.broker.state().session == self.session
    }

    async fn abandon(self) {
        self.broker.state().give_all_back();
    }

    async fn close(self) {
        self.broker.state().give_all_back();
    }
}

impl Connect for MemoryRig {
    type Source = MemorySource;
    type Fatal = Infallible;

    async fn open(&self, _: Occasion) -> Result<MemorySource, NotOpen<Infallible>> {
        let session = self.0.state().session;
        Ok(MemorySource { broker: Arc::clone(&self.0), session, demand: Demand::Nothing })
    }

    async fn close(&self) {}
}

impl Parking for MemoryRig {
    async fn release(
        &self,
        stays: impl Fn(&ProjectId) -> bool + Send + Sync,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> Result<Passed, NotPassed> {
        let mut state = self.0.state();
        let mut passed = Passed { released: 0, kept: 0, left: 0 };
        for stored in std::mem::take(&mut state.parked) {
            let project = Event::parse(stored.body.clone(), usize::MAX).ok().map(|event| event.project);
            if passed.left > 0 || !goes_on() {
                passed.left += 1;
                state.parked.push_back(stored);
            } else if project.is_some_and(|project| stays(&project)) {
                passed.kept += 1;
                state.parked.push_back(stored);
            } else {
                passed.released += 1;
                state.ready[0].push_back(stored);
            }
        }
        drop(state);
        self.0.changed.notify_one();
        Ok(passed)
    }

    fn parked(&self) -> u64 {
        self.0.state().parked.len() as u64
    }

    async fn close(&self) {}
}

impl Rig for MemoryRig {
    fn connect(&self) -> impl Connect {
        self.clone()
    }

    fn parking(&self) -> impl Parking {
        self.clone()
    }

    async fn publish(&self, samples: &[Sample]) {
        let stored = |sample: &Sample| Stored { routing_key: sample.routing_key(), body: sample.body.clone() };
        self.0.state().ready[0].extend(samples.iter().map(stored));
        self.0.changed.notify_one();
    }

    async fn take_dead(&self) -> Vec<(Vec<u8>, String)> {
        std::mem::take(&mut self.0.state().dead).into_iter().map(|(stored, why)| (stored.body.to_vec(), why)).collect()
    }

    async fn end(self) {}
}
