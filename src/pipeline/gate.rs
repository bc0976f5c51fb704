//! Whether events may be sent to Svix at all: one gate that every call passes, and the pause when it is closed.
//!
//! Closed, it lets nobody through until its keeper ([`super::keeper`]) has reason to believe that Svix is back; then one
//! event at a time may try. Only the acceptance of such a trial opens it again.

use super::{
    gate_state::{Closed, State, Step},
    source::Demand,
};
use crate::{
    event::{Cause, PauseReason},
    observe::{health::Health, metrics::Metrics},
    process::stop::Stop,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::Instant,
};

/// So many retryable failures without one acceptance mean that Svix as a whole fails, not single events.
pub const FAILURES_IN_A_ROW: u32 = 20;

/// The gate. Shared by all deliveries in flight.
#[derive(Debug)]
pub struct Gate {
    state: watch::Sender<State>,
    /// Those who wait stand in line, one line for each standing: an event that has failed its trial goes to the end.
    lines: [Semaphore; Standing::COUNT],
    /// Ordinary events that wait.
    waiting: AtomicUsize,
    failures: AtomicU32,
    /// Milliseconds after `epoch` of the last acceptance, plus one; 0: none yet.
    last_accepted: AtomicU64,
    epoch: Instant,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// Leave to make one event's calls. Its end must be reported; dropped, a trial is free for the next event.
#[must_use]
#[derive(Debug)]
pub struct Pass<'g> {
    gate: &'g Gate,
    trial: Option<SemaphorePermit<'g>>,
}

/// How much a trial of this event would say about Svix as a whole. The less, the longer it lets others go first: events
/// that fail whatever Svix does gather at the last rung, and must not keep fresh ones waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ordinary,
    /// It has failed on every rung but this one.
    LastAttempt,
    /// Its last attempt failed, and nothing else was accepted either.
    FailedItsTrial,
}

impl Standing {
    const COUNT: usize = 3;

    /// How long a trial stands open for others before this event takes it.
    fn yields(self) -> Duration {
        Duration::from_secs(match self {
            Self::Ordinary => 0,
            Self::LastAttempt => 2,
            Self::FailedItsTrial => 4,
        })
    }
}

/// Why an event was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    TooLong,
    Stopping,
}

