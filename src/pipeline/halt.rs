//! The halt of everything: whether events may be sent to the sink at all.
//!
//! Halted, it lets nobody through until the prober ([`super::prober`]) has reason to believe that the sink is back; then one
//! event at a time may try. Only the acceptance of such a probe opens it to all again. Where no event comes to be tried, the
//! prober's success ends the halt for operators, and the first event that comes still goes alone.

use super::{
    halt_state::{Halted, State, Step},
    refusals::{Reach, Refusals},
    source::Demand,
    watched::{Watched, Watcher},
};
use crate::{
    event::{Cause, HaltReason, ProjectId},
    observe::{health::Health, metrics::Metrics},
    process::stop::Stop,
};
use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};

/// So many retryable failures without one acceptance mean that the sink as a whole fails, not single events.
pub const FAILURES_IN_A_ROW: u32 = 20;

/// Destinations that fail, one after another without a wait between them, until one that works is found: its events may lie
/// behind theirs. Beyond so many, it is the sink that fails.
const PROBES_AT_ONCE: u32 = 100;

/// How often to check again whether an event is wanted.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// Whether everything is halted, and why. Shared by all deliveries in flight.
#[derive(Debug)]
pub struct Halt {
    state: Watched<State>,
    /// Those who wait stand in line, one line for each standing: an event that has failed its probe goes to the end.
    lines: [Semaphore; Standing::COUNT],
    /// Ordinary events that wait.
    waiting: AtomicUsize,
    /// Failures in a row, of any destination.
    failures: AtomicU32,
    /// Whose they are.
    failing: Mutex<Failing>,
    /// When an event was let through as a probe.
    last_tried: Mutex<Option<Instant>>,
    /// Probes that failed since all was well, each of another destination, whose circuit has opened by it.
    probes_at_once: AtomicU32,
    refusals: Mutex<Refusals>,
    /// Whether there are any, so that an acceptance seldom looks.
    any_refused: AtomicBool,
    /// Makes a number of a destination, which nobody can choose.
    destinations: RandomState,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// Leave to make one event's calls. Its end must be reported; dropped, a probe is free for the next event.
#[must_use]
#[derive(Debug)]
pub struct Pass<'g> {
    halt: &'g Halt,
    probe: Option<SemaphorePermit<'g>>,
}

/// How much a probe of this event would say about the sink as a whole. The less, the longer it lets others go first: events
/// that fail whatever the sink does gather at the last rung, and must not keep fresh ones waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Ordinary,
    /// It has failed on every rung but this one.
    LastAttempt,
    /// It was refused, and nothing else was accepted either.
    FailedItsProbe,
}

/// The destinations of a row of failures.
#[derive(Debug, Default)]
struct Failing {
    first: Option<ProjectId>,
    several: bool,
}

impl Failing {
    /// One more failure of the row, the first if `begins`; answers whether the row has several destinations.
    fn add(&mut self, project: &ProjectId, begins: bool) -> bool {
        if begins {
            *self = Self::default();
        }
        let first = self.first.get_or_insert_with(|| project.detached());
        self.several |= first != project;
        self.several
    }
}

impl Standing {
    const COUNT: usize = 3;

    /// How long a probe stands open for others before this event takes it.
    fn yields(self) -> Duration {
        Duration::from_secs(match self {
            Self::Ordinary => 0,
            Self::LastAttempt => 2,
            Self::FailedItsProbe => 4,
        })
    }
}

/// What a refusal is about.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// This event, as far as anybody can know.
    TheEvent,
    /// Every event: nothing is known of this one, and nothing spent.
    EveryEvent,
}

/// Why an event was not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    TooLong,
    Stopping,
}

