//! The states of the halt as plain values.

use crate::{
    event::{Cause, HaltReason},
    observe::health,
};
use std::time::SystemTime;
use tokio::time::Instant;

#[derive(Debug, Clone)]
pub(super) enum State {
    Running,
    Halted(Halted),
}

#[derive(Debug, Clone)]
pub(super) struct Halted {
    pub reason: HaltReason,
    pub detail: String,
    pub since: SystemTime,
    pub step: Step,
    not_before: Option<Instant>,
}

/// How far a halt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nobody passes; the prober waits, then probes.
    Waiting,
    /// One event may pass.
    HalfOpen,
    /// That event is on its way.
    Probing,
    /// The probe has ended the halt, since no event came to be tried. Still only one may pass.
    Untried,
    /// That event is on its way.
    Trying,
}

impl Step {
    /// The step of an event that passes now, if one may.
    pub(super) fn with_probe(self) -> Option<Self> {
        match self {
            Self::HalfOpen => Some(Self::Probing),
            Self::Untried => Some(Self::Trying),
            Self::Waiting | Self::Probing | Self::Trying => None,
        }
    }

    /// The step after an event that passed and proved nothing.
    pub(super) fn without_probe(self) -> Self {
        match self {
            Self::Probing => Self::HalfOpen,
            Self::Trying => Self::Untried,
            other => other,
        }
    }

    /// Whether the halt is over as far as anybody can know: it awaits a first event.
    pub(super) fn is_over(self) -> bool {
        matches!(self, Self::Untried | Self::Trying)
    }
}

impl Halted {
    pub(super) fn new(reason: HaltReason, cause: &Cause, not_before: Option<Instant>) -> Self {
        Self { reason, detail: cause.detail.clone(), since: SystemTime::now(), step: Step::Waiting, not_before }
    }

    /// Halted already, and another call says why.
    pub(super) fn again(&mut self, reason: HaltReason, cause: &Cause, not_before: Option<Instant>) {
        self.reason = reason;
        self.detail.clone_from(&cause.detail);
        self.not_before = self.not_before.max(not_before);
        match self.step {
            Step::HalfOpen if self.must_wait().is_some() => self.step = Step::Waiting,
            Step::Untried => (self.step, self.since) = (Step::Waiting, SystemTime::now()),
            Step::Trying => (self.step, self.since) = (Step::Probing, SystemTime::now()),
            Step::Waiting | Step::HalfOpen | Step::Probing => {}
        }
    }

    /// Until when nobody may pass, if that lies ahead.
    pub(super) fn must_wait(&self) -> Option<Instant> {
        self.not_before.filter(|until| *until > Instant::now())
    }
}

impl State {
    pub(super) fn lets_one_through(&self) -> bool {
        match self {
            Self::Running => true,
            Self::Halted(closed) => closed.step.with_probe().is_some(),
        }
    }

    /// Why nothing is sent; none while a first event is awaited.
    pub(super) fn reason(&self) -> Option<HaltReason> {
        match self {
            Self::Halted(closed) if !closed.step.is_over() => Some(closed.reason),
            Self::Running | Self::Halted(_) => None,
        }
    }

    pub(super) fn for_operator(&self) -> health::Svix {
        match self {
            Self::Running => health::Svix::Ok,
            Self::Halted(closed) if closed.step.is_over() => health::Svix::Untried { reason: closed.reason },
            Self::Halted(closed) => health::Svix::Halted {
                reason: closed.reason,
                detail: closed.detail.clone(),
                since: closed.since,
                until: closed.must_wait().map(|until| SystemTime::now() + (until - Instant::now())),
            },
        }
    }
}
