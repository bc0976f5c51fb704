//! What an event is and what may become of it: plain values and pure functions; no IO, no clock of its own.

mod batch;
mod dispatch;
mod envelope;
mod halt;
mod ident;
mod json;
mod ladder;
mod redact;
mod verdict;

pub use batch::{BatchError, BatchLimits, Form, MAX_ROUTING_KEY, read_batch};
pub use dispatch::{DISPATCH_REASONS, Dispatch, NOT_DISPATCHED, NoTaker};
pub use envelope::{Event, Malformed, Oddity, ParseFailure, Rejected};
pub use halt::HaltReason;
pub use ident::{EndpointId, EventId, EventType, InvalidIdent, ProjectId};
pub(crate) use ident::{Ident, ident};
pub use ladder::{Attempt, InvalidLadder, RetryLadder};
pub use redact::{InvalidField, REDACTED, Redaction};
pub use verdict::{Cause, Dead, DeadReason, ParkReason, Parked, Released, Verdict};