impl Halt {
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self {
            state: Watched::new(State::Running),
            lines: [const { Semaphore::const_new(1) }; Standing::COUNT],
            waiting: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            failing: Mutex::default(),
            last_tried: Mutex::default(),
            probes_at_once: AtomicU32::new(0),
            refusals: Mutex::default(),
            any_refused: AtomicBool::new(false),
            destinations: RandomState::new(),
            metrics,
            health,
        }
    }

    /// Waits until this event may be sent, at most until `deadline`.
    pub async fn pass(&self, standing: Standing, deadline: Instant, stop: &Stop) -> Result<Pass<'_>, Denied> {
        if self.is_running() {
            return Ok(Pass { halt: self, probe: None });
        }
        // Boxed, so that the wait does not make the task of every event larger.
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
        // The semaphore is never closed.
        let permit = self.lines[standing as usize].acquire().await.ok();
        let mut state = self.state.watch();
        loop {
            state.wait_for(State::lets_one_through).await;
            if self.is_running() {
                return Pass { halt: self, probe: None };
            }
            if !standing.yields().is_zero() {
                tokio::select! {
                    biased;
                    () = state.changed() => continue,
                    () = tokio::time::sleep(standing.yields()) => {}
                }
            }
            if self.take_probe() {
                return Pass { halt: self, probe: permit };
            }
        }
    }

    pub fn is_running(&self) -> bool {
        matches!(*self.state.borrow(), State::Running)
    }

    /// What to take from the source now. While ordinary events wait here, no further one is taken to be tried.
    pub fn demand(&self) -> Demand {
        match &*self.state.borrow() {
            State::Running => Demand::Full,
            State::Halted(closed) if closed.step == Step::Waiting => Demand::Nothing,
            // Events of destinations that are known to fail are parked, so that one that works is found behind them.
            State::Halted(closed) if closed.reason == HaltReason::Failing => Demand::Full,
            State::Halted(_) if self.waiting.load(Ordering::Relaxed) > 0 => Demand::Nothing,
            State::Halted(_) => Demand::One,
        }
    }

    /// When an event was last let through as a probe.
    pub(super) fn last_tried(&self) -> Option<Instant> {
        *self.last_tried.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether any event may be taken to be tried.
    pub fn wants_more(&self) -> bool {
        self.demand() != Demand::Nothing
    }

    /// Waits until one may.
    pub async fn until_wanted(&self) {
        let mut states = self.states();
        while !self.wants_more() {
            tokio::select! {
                biased;
                () = states.changed() => {}
                // Those that wait here may have ended without a change of state.
                () = tokio::time::sleep(CHECK_AGAIN) => {}
            }
        }
    }

    pub(super) fn states(&self) -> Watcher<'_, State> {
        self.state.watch()
    }

    fn take_probe(&self) -> bool {
        let taken = self.state.modify_if(|state| match state {
            State::Halted(closed) => match closed.step.with_probe() {
                Some(step) => {
                    closed.step = step;
                    true
                }
                None => false,
            },
            State::Running => false,
        });
        if taken {
            *self.last_tried.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        }
        taken
    }

    /// A probe has come back and proved nothing: the next event may be one, unless a date given by the sink lies ahead.
    fn give_probe_back(&self) {
        self.state.modify_if(|state| match state {
            State::Halted(closed) => {
                let before = closed.step;
                closed.step = match before.without_probe() {
                    step if step != before && closed.must_wait().is_some() => Step::Waiting,
                    step => step,
                };
                closed.step != before
            }
            State::Running => false,
        });
    }

    /// Halts everything, or says again why it is halted. Nobody passes before `not_before`.
    pub fn begin(&self, reason: HaltReason, cause: &Cause, not_before: Option<Instant>) {
        self.state.modify(|state| match state {
            State::Running => {
                tracing::warn!(halt.reason = reason.as_str(), halt.cause = %cause, "halted: nothing is sent");
                *state = State::Halted(Halted::new(reason, cause, not_before));
            }
            State::Halted(closed) => {
                if closed.step.is_over() {
                    tracing::warn!(halt.reason = reason.as_str(), halt.cause = %cause, "halted again: nothing is sent");
                }
                closed.again(reason, cause, not_before);
            }
        });
        self.show();
    }

    /// Nobody has come to be tried, and the prober was answered well: operators need not wait for the first event.
    pub(super) fn await_first_event(&self) -> bool {
        let over = self.step(Step::HalfOpen, Step::Untried);
        if over {
            tracing::info!("the halt is over: the probe succeeded, and there is no event to try yet");
            self.show();
        }
        over
    }

    /// Moves from one step of the halt to another; false if it is at another. Towards a probe it only moves when no date
    /// given by the sink lies ahead, whoever learned of that date in the meantime.
    pub(super) fn step(&self, from: Step, to: Step) -> bool {
        self.state.modify_if(|state| match state {
            State::Halted(closed) if closed.step == from => {
                let too_early = to == Step::HalfOpen && closed.must_wait().is_some();
                closed.step = if too_early { Step::Waiting } else { to };
                true
            }
            _ => false,
        })
    }

    fn resume(&self) {
        self.probes_at_once.store(0, Ordering::Relaxed);
        self.state.modify(|state| {
            let State::Halted(closed) = state else { return };
            if closed.must_wait().is_some() {
                closed.step = Step::Waiting;
            } else if closed.step.is_over() {
                tracing::info!("an event was accepted, the first since the halt");
                *state = State::Running;
            } else {
                let halted_for = closed.since.elapsed().unwrap_or_default();
                tracing::info!(halt.ms = halted_for.as_millis(), "the halt is over: an event was accepted");
                *state = State::Running;
            }
        });
        self.show();
    }

    fn count_refusal(&self, destination: &impl Hash) -> Reach {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        self.any_refused.store(true, Ordering::Relaxed);
        refusals.refused(self.destinations.hash_one(destination))
    }

    fn forget_refusals(&self) {
        if self.any_refused.load(Ordering::Relaxed) {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            self.any_refused.store(false, Ordering::Relaxed);
            refusals.accepted();
        }
    }

    fn is_refusing(&self) -> bool {
        matches!(&*self.state.borrow(), State::Halted(closed) if closed.reason == HaltReason::Refusing)
    }

    fn show(&self) {
        let state = self.state.borrow();
        self.metrics.show_halt(state.reason());
        self.health.svix.send_replace(state.for_operator());
    }
}

