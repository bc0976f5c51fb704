//! Bodies and parameters of `/api/v1`, once: the server writes them, the command line reads them, the console shows them, and
//! the OpenAPI document is made of them.
//!
//! Text that strangers may have written is [`Plain`](super::sanitize::Plain). A reader passes over members that are new; what
//! asks for something may have no others. So in the document an answer has all of its members, and a question those that it
//! needs.

mod change;
mod dead;
mod event;
mod object;
mod parked;
mod query;
mod scalar;

pub use change::{
    AuditPage, Change, EndpointPage, NamedPause, Order, Pause, PausedList, Portal, PortalAsked, ProjectEndpoint,
    RecoverAsked, Recovering, ResendAsked, Resent, Resumed, TestAsked, Tested, Who,
};
pub use dead::{
    Dead, DeadAsked, DeadFilterAsked, DeadFull, DeadJob, DeadJobAnswer, DeadPage, DeadWhole, Dealt, WorkState,
};
pub use event::{
    Attempt, Call, Endpoint, EventPage, Gap, LastError, Line, Message, Project, ProjectPage, Retry, State, Story, Svix,
};
pub use object::Object;
pub use parked::{MovedParked, ParkedAsked, ParkedLot, ParkedPage};
pub use query::{AuditQuery, DeadQuery, EventQuery, Nothing, OneEventQuery, ProjectQuery};
pub use scalar::{
    Cursor, Ending, Ident, Limit, MAX_MOVED, Moment, Outcome, ParkedLimit, ParkedReason, Phrase, Reason, Status, Time,
    TimeOrAgo, Undispatched, Work,
};
