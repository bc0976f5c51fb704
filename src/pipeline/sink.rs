//! The seam to whatever takes events: Svix today, a scripted fake in tests.

use crate::{
    event::{AppId, Cause, Dispatch, Event, PauseReason},
    process::secret::Generation,
};
use std::time::Duration;

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
    /// The far side's own id of it.
    pub message: Option<Box<str>>,
    pub dispatch: Dispatch,
}

/// What one call came to. Classified once, by the adapter that knows the protocol; nothing later looks at a status.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Accepted(Stored),
    /// Refused as a repeat, or, if the call also created the application, as the loser of a race. Proves nothing: see
    /// [`Sink::prove`].
    Conflict,
    /// Proved to be there, and to be this event.
    Repeated(Repeat),
    /// Another event is there under its id.
    Mismatch(Cause),
    /// It is there, and nobody has been called for it yet: too early to say whether anybody will be.
    Undispatched(Cause),
    /// No such application, or it belongs to another organisation.
    AppMissing(Cause),
    /// This event will never be taken.
    Refused(Cause),
    /// This event will never be taken, for its size.
    TooLarge(Cause),
    /// Nothing will be taken, whatever the event.
    Unusable {
        reason: PauseReason,
        cause: Cause,
    },
    /// Nothing may be sent before the wait is over; the event itself did not fail.
    Throttled {
        wait: Duration,
        cause: Cause,
    },
    /// It may work later; `wait`, if any, applies to every call.
    Failed {
        cause: Cause,
        wait: Option<Duration>,
    },
}

impl Answer {
    /// HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Accepted(stored) => stored.status,
            Self::Conflict | Self::Repeated(_) => Some(409),
            Self::AppMissing(cause) | Self::Refused(cause) | Self::TooLarge(cause) => cause.status,
            Self::Mismatch(cause) | Self::Undispatched(cause) => cause.status,
            Self::Unusable { cause, .. } | Self::Throttled { cause, .. } | Self::Failed { cause, .. } => cause.status,
        }
    }
}

/// Whether a call may create the application it writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Create {
    Never,
    IfMissing,
}

/// Something that takes events.
pub trait Sink: Send + Sync + 'static {
    /// Hands over one event. Never fails otherwise than by its answer.
    fn deliver(&self, event: &Event, app: &AppId, create: Create) -> impl Future<Output = Answer> + Send;

    /// Proves or disproves a [`Answer::Conflict`]: whether what is there under the event's id is this event, and whether
    /// somebody is called for it; has that done if it is certain that nobody is. `last`: the event has no attempt left to look
    /// again. `goes_on` is asked before each call; nothing comes back once it says no.
    fn prove(
        &self,
        event: &Event,
        app: &AppId,
        last: bool,
        goes_on: &(dyn Fn() -> bool + Send + Sync),
    ) -> impl Future<Output = Option<Answer>> + Send;

    /// Asks, without sending an event, whether anything would be taken.
    fn probe(&self) -> impl Future<Output = Result<(), Answer>> + Send;

    /// Which credentials a call would use now.
    fn generation(&self) -> Generation;

    /// Waits until the credentials are others than those of `seen`.
    fn credentials_changed(&self, seen: Generation) -> impl Future<Output = ()> + Send;
}
