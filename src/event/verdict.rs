//! What becomes of a delivery: every path of the program ends in exactly one of these.

use super::ident::{EventId, ProjectId};
use std::fmt;

/// One failed try in words: for logs and for the dead letter's headers. One line, no body, no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    pub detail: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

/// Why an event is given up; the value of `x-hookbro-reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeadReason {
    Malformed,
    Unroutable,
    Refused,
    TooLarge,
    Exhausted,
    /// Svix has another event under its id.
    Conflict,
}

impl DeadReason {
    pub const ALL: [Self; 6] =
        [Self::Malformed, Self::Unroutable, Self::Refused, Self::TooLarge, Self::Exhausted, Self::Conflict];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unroutable => "unroutable",
            Self::Refused => "refused",
            Self::TooLarge => "too_large",
            Self::Exhausted => "exhausted",
            Self::Conflict => "conflict",
        }
    }
}

/// An event given up, with what its copy in the dead-letter queue says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    pub reason: DeadReason,
    pub cause: Cause,
    pub project: Option<ProjectId>,
    pub event_id: Option<EventId>,
}

/// Why an event is parked; the label of `hookbro_events_parked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ParkReason {
    /// An operator has paused its project.
    Paused,
    /// Its destination fails.
    CircuitOpen,
    /// Its destination has as many events in flight as it may have now.
    OverLimit,
    /// Its destination is to be created, and no more may be created now.
    Provisioning,
}

impl ParkReason {
    pub const ALL: [Self; 4] = [Self::Paused, Self::CircuitOpen, Self::OverLimit, Self::Provisioning];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::CircuitOpen => "circuit_open",
            Self::OverLimit => "over_limit",
            Self::Provisioning => "provisioning",
        }
    }

    /// One line for people.
    pub fn detail(self) -> &'static str {
        match self {
            Self::Paused => "its project is paused; it is parked until that is resumed",
            Self::CircuitOpen => "its destination fails; it is parked until a probe is accepted",
            Self::Provisioning => {
                "the limit of new destinations is reached; it is parked until one more may be created"
            }
            Self::OverLimit => "its destination has as much to do as it may; it is parked until there is room",
        }
    }
}

/// An event to set aside, with no attempt spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    pub project: ProjectId,
    pub reason: ParkReason,
    /// The failure of its own call, if that is why.
    pub cause: Option<Cause>,
}

/// Why a delivery goes back to the broker untouched. No attempt is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Released {
    /// The process stops.
    Stopping,
    /// Held too long through a pause.
    DeferredTooLong,
    /// The dead-letter queue did not take it in time.
    DeadLettersAway,
    /// The queue of parked events did not take its copy in time.
    ParkingAway,
    /// The delay queue before its next attempt did not take its copy in time.
    DelayAway,
    /// Its session with the broker is over, which has taken it back already.
    SessionEnded,
}

impl Released {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopping => "hookbro is stopping",
            Self::DeferredTooLong => "deferred too long by a halt",
            Self::SessionEnded => "its session with the broker is over",
            Self::DeadLettersAway => "the dead-letter queue did not take its copy in time",
            Self::DelayAway => "the delay queue did not take its copy in time",
            Self::ParkingAway => "the queue of parked events did not take its copy in time",
        }
    }
}

/// The end of one delivery.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Svix accepted it.
    Delivered,
    /// Svix had it already, and proved that it is this event and that somebody is called for it.
    Duplicate,
    /// It may succeed later; the queue that it came from decides when.
    Retry(Cause),
    /// It never will.
    Dead(Dead),
    /// It may not be sent now: set it aside.
    Parked(Parked),
    /// Give it back.
    Released(Released),
}

impl Verdict {
    /// The values of [`Verdict::outcome`], a metric label.
    pub const OUTCOMES: [&'static str; 5] = ["delivered", "duplicate", "retried", "dead", "released"];

    pub fn outcome(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Duplicate => "duplicate",
            Self::Retry(_) => "retried",
            Self::Dead(_) => "dead",
            // Either way the broker has it, and no attempt is spent.
            Self::Parked(_) | Self::Released(_) => "released",
        }
    }
}
