//! A source in memory: queues by attempt, a clock that waits for nobody, and everything to look at afterwards.

use super::{DELAYS, PREFETCH, Rig};
use crate::support::events::Sample;
use bytes::Bytes;
use hookbro::{
    event::{Attempt, Cause, ParkReason, Parked, ProjectId, Released, Verdict},
    observe::metrics::Metrics,
    pipeline::{
        delivery::{Delivery, Message, Receipt, Unsettled},
        parking::{Look, Lot, NotNow, Oldest, Parking, Whose},
        source::{Connect, Demand, Ended, NotOpen, Occasion, Source},
    },
};
use jiff::Timestamp;
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
    /// Since when it has been parked.
    parked: Option<Timestamp>,
}

/// Where a delivery came from.
#[derive(Clone, PartialEq)]
enum Place {
    Rung(usize),
    Lot(Option<ProjectId>),
    /// It is a dead letter already, and nobody has been told.
    Notice,
}

#[derive(Default)]
struct State {
    /// By attempt, from the first.
    ready: [VecDeque<Stored>; DELAYS.len() + 1],
    /// When each is ready again, and for which attempt.
    delayed: Vec<(tokio::time::Instant, usize, Stored)>,
    unsettled: BTreeMap<u64, (Place, Stored)>,
    dead: Vec<(Stored, String)>,
    /// Dead letters without a verdict, to be told of.
    notices: VecDeque<Stored>,
    parked: BTreeMap<ProjectId, VecDeque<Stored>>,
    others: VecDeque<Stored>,
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

/// The events of one project that are parked in memory.
pub(super) struct MemoryLot {
    broker: Arc<Broker>,
    project: Option<ProjectId>,
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

    fn delivery(
        self: &Arc<Self>,
        session: u64,
        tag: u64,
        queue: String,
        rung: usize,
        stored: Stored,
    ) -> Delivery<MemoryReceipt> {
        let received = Instant::now();
        let message = Message {
            body: stored.body,
            attempt: Attempt::from_rung(rung as u8),
            content_type: None,
            content_encoding: None,
            header_bytes: 0,
            replayed: 0,
            queue: queue.into(),
            routing_key: stored.routing_key,
            received,
            deadline: received + DEADLINE,
            trace: Default::default(),
            unreadable: Default::default(),
            waited: rung.checked_sub(1).map_or(Duration::ZERO, |before| DELAYS[before]),
            next_delay: DELAYS.get(rung).copied(),
            lane: 0,
            given_up: None,
        };
        let receipt = MemoryReceipt { broker: Arc::clone(self), session, tag };
        Delivery { message, token: Unsettled::new(receipt, Arc::clone(&self.metrics)) }
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
            let taken = self.unsettled.values().filter(|(of, _)| *of == Place::Rung(*rung)).count();
            taken < room && !self.ready[*rung].is_empty()
        })?;
        let stored = self.ready[rung].pop_front()?;
        Some((self.took(Place::Rung(rung), &stored), rung, stored))
    }

    fn took(&mut self, place: Place, stored: &Stored) -> u64 {
        self.next_tag += 1;
        self.unsettled.insert(self.next_tag, (place, stored.clone()));
        self.next_tag
    }

    /// The events of a project that are parked, or of all others.
    fn lot(&mut self, project: Option<ProjectId>) -> &mut VecDeque<Stored> {
        match project {
            Some(project) => self.parked.entry(project).or_default(),
            None => &mut self.others,
        }
    }

    fn put_back(&mut self, place: Place, stored: Stored) {
        match place {
            Place::Rung(rung) => self.ready[rung].push_front(stored),
            Place::Lot(project) => self.lot(project).push_front(stored),
            Place::Notice => self.notices.push_front(stored),
        }
    }

    /// What the source that ends has not settled comes back, oldest first.
    fn give_all_back(&mut self) {
        self.session += 1;
        for (_, (place, stored)) in std::mem::take(&mut self.unsettled).into_iter().rev() {
            self.put_back(place, stored);
        }
    }
}

