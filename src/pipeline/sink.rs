//! The seam to whatever takes events: a service of the far side, or a script in tests.

use crate::{
    event::{Cause, DeadReason, Dispatch, Event, HaltReason, ParkReason},
    process::secret::Generation,
};
use std::{fmt::Debug, hash::Hash, time::Duration};

/// What is known of a message that was stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// HTTP status.
    pub status: Option<u16>,
    /// The far side's own id of it.
    pub message: Option<Box<str>>,
}

/// What is known of a message that was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    /// HTTP status.
    pub status: Option<u16>,
    /// The far side's own id of it.
    pub message: Option<Box<str>>,
    pub dispatch: Dispatch,
}

/// What delivering one event came to. Classified once, by the sink that knows the protocol; nothing later looks at a status.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The far side took it.
    Accepted(Stored),
    /// The far side had it before, proved to be this event.
    Repeated(Repeat),
    /// The far side has it, and needs time before anybody can say what becomes of it.
    Pending(Cause),
    /// The far side will never take this event.
    Dead { reason: DeadReason, cause: Cause },
    /// It may work later. `wait`, if any, holds back every call.
    Failed { cause: Cause, wait: Option<Duration> },
    /// No event of its destination may be sent for `wait`, though nothing failed.
    NotNow { reason: ParkReason, cause: Cause, wait: Duration },
    /// Nothing can be sent, whatever the event; for `wait`, if the far side says how long.
    Halt { reason: HaltReason, cause: Cause, wait: Option<Duration> },
}

/// What an outcome is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// This one event.
    Event,
    /// Every event of its destination.
    Destination,
    /// The sink as a whole.
    Sink,
}

impl Outcome {
    pub fn scope(&self) -> Scope {
        match self {
            Self::Accepted(_) | Self::Repeated(_) | Self::Pending(_) | Self::Dead { .. } => Scope::Event,
            Self::Failed { .. } | Self::NotNow { .. } => Scope::Destination,
            Self::Halt { .. } => Scope::Sink,
        }
    }

    /// HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Accepted(stored) => stored.status,
            Self::Repeated(repeat) => repeat.status,
            Self::Pending(cause)
            | Self::Dead { cause, .. }
            | Self::Failed { cause, .. }
            | Self::NotNow { cause, .. }
            | Self::Halt { cause, .. } => cause.status,
        }
    }
}

/// What a sink may do for one event.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Asked before each call but the first: once it says no, no further call is made.
    pub goes_on: &'a (dyn Fn() -> bool + Send + Sync),
    /// The event has no attempt left to look again.
    pub last: bool,
}

/// What was learned by asking without an event.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// The far side works, as far as that shows without an event.
    Well,
    /// Something answers, and only an event can tell whether that takes any.
    Unclear,
}

/// Something that takes events.
pub trait Sink: Send + Sync + 'static {
    /// What one delivery goes to.
    type Destination: Debug + Clone + Eq + Hash + Send + Sync;

    /// Where an event goes.
    fn destination(&self, event: &Event) -> Self::Destination;

    /// Delivers one event. Never fails otherwise than by its outcome; nothing comes back once `terms` say no between two
    /// calls, and then nothing is known.
    fn deliver(
        &self,
        event: &Event,
        to: &Self::Destination,
        terms: Terms<'_>,
    ) -> impl Future<Output = Option<Outcome>> + Send;

    /// Asks, without sending an event, whether anything would be taken.
    fn probe(&self) -> impl Future<Output = Result<Probed, Outcome>> + Send;

    /// Which credentials a call would use now.
    fn generation(&self) -> Generation;

    /// Waits until the credentials are others than those of `seen`.
    fn credentials_changed(&self, seen: Generation) -> impl Future<Output = ()> + Send;
}
