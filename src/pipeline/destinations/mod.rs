//! The destinations of this process: a circuit for each, so that one destination's failures are nobody else's.
//!
//! One destination for each project. What this module alone knows: which destinations there are, who waits for a change of
//! one, and when one can be forgotten.

mod circuit;

use crate::{
    event::{ParkReason, ProjectId},
    observe::{health::OpenCircuit, metrics::Metrics},
};
use circuit::{Chance, Circuit, Leave, Refusal};
use jiff::Timestamp;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Destinations remembered; those that are idle are forgotten beyond it. Some 300 bytes each.
const MOST: usize = 50_000;

/// All destinations that events went to lately.
#[derive(Debug)]
pub struct Destinations {
    known: RwLock<HashMap<ProjectId, Arc<Destination>>>,
    metrics: Arc<Metrics>,
}

/// One destination.
#[derive(Debug)]
pub struct Destination {
    project: ProjectId,
    state: Mutex<State>,
    /// Somebody else's turn may have come.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    circuit: Circuit,
    /// Since when the circuit is open, and what opened it.
    open: Option<(Timestamp, String)>,
}

/// What a failure is about, as far as its destination is concerned.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// This event, until more is known.
    OfTheEvent,
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
    metrics: Arc<Metrics>,
    leave: Option<Leave>,
}

impl Destinations {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { known: RwLock::default(), metrics }
    }

    /// Leave for an event of `project`, or why it is to be parked.
    pub fn admit(&self, project: &ProjectId) -> Result<Admitted, ParkReason> {
        let destination = self.get(project);
        let admitted = destination.lock().circuit.admit(Instant::now());
        match admitted {
            Ok(leave) => Ok(Admitted { destination, metrics: Arc::clone(&self.metrics), leave: Some(leave) }),
            Err(refusal) => Err(park_reason(refusal)),
        }
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
                        () = changed => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                Chance::AfterAChange => changed.await,
            }
        }
    }

    /// Why an event of `project` would be parked now, if it would.
    pub fn refusal(&self, project: &ProjectId) -> Option<ParkReason> {
        self.get(project).lock().circuit.refusal(Instant::now()).map(park_reason)
    }

    /// The open circuits, by project.
    pub fn open(&self) -> Vec<OpenCircuit> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let open = known.values().filter_map(|destination| {
            let (since, cause) = destination.lock().open.clone()?;
            Some(OpenCircuit { project: destination.project.to_string(), since, cause })
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
            // One that somebody holds is in use, whatever it says.
            known.retain(|_, each| Arc::strong_count(each) > 1 || !each.lock().circuit.is_idle());
        }
        // Detached: it must not keep the body of an event in memory.
        let project = project.detached();
        let destination = || Arc::new(Destination::new(project.clone()));
        Arc::clone(known.entry(project.clone()).or_insert_with(destination))
    }
}

fn park_reason(refusal: Refusal) -> ParkReason {
    match refusal {
        Refusal::Open => ParkReason::CircuitOpen,
        Refusal::Ramping | Refusal::Stalled => ParkReason::OverLimit,
    }
}

impl Destination {
    fn new(project: ProjectId) -> Self {
        Self { project, state: Mutex::default(), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
            self.opened(&mut state, cause);
        } else if was_open {
            self.closed(&mut state);
        }
        drop(state);
        self.destination.changed.notify_waiters();
        parks
    }

    /// The destination failed, and asks to be left alone for `quiet`, if it says so. `outage`: the event has no attempt left, and
    /// nothing was accepted since the one before.
    pub fn failed(mut self, cause: &str, quiet: Option<Duration>, outage: bool) -> Failure {
        let Some(leave) = self.leave.take() else { return Failure::OfTheEvent };
        let now = Instant::now();
        let mut state = self.destination.lock();
        let was_open = state.circuit.is_open();
        state.circuit.failed(leave, now, quiet.map(|quiet| now + quiet));
        if outage {
            state.circuit.trip(now);
        }
        let is_open = state.circuit.is_open();
        if is_open {
            self.opened(&mut state, cause);
        }
        drop(state);
        self.destination.changed.notify_waiters();
        match (was_open, is_open) {
            (true, _) => Failure::Known,
            (false, true) => Failure::OfTheDestination,
            (false, false) => Failure::OfTheEvent,
        }
    }

    /// Shows that the circuit is open, and by what.
    fn opened(&self, state: &mut State, cause: &str) {
        if let Some((_, last)) = &mut state.open {
            cause.clone_into(last);
            return;
        }
        state.open = Some((Timestamp::now(), cause.to_owned()));
        self.metrics.circuits_open.inc();
        let project = self.destination.project.as_str();
        tracing::warn!(project, cause, "circuit open: the project's events are parked until a probe is accepted");
    }

    fn closed(&self, state: &mut State) {
        let Some((since, _)) = state.open.take() else { return };
        self.metrics.circuits_open.dec();
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