impl Receipt for MemoryReceipt {
    async fn settle(self, verdict: Verdict, _: Bytes) -> Verdict {
        let mut state = self.broker.state();
        if state.session != self.session {
            return Verdict::Released(Released::SessionEnded);
        }
        let Some((place, mut stored)) = state.unsettled.remove(&self.tag) else {
            panic!("tag {} is settled twice", self.tag)
        };
        let (rung, since) = match place {
            Place::Rung(rung) => (rung, None),
            Place::Lot(_) | Place::Notice => (0, stored.parked),
        };
        if matches!(verdict, Verdict::Parked(_)) {
            stored.parked = since.or_else(|| Some(Timestamp::now()));
        }
        match &verdict {
            Verdict::Delivered | Verdict::Duplicate => {}
            Verdict::Retry(_) => match DELAYS.get(rung) {
                Some(delay) => state.delayed.push((tokio::time::Instant::now() + *delay, rung + 1, stored)),
                None => {
                    state.dead.push((stored.clone(), "exhausted".to_owned()));
                    state.notices.push_back(stored);
                }
            },
            Verdict::Dead(_) if place == Place::Notice => {}
            Verdict::Dead(dead) => state.dead.push((stored, dead.reason.as_str().to_owned())),
            Verdict::Parked(Parked { reason: ParkReason::Provisioning, .. }) => state.others.push_back(stored),
            Verdict::Parked(parked) => state.parked.entry(parked.project.clone()).or_default().push_back(stored),
            Verdict::Released(_) => state.put_back(place, stored),
        }
        drop(state);
        self.broker.changed.notify_one();
        verdict
    }

    fn give_back(self) {
        let mut state = self.broker.state();
        if state.session == self.session
            && let Some((place, stored)) = state.unsettled.remove(&self.tag)
        {
            state.put_back(place, stored);
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
        if let Some(stored) = state.notices.pop_front() {
            let tag = state.took(Place::Notice, &stored);
            let last = format!("attempt {}", DELAYS.len() + 1);
            let mut delivery = self.broker.delivery(self.session, tag, last, DELAYS.len(), stored);
            delivery.message.given_up = Some(Cause { status: None, detail: "no attempt is left".to_owned() });
            return Some(delivery);
        }
        let (tag, rung, stored) = state.take(self.demand)?;
        Some(self.broker.delivery(self.session, tag, format!("attempt {}", rung + 1), rung, stored))
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
    type Receipt = MemoryReceipt;
    type Lot = MemoryLot;

    async fn lots(&self) -> Result<Vec<ProjectId>, NotNow> {
        Ok(self.0.state().parked.keys().cloned().collect())
    }

    fn has_lot(&self, project: &ProjectId) -> bool {
        self.0.state().parked.contains_key(project)
    }

    async fn open(&self, whose: Whose<'_>) -> Result<MemoryLot, NotNow> {
        let project = match whose {
            Whose::Project(project) => Some(project.clone()),
            Whose::Others => None,
        };
        Ok(MemoryLot { broker: Arc::clone(&self.0), project })
    }

    async fn close(&self) {}
}

impl Lot for MemoryLot {
    type Receipt = MemoryReceipt;

    async fn take(&mut self) -> Result<Option<Oldest<MemoryReceipt>>, NotNow> {
        let mut state = self.broker.state();
        let lot = state.lot(self.project.clone());
        let (taken, left) = (lot.pop_front(), lot.len() as u64);
        let Some(stored) = taken else { return Ok(None) };
        let (tag, since) = (state.took(Place::Lot(self.project.clone()), &stored), stored.parked);
        let delivery = self.broker.delivery(state.session, tag, format!("lot of {:?}", self.project), 0, stored);
        Ok(Some(Oldest { delivery, since, left }))
    }

    async fn take_overdue(&mut self, limit: Timestamp) -> Result<Look<MemoryReceipt>, NotNow> {
        let first = self.broker.state().lot(self.project.clone()).front().map(|stored| stored.parked);
        match first {
            None => Ok(Look::Empty),
            Some(since) if since.is_none_or(|since| since > limit) => Ok(Look::Stays(since)),
            Some(_) => Ok(self.take().await?.map_or(Look::Empty, |oldest| Look::Overdue(Box::new(oldest)))),
        }
    }

    async fn count(&mut self) -> Result<u64, NotNow> {
        Ok(self.broker.state().lot(self.project.clone()).len() as u64)
    }
}

impl Rig for MemoryRig {
    fn connect(&self) -> impl Connect {
        self.clone()
    }

    fn parking(&self) -> impl Parking {
        self.clone()
    }

    async fn publish(&self, samples: &[Sample]) {
        let stored =
            |sample: &Sample| Stored { routing_key: sample.routing_key(), body: sample.body.clone(), parked: None };
        self.0.state().ready[0].extend(samples.iter().map(stored));
        self.0.changed.notify_one();
    }

    async fn take_dead(&self) -> Vec<(Vec<u8>, String)> {
        std::mem::take(&mut self.0.state().dead).into_iter().map(|(stored, why)| (stored.body.to_vec(), why)).collect()
    }

    async fn end(self) {}
}
