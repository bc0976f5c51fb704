//! The destinations of this process: a circuit for each, so that one destination's failures are nobody else's.
//!
//! One destination for each project. What this module alone knows: which destinations there are, who waits for a change of
//! one, and when one can be forgotten.

mod circuit;
mod failing;

use crate::{
    event::{EventId, ParkReason, ProjectId},
    observe::{health::OpenCircuit, metrics::Metrics},
};
use circuit::{Chance, Circuit, Fault, Leave, Refusal};
use failing::Failing;
use jiff::Timestamp;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// The part of the places, as numerator and denominator, with which one destination keeps the others waiting.
const MOST_OF_PLACES: (usize, usize) = (3, 5);
/// Destinations remembered; those that are idle or held off are forgotten beyond it. Some 300 bytes each.
const MOST: usize = 50_000;

/// All destinations that events went to lately.
#[derive(Debug)]
pub struct Destinations {
    known: RwLock<HashMap<ProjectId, Arc<Destination>>>,
    /// Whether events wait long for their turn.
    crowded: AtomicBool,
    /// Places that make a destination the one that the others wait for.
    most: u32,
    metrics: Arc<Metrics>,
}

/// One destination.
#[derive(Debug)]
pub struct Destination {
    project: ProjectId,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Events of it that this process has and that are not settled, parked ones on their way among them.
    places: AtomicU32,
    /// Somebody else's turn may have come.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    circuit: Circuit,
    open: Option<Opened>,
    failing: Failing,
}

/// What opened a circuit.
#[derive(Debug)]
struct Opened {
    since: Timestamp,
    /// For people.
    cause: String,
    /// Why its events are parked.
    reason: ParkReason,
}

impl State {
    fn can_be_forgotten(&self) -> bool {
        match &self.open {
            Some(open) => open.reason != ParkReason::CircuitOpen,
            None => self.circuit.is_idle(),
        }
    }

    fn park_reason(&self, refusal: Refusal) -> ParkReason {
        match refusal {
            Refusal::Open => self.open.as_ref().map_or(ParkReason::CircuitOpen, |open| open.reason),
            Refusal::Ramping | Refusal::Stalled => ParkReason::OverLimit,
        }
    }
}

/// What a failure is about, as far as its destination is concerned.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// This event, until more is known.
    OfTheEvent,
    /// This event alone: its destination has accepted others since it failed first.
    OfTheEventAlone,
    /// The destination: its circuit has opened by it.
    OfTheDestination,
    /// The destination, whose circuit was open before: nothing new.
    Known,
}

/// Leave to make one event's calls to its destination. Dropped, nothing was learned.
#[must_use]
#[derive(Debug)]
pub struct Admitted {
    destination: Arc<Destination>,
    leave: Option<Leave>,
}

impl Destinations {
    /// `places`: fresh events that may be in flight at once, of all destinations.
    pub fn new(places: usize, metrics: Arc<Metrics>) -> Self {
        let most = u32::try_from(places * MOST_OF_PLACES.0 / MOST_OF_PLACES.1).unwrap_or(u32::MAX).max(1);
        Self { known: RwLock::default(), crowded: AtomicBool::new(false), most, metrics }
    }

    /// Says whether events wait long for their turn.
    pub fn set_crowded(&self, crowded: bool) {
        // Alone, nobody keeps anybody waiting.
        let others = || self.known.read().unwrap_or_else(PoisonError::into_inner).len() > 1;
        let crowded = crowded && others();
        if self.crowded.swap(crowded, Ordering::Relaxed) != crowded {
            match crowded {
                true => tracing::info!(
                    "events wait long for their turn: a project that has most places gets no more of them"
                ),
                false => tracing::info!("events do not wait long any more: every project gets places again"),
            }
        }
    }

