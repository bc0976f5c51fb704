//! Floor 0: what an event is and what may become of it. Plain values and pure functions; no IO, no clock of its own.

mod application;
mod batch;
mod dead_event;
mod dispatch;
mod event;
mod gradient;
mod ident;
mod json;
mod ladder;
mod pause;
pub mod plain;
mod redact;
mod route;
pub mod topic;
mod verdict;
pub mod words;

pub use application::{Application, MARK, Origin, projects_of};
pub use batch::{BatchError, BatchLimits, Form, MAX_ROUTING_KEY, read_batch};
pub use dead_event::{DeadEvent, DeadFilter};
pub use dispatch::{DISPATCH_REASONS, Dispatch, NOT_DISPATCHED, NoTaker};
pub use event::{Event, Malformed, Oddity, ParseFailure, Rejected};
pub use gradient::Gradient;
pub use ident::{AppId, EndpointId, EventId, EventType, InvalidIdent, ProjectId};
pub use ladder::{Attempt, InvalidLadder, RetryLadder};
pub use pause::PauseReason;
pub use redact::{InvalidField, REDACTED, Redaction};
pub use route::{Destination, Routes, UnknownProject};
pub use verdict::{Cause, Dead, DeadReason, PROJECT_PAUSED, Released, Verdict};
