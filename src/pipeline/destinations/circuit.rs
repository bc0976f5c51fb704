//! The circuit of one destination as a plain value: from what happened and when, it says whether an event may go.
//!
//! It knows no clock, no lock and no event, so that a table can test it.

use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row, without an acceptance by the destination among them, that open its circuit. One event that fails on
/// every rung of the default ladder has seven, and must not open it alone.
pub const FAILURES_TO_TRIP: u32 = 10;
/// Refusals in a row that open it: then it is not about single events, and they must not all become dead letters.
const REFUSALS_TO_TRIP: u32 = 20;
/// First and longest wait between two probes of an open circuit: soon after a hiccup, and gently through a long outage.
const PROBE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Events in flight with which a destination that is back begins; each acceptance allows one more.
const RAMP_FROM: u32 = 1;
/// Once so many are allowed, the destination has recovered.
const RAMPED_UP: u32 = 64;

/// Events in flight from which on a destination counts as stalled if it has answered none for [`STALLED_AFTER`]: until it
/// answers, it gets no more, and so holds no more places that others could use. Fewer cost nobody anything.
const STALLED_FROM: u32 = 4;
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// What an event that may go is to the circuit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    Ordinary,
    /// Its end decides whether the circuit closes.
    Probe,
}

/// What a failure may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The destination, or this one event.
    Unclear,
    /// This one event: the destination has accepted others since that failed first. It tells nothing of the destination.
    Event,
}

/// Why an event may not go now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The circuit is open, and no probe is due or one is on its way.
    Open,
    /// It closes, and as many events are in flight as it allows so far.
    Ramping,
    /// Several events are in flight, and none was answered for a while.
    Stalled,
}

/// When the circuit lets the next event go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chance {
    Now,
    At(Instant),
    /// Once something else has happened.
    AfterAChange,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open {
        probe_at: Instant,
        wait: Duration,
        probing: bool,
    },
    /// `wait`: the last one. A failure doubles it; each acceptance makes it shorter.
    Ramping {
        allowed: u32,
        wait: Duration,
    },
}

/// Whether one destination is sent events.
#[derive(Debug)]
pub struct Circuit {
    state: State,
    failures: u32,
    refusals: u32,
    in_flight: u32,
    last_accepted: Option<Instant>,
    /// When an event came home last, or the first of those in flight went out.
    progress: Option<Instant>,
}

impl Default for Circuit {
    fn default() -> Self {
        Self { state: State::Closed, failures: 0, refusals: 0, in_flight: 0, last_accepted: None, progress: None }
    }
}

impl Circuit {
    /// Leave for one event, to be ended by one of the methods below.
    pub fn admit(&mut self, now: Instant) -> Result<Leave, Refusal> {
        if let Some(refusal) = self.refusal(now) {
            return Err(refusal);
        }
        let mut leave = Leave::Ordinary;
        if let State::Open { probing, .. } = &mut self.state {
            *probing = true;
            leave = Leave::Probe;
        }
        if self.in_flight == 0 {
            self.progress = Some(now);
        }
        self.in_flight += 1;
        Ok(leave)
    }

    fn is_stalled(&self, now: Instant) -> bool {
        self.in_flight >= STALLED_FROM && self.progress.is_some_and(|progress| now > progress + STALLED_AFTER)
    }

    fn came_home(&mut self, now: Instant) {
        self.in_flight -= 1;
        self.progress = Some(now);
    }

    /// Why an event may not go now, if it may not.
    pub fn refusal(&self, now: Instant) -> Option<Refusal> {
        match self.state {
            _ if self.is_stalled(now) => Some(Refusal::Stalled),
            State::Closed => None,
            State::Open { probe_at, probing, .. } => (probing || now < probe_at).then_some(Refusal::Open),
            State::Ramping { allowed, .. } => (self.in_flight >= allowed).then_some(Refusal::Ramping),
        }
    }

    /// When [`Circuit::admit`] may answer with leave.
    pub fn chance(&self, now: Instant) -> Chance {
        match (self.refusal(now), self.state) {
            (None, _) => Chance::Now,
            (Some(Refusal::Open), State::Open { probing: false, probe_at, .. }) => Chance::At(probe_at),
            _ => Chance::AfterAChange,
        }
    }

    /// The destination took an event. True if that closes the circuit.
    pub fn accepted(&mut self, leave: Leave, now: Instant) -> bool {
        self.came_home(now);
        self.failures = 0;
        self.refusals = 0;
        self.last_accepted = self.last_accepted.max(Some(now));
        self.works(leave)
    }