    /// Takes a place for an event of `project`, until the answer is dropped.
    pub fn place(&self, project: &ProjectId) -> Place<'_> {
        let destination = self.get(project);
        destination.places.fetch_add(1, Ordering::Relaxed);
        Place { of: self, destination }
    }

    /// Leave for an event of `project`, or why it is to be parked, or stays so.
    pub fn admit(&self, project: &ProjectId) -> Result<Admitted, ParkReason> {
        self.admit_to(self.get(project))
    }

    fn admit_to(&self, destination: Arc<Destination>) -> Result<Admitted, ParkReason> {
        let mut state = destination.lock();
        let admitted = state.circuit.admit(Instant::now()).map_err(|refusal| state.park_reason(refusal));
        drop(state);
        admitted.map(|leave| Admitted { destination, leave: Some(leave) })
    }

    /// Waits until [`Destinations::admit`] has a chance to give leave.
    pub async fn until_chance(&self, project: &ProjectId) {
        let destination = self.get(project);
        loop {
            let changed = destination.changed.notified();
            // Asked after the subscription, so that no change is missed.
            let chance = destination.lock().circuit.chance(Instant::now());
            match chance {
                Chance::Now => return,
                Chance::At(at) => {
                    tokio::select! {
                        biased;
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                Chance::AfterAChange => changed.await,
            }
        }
    }

    /// Why a parked event of `project` stays parked now, if it does.
    pub fn refusal(&self, project: &ProjectId) -> Option<ParkReason> {
        self.get(project).refusal()
    }

    /// The open circuits, by project.
    pub fn open(&self) -> Vec<OpenCircuit> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let open = known.values().filter_map(|destination| {
            let state = destination.lock();
            let Opened { since, cause, .. } =
                state.open.as_ref().filter(|open| open.reason == ParkReason::CircuitOpen)?;
            Some(OpenCircuit { project: destination.project.to_string(), since: *since, cause: cause.clone() })
        });
        let mut open: Vec<_> = open.collect();
        open.sort_by(|one, other| one.project.cmp(&other.project));
        open
    }

    fn get(&self, project: &ProjectId) -> Arc<Destination> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).get(project) {
            return Arc::clone(known);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            // One that somebody holds is in use, whatever it says. One that is held off without a failure is asked again.
            known.retain(|_, each| Arc::strong_count(each) > 1 || !each.lock().can_be_forgotten());
        }
        // Detached: it must not keep the body of an event in memory.
        let project = project.detached();
        let destination = || Arc::new(Destination::new(project.clone(), Arc::clone(&self.metrics)));
        Arc::clone(known.entry(project.clone()).or_insert_with(destination))
    }
}

impl Destination {
    fn new(project: ProjectId, metrics: Arc<Metrics>) -> Self {
        Self { project, metrics, state: Mutex::default(), places: AtomicU32::new(0), changed: Notify::new() }
    }

    fn refusal(&self) -> Option<ParkReason> {
        let state = self.lock();
        state.circuit.refusal(Instant::now()).map(|refusal| state.park_reason(refusal))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one event that this process has.
#[derive(Debug)]
pub struct Place<'d> {
    of: &'d Destinations,
    destination: Arc<Destination>,
}

impl Place<'_> {
    /// Why the event, a fresh one, is to be parked now, if it is.
    pub fn refusal(&self) -> Option<ParkReason> {
        let has_most = || self.destination.places.load(Ordering::Relaxed) > self.of.most;
        if self.of.crowded.load(Ordering::Relaxed) && has_most() {
            return Some(ParkReason::OverLimit);
        }
        self.destination.refusal()
    }

