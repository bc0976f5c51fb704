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

/// How far a pause has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nobody passes; the keeper waits, then probes.
    Waiting,
    /// One event may pass.
    HalfOpen,
    /// That event is on its way.
    Probing,
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
        if self.step == Step::HalfOpen && self.must_wait().is_some() {
            self.step = Step::Waiting;
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
            Self::Halted(closed) => closed.step == Step::HalfOpen,
        }
    }

    pub(super) fn reason(&self) -> Option<HaltReason> {
        match self {
            Self::Running => None,
            Self::Halted(closed) => Some(closed.reason),
        }
    }

    pub(super) fn for_operator(&self) -> health::Svix {
        match self {
            Self::Running => health::Svix::Ok,
            Self::Halted(closed) => health::Svix::Halted {
                reason: closed.reason,
                detail: closed.detail.clone(),
                since: closed.since,
                until: closed.must_wait().map(|until| SystemTime::now() + (until - Instant::now())),
            },
        }
    }
}