    /// The destination answered for good about one event: it works, whatever it would say of another. True if that closes the
    /// circuit.
    pub fn answered(&mut self, leave: Leave, now: Instant) -> bool {
        self.came_home(now);
        self.works(leave)
    }

    /// The destination refused an event. True if that opens the circuit: then it is not about this event.
    pub fn refused(&mut self, leave: Leave, now: Instant) -> bool {
        self.came_home(now);
        self.refusals = self.refusals.saturating_add(1);
        if self.refusals < REFUSALS_TO_TRIP {
            self.works(leave);
            return false;
        }
        match self.state {
            // One event at a time goes on, and what becomes of it is its own.
            State::Open { wait, .. } if leave == Leave::Probe => {
                self.open(now, longer(wait), None);
                false
            }
            State::Open { .. } => true,
            State::Closed | State::Ramping { .. } => {
                self.open(now, PROBE_EVERY.0, None);
                true
            }
        }
    }

    fn works(&mut self, leave: Leave) -> bool {
        match &mut self.state {
            State::Open { wait, .. } if leave == Leave::Probe => {
                self.state = State::Ramping { allowed: RAMP_FROM, wait: *wait };
                true
            }
            State::Ramping { allowed, wait } => {
                *allowed += 1;
                *wait = (*wait / 2).max(PROBE_EVERY.0);
                if *allowed >= RAMPED_UP {
                    self.state = State::Closed;
                }
                false
            }
            State::Open { .. } | State::Closed => false,
        }
    }

    /// The destination failed, and asks for quiet until `not_before`, if it says so. True if the circuit is open now.
    pub fn failed(&mut self, leave: Leave, now: Instant, not_before: Option<Instant>, fault: Fault) -> bool {
        self.came_home(now);
        self.failures = self.failures.saturating_add(u32::from(fault == Fault::Unclear));
        match self.state {
            State::Closed | State::Ramping { .. } if fault == Fault::Event && not_before.is_none() => return false,
            State::Closed if self.failures >= FAILURES_TO_TRIP || not_before.is_some() => {
                self.open(now, PROBE_EVERY.0, not_before);
            }
            State::Closed => return false,
            State::Ramping { wait, .. } if self.failures >= FAILURES_TO_TRIP || not_before.is_some() => {
                self.open(now, longer(wait), not_before);
            }
            State::Ramping { allowed, wait } => {
                self.state = State::Ramping { allowed: (allowed / 2).max(RAMP_FROM), wait };
                return false;
            }
            State::Open { wait, .. } if leave == Leave::Probe => self.open(now, longer(wait), not_before),
            // One of those that were on their way when it opened.
            State::Open { probe_at, wait, probing } => {
                let probe_at = probe_at.max(not_before.unwrap_or(now));
                self.state = State::Open { probe_at, wait, probing };
            }
        }
        true
    }

    /// No event may go until then, though the destination has not failed; the next one is a probe.
    pub fn hold_off(&mut self, now: Instant, until: Instant) {
        self.came_home(now);
        self.open(now, PROBE_EVERY.0, Some(until));
    }

    /// Nothing was learned: the event's calls were not made, or broke off.
    pub fn abandoned(&mut self, leave: Leave) {
        self.in_flight -= 1;
        if let State::Open { probing, .. } = &mut self.state
            && leave == Leave::Probe
        {
            *probing = false;
        }
    }

    /// An event that failed on its last attempt, with nothing accepted since the one before: an outage of the destination, and
    /// not this event's fault. To be called after [`Circuit::failed`].
    pub fn trip(&mut self, now: Instant) {
        if !matches!(self.state, State::Open { .. }) {
            self.open(now, PROBE_EVERY.0, None);
        }
    }

    fn open(&mut self, now: Instant, wait: Duration, not_before: Option<Instant>) {
        let probe_at = (now + wait).max(not_before.unwrap_or(now));
        self.state = State::Open { probe_at, wait, probing: false };
    }

    /// Whether the destination accepted any event after `since`.
    pub fn accepted_since(&self, since: Instant) -> bool {
        self.last_accepted.is_some_and(|at| at >= since)
    }

    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether it is as new, but for when the destination last accepted: then it can be forgotten.
    pub fn is_idle(&self) -> bool {
        self.state == State::Closed && self.failures == 0 && self.refusals == 0 && self.in_flight == 0
    }
}

fn longer(wait: Duration) -> Duration {
    (wait * 2).min(PROBE_EVERY.1)
}

#[cfg(test)]
#[path = "circuit_tests.rs"]
mod tests;