impl Gate {
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self {
            state: watch::Sender::new(State::Open),
            lines: [const { Semaphore::const_new(1) }; Standing::COUNT],
            waiting: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            last_accepted: AtomicU64::new(0),
            epoch: Instant::now(),
            metrics,
            health,
        }
    }

    /// Waits until this event may be sent, at most until `deadline`.
    pub async fn pass(&self, standing: Standing, deadline: Instant, stop: &Stop) -> Result<Pass<'_>, Denied> {
        if self.is_open() {
            return Ok(Pass { gate: self, trial: None });
        }
        // Boxed, so that an open gate does not make every task as large as a closed one would.
        Box::pin(self.wait(standing, deadline, stop)).await
    }

    async fn wait(&self, standing: Standing, deadline: Instant, stop: &Stop) -> Result<Pass<'_>, Denied> {
        let _waiting = (standing == Standing::Ordinary).then(|| Waiting::count(&self.waiting));
        tokio::select! {
            biased;
            () = stop.requested.cancelled() => Err(Denied::Stopping),
            pass = self.wait_in_line(standing) => Ok(pass),
            () = tokio::time::sleep_until(deadline) => Err(Denied::TooLong),
        }
    }

    async fn wait_in_line(&self, standing: Standing) -> Pass<'_> {
        // The semaphore is never closed, and the sender of the state lives as long as the gate.
        let permit = self.lines[standing as usize].acquire().await.ok();
        let mut state = self.state.subscribe();
        loop {
            let _ = state.wait_for(State::lets_somebody_through).await;
            if self.is_open() {
                return Pass { gate: self, trial: None };
            }
            if !standing.yields().is_zero() {
                tokio::select! {
                    _ = state.changed() => continue,
                    () = tokio::time::sleep(standing.yields()) => {}
                }
            }
            if self.step(Step::Trial, Step::Tried) {
                return Pass { gate: self, trial: permit };
            }
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(*self.state.borrow(), State::Open)
    }

    /// Whether Svix accepted any event after `since`.
    pub fn accepted_since(&self, since: Instant) -> bool {
        let last = self.last_accepted.load(Ordering::Relaxed);
        last > 0 && self.epoch + Duration::from_millis(last - 1) >= since
    }

    /// What to take from the source now. While ordinary events wait here, no further one is taken to be tried.
    pub fn demand(&self) -> Demand {
        match &*self.state.borrow() {
            State::Open => Demand::Full,
            State::Closed(closed) if closed.step == Step::Waiting => Demand::Nothing,
            State::Closed(_) if self.waiting.load(Ordering::Relaxed) > 0 => Demand::Nothing,
            State::Closed(_) => Demand::One,
        }
    }

    pub(super) fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Closes the gate, or says anew why it is closed. Not before `not_before` will anybody be let through.
    pub fn close(&self, reason: PauseReason, cause: &Cause, not_before: Option<Instant>) {
        self.state.send_modify(|state| match state {
            State::Open => {
                tracing::warn!(reason = reason.as_str(), cause = %cause, "paused: nothing is sent to Svix");
                *state = State::Closed(Closed::new(reason, cause, not_before));
            }
            State::Closed(closed) => closed.again(reason, cause, not_before),
        });
        self.show();
    }

    /// Moves from one step of the pause to another; false if it is at another. Towards a trial it only moves when no date
    /// given by Svix lies ahead, whoever learned of that date in the meantime.
    pub(super) fn step(&self, from: Step, to: Step) -> bool {
        self.state.send_if_modified(|state| match state {
            State::Closed(closed) if closed.step == from => {
                let too_early = to == Step::Trial && closed.must_wait().is_some();
                closed.step = if too_early { Step::Waiting } else { to };
                true
            }
            _ => false,
        })
    }

    fn open_after_trial(&self) {
        self.state.send_modify(|state| {
            let State::Closed(closed) = state else { return };
            if closed.must_wait().is_some() {
                closed.step = Step::Waiting;
            } else {
                let paused_for = closed.since.elapsed().unwrap_or_default();
                tracing::info!(paused_ms = paused_for.as_millis(), "resumed: Svix accepted an event");
                *state = State::Open;
            }
        });
        self.show();
    }

    fn show(&self) {
        let state = self.state.borrow();
        self.metrics.show_pause(state.reason());
        self.health.svix.send_replace(state.for_operator());
    }
}

impl Pass<'_> {
    /// Whether a further call of the same event may be made: the gate may have closed since the first.
    pub fn holds(&self) -> bool {
        match &*self.gate.state.borrow() {
            State::Open => true,
            State::Closed(closed) => self.trial.is_some() && closed.must_wait().is_none(),
        }
    }

    /// Svix took the event, or had it already.
    pub fn accepted(mut self) {
        let now = u64::try_from(self.gate.epoch.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.gate.last_accepted.fetch_max(now + 1, Ordering::Relaxed);
        self.gate.failures.store(0, Ordering::Relaxed);
        if self.trial.take().is_some() {
            self.gate.open_after_trial();
        }
    }

    /// Svix answered for good about this one event. That it would accept another is likely, not proved.
    pub fn answered(self) {}

    /// The call failed as single calls do. `wait`, if any, holds back every call.
    pub fn failed(mut self, cause: &Cause, wait: Option<Duration>) {
        let in_a_row = self.gate.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let permit = self.trial.take();
        if let Some(wait) = wait {
            self.gate.close(PauseReason::RateLimited, cause, Some(Instant::now() + wait));
        } else if in_a_row >= FAILURES_IN_A_ROW || permit.is_some() {
            self.gate.close(PauseReason::Failing, cause, None);
        }
        if permit.is_some() {
            self.gate.step(Step::Tried, Step::Waiting);
        }
    }

    /// The gate closed before all of the event's calls were made: nothing is known, and nothing spent.
    pub fn interrupted(self) {}

    /// Nothing can be sent, whatever the event.
    pub fn unusable(mut self, reason: PauseReason, cause: &Cause, wait: Option<Duration>) {
        let permit = self.trial.take();
        self.gate.close(reason, cause, wait.map(|wait| Instant::now() + wait));
        if permit.is_some() {
            self.gate.step(Step::Tried, Step::Waiting);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.trial.is_some() {
            self.gate.step(Step::Tried, Step::Trial);
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn count(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
