//! What one call to Svix came to, before anything follows from it, and the calls that a delivery is made of.

use super::route::AppId;
use crate::{
    event::{Cause, DeadReason, Event, HaltReason, ParkReason},
    pipeline::sink::{Outcome, Repeat, Stored},
    process::secret::Generation,
};
use std::time::Duration;

/// What one call came to.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Accepted(Stored),
    /// Refused as a repeat, or, if the call also created the application, as the loser of a race. Proves nothing: see
    /// [`Messages::prove`].
    Conflict,
    /// Proved to be there, and to be this event.
    Repeated(Repeat),
    /// Another event is there under its id.
    Mismatch(Cause),
    /// It is there, and nobody has been called for it yet: too early to say whether anybody will be.
    Undispatched(Cause),
    /// Something was not found. Proves nothing: see [`Messages::look_up`].
    NotFound(Cause),
    /// No such application, or it belongs to another organisation.
    AppMissing(Cause),
    /// Its application is missing, and none may be created before the wait is over.
    NotYet {
        cause: Cause,
        wait: Duration,
    },
    /// This event will never be taken.
    Refused(Cause),
    /// This event will never be taken, for its size.
    TooLarge(Cause),
    /// Nothing will be taken, whatever the event.
    Unusable {
        reason: HaltReason,
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

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        let dead = |reason, cause| Self::Dead { reason, cause };
        match answer {
            Answer::Accepted(stored) => Self::Accepted(stored),
            Answer::Repeated(repeat) => Self::Repeated(repeat),
            Answer::Mismatch(cause) => dead(DeadReason::Conflict, cause),
            Answer::Undispatched(cause) => Self::Pending(cause),
            Answer::Conflict => {
                Self::Pending(Cause { status: Some(409), detail: "a repeat that was not looked up".to_owned() })
            }
            Answer::NotFound(cause) => Self::Halt { reason: HaltReason::NotSvix, cause, wait: None },
            Answer::AppMissing(cause) => dead(DeadReason::Unroutable, cause),
            Answer::NotYet { cause, wait } => Self::NotNow { reason: ParkReason::Provisioning, cause, wait },
            Answer::Refused(cause) => dead(DeadReason::Refused, cause),
            Answer::TooLarge(cause) => dead(DeadReason::TooLarge, cause),
            Answer::Unusable { reason, cause } => Self::Halt { reason, cause, wait: None },
            Answer::Throttled { wait, cause } => {
                Self::Halt { reason: HaltReason::RateLimited, cause, wait: Some(wait) }
            }
            Answer::Failed { cause, wait } => Self::Failed { cause, wait },
        }
    }
}

/// Whether a call may create the application it writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Create {
    Never,
    IfMissing,
}

/// Whether an application is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    There,
    Missing,
}

/// The calls that a delivery is made of: Svix's client, or a script in tests.
pub(super) trait Messages: Send + Sync + 'static {
    /// Hands over one event. Never fails otherwise than by its answer.
    fn post(&self, event: &Event, app: &AppId, create: Create) -> impl Future<Output = Answer> + Send;

    /// Proves or disproves an [`Answer::Conflict`]: whether what is there under the event's id is this event, and whether
    /// somebody is called for it; has that done if it is certain that nobody is. `last`: the event has no attempt left to look
    /// again. `goes_on` is asked before each call; nothing comes back once it says no.
    fn prove(
        &self,
        event: &Event,
        app: &AppId,
        last: bool,
        goes_on: &(dyn Fn() -> bool + Send + Sync),
    ) -> impl Future<Output = Option<Answer>> + Send;

    /// Asks whether an application is there, or says why that cannot be known.
    fn look_up(&self, app: &AppId) -> impl Future<Output = Result<Presence, Answer>> + Send;

    /// Which credentials a call would use now.
    fn generation(&self) -> Generation;
}