    /// Leave for the event, or why it is to be parked.
    pub fn admit(&self) -> Result<Admitted, ParkReason> {
        self.of.admit_to(Arc::clone(&self.destination))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.destination.places.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Admitted {
    /// The destination took the event, or had it.
    pub fn accepted(mut self) {
        self.end(|circuit, leave| circuit.accepted(leave, Instant::now()));
    }

    /// The destination answered for good about this one event.
    pub fn answered(mut self) {
        self.end(|circuit, leave| circuit.answered(leave, Instant::now()));
    }

    /// The destination refused the event. True if it refuses event after event: then this one is to be parked.
    pub fn refused(mut self, cause: &str) -> bool {
        let Some(leave) = self.leave.take() else { return false };
        let mut state = self.destination.lock();
        let was_open = state.circuit.is_open();
        let parks = state.circuit.refused(leave, Instant::now());
        if state.circuit.is_open() {
            self.opened(&mut state, cause, ParkReason::CircuitOpen);
        } else if was_open {
            self.closed(&mut state);
        }
        drop(state);
        self.destination.changed.notify_waiters();
        parks
    }

    /// The destination failed for `event`, and asks to be left alone for `quiet`, if it says so. `outage`: the event has no
    /// attempt left, and nothing was accepted since the one before.
    pub fn failed(mut self, event: &EventId, cause: &str, quiet: Option<Duration>, outage: bool) -> Failure {
        let Some(leave) = self.leave.take() else { return Failure::OfTheEvent };
        let now = Instant::now();
        let mut state = self.destination.lock();
        let was_open = state.circuit.is_open();
        let since = state.failing.since(event, now);
        let fault = if state.circuit.accepted_since(since) { Fault::Event } else { Fault::Unclear };
        let mut is_open = state.circuit.failed(leave, now, quiet.map(|quiet| now + quiet), fault);
        if outage {
            state.circuit.trip(now);
            is_open = true;
        }
        if is_open {
            self.opened(&mut state, cause, ParkReason::CircuitOpen);
        }
        drop(state);
        self.destination.changed.notify_waiters();
        match (was_open, is_open) {
            (true, _) => Failure::Known,
            (false, true) => Failure::OfTheDestination,
            (false, false) if fault == Fault::Event => Failure::OfTheEventAlone,
            (false, false) => Failure::OfTheEvent,
        }
    }

    /// No event of the destination may be sent for `wait`, though nothing failed.
    pub fn hold_off(mut self, cause: &str, reason: ParkReason, wait: Duration) {
        if self.leave.take().is_none() {
            return;
        }
        let now = Instant::now();
        let mut state = self.destination.lock();
        state.circuit.hold_off(now, now + wait);
        self.opened(&mut state, cause, reason);
        drop(state);
        self.destination.changed.notify_waiters();
    }

    /// Shows that the circuit is open, and by what.
    fn opened(&self, state: &mut State, cause: &str, reason: ParkReason) {
        if let Some(open) = state.open.as_mut().filter(|open| open.reason == reason) {
            cause.clone_into(&mut open.cause);
            return;
        }
        self.closed(state);
        state.open = Some(Opened { since: Timestamp::now(), cause: cause.to_owned(), reason });
        let project = self.destination.project.as_str();
        if reason == ParkReason::CircuitOpen {
            self.destination.metrics.circuits_open.inc();
            tracing::warn!(project, cause, "circuit open: the project's events are parked until a probe is accepted");
        } else {
            tracing::warn!(project, cause, reason = reason.as_str(), "the project's events are parked");
        }
    }

    fn closed(&self, state: &mut State) {
        let Some(Opened { since, reason, .. }) = state.open.take() else { return };
        if reason != ParkReason::CircuitOpen {
            return;
        }
        self.destination.metrics.circuits_open.dec();
        let open_for = Timestamp::now().duration_since(since);
        let project = self.destination.project.as_str();
        tracing::info!(
            project,
            circuit.ms = open_for.as_millis(),
            "circuit closed: the project's events are delivered again"
        );
    }

    /// Whether the destination accepted any event after `since`.
    pub fn accepted_since(&self, since: Instant) -> bool {
        self.destination.lock().circuit.accepted_since(since)
    }

    fn end(&mut self, how: impl FnOnce(&mut Circuit, Leave) -> bool) {
        let Some(leave) = self.leave.take() else { return };
        let mut state = self.destination.lock();
        let closed = how(&mut state.circuit, leave);
        if closed {
            self.closed(&mut state);
        }
        drop(state);
        self.destination.changed.notify_waiters();
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.end(|circuit, leave| {
            circuit.abandoned(leave);
            false
        });
    }
}

#[cfg(test)]
#[path = "destinations_tests.rs"]
mod tests;