impl Pass<'_> {
    /// Whether a further call of the same event may be made: a halt may have begun since the first.
    pub fn holds(&self) -> bool {
        match &*self.halt.state.borrow() {
            State::Running => true,
            State::Halted(closed) => self.probe.is_some() && closed.must_wait().is_none(),
        }
    }

    /// The sink took the event, or had it already.
    pub fn accepted(mut self) {
        self.halt.failures.store(0, Ordering::Relaxed);
        self.halt.forget_refusals();
        if self.probe.take().is_some() {
            self.halt.resume();
        }
    }

    /// The sink answered for good about this one event. That it would accept another is likely, not proved.
    pub fn answered(self) {}

    /// The sink refused the event. Of many refusals of several destinations, without an acceptance among them, only those of
    /// probes count for their events: one at a time, and the halt stays.
    pub fn refused(mut self, destination: &impl Hash, cause: &Cause) -> Refused {
        let reach = self.halt.count_refusal(destination);
        if reach != Reach::Sink && !self.halt.is_refusing() {
            return Refused::TheEvent;
        }
        let permit = self.probe.take();
        self.halt.begin(HaltReason::Refusing, cause, None);
        if permit.is_none() {
            return Refused::EveryEvent;
        }
        self.halt.step(Step::Probing, Step::Waiting);
        Refused::TheEvent
    }

    /// The call failed as calls to one destination do. Only if several fail and none accepts it is about the sink.
    pub fn failed(self, project: &ProjectId, cause: &Cause) {
        let in_a_row = self.halt.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut failing = self.halt.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let several = failing.add(project, in_a_row == 1);
        drop(failing);
        if in_a_row < FAILURES_IN_A_ROW || !several {
            return;
        }
        self.halt.begin(HaltReason::Failing, cause, None);
        // A probe says nothing about other destinations: dropped, it is the next event's.
        if self.is_probe() && self.halt.probes_at_once.fetch_add(1, Ordering::Relaxed) >= PROBES_AT_ONCE {
            self.halt.step(Step::Probing, Step::Waiting);
        }
    }

    /// Whether this event is the one that may try during a halt.
    pub fn is_probe(&self) -> bool {
        self.probe.is_some()
    }

    /// A halt began before all of the event's calls were made: nothing is known, and nothing spent.
    pub fn interrupted(self) {}

    /// Nothing can be sent, whatever the event.
    pub fn unusable(mut self, reason: HaltReason, cause: &Cause, wait: Option<Duration>) {
        let permit = self.probe.take();
        self.halt.begin(reason, cause, wait.map(|wait| Instant::now() + wait));
        if permit.is_some() {
            self.halt.step(Step::Probing, Step::Waiting);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.probe.is_some() {
            self.halt.give_probe_back();
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
#[path = "halt_tests.rs"]
mod tests;
