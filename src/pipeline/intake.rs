//! Where events come in that were not taken off the broker: towards it.

use crate::event::Event;

/// Takes responsibility for events.
pub trait Intake: Send + Sync + 'static {
    /// Returns `Ok` only once `event` is safe against the loss of this process and of the broker's.
    fn put(&self, event: &Event, trace: &TraceHeaders) -> impl Future<Output = Result<(), NotTaken>> + Send;
}

/// Why an event is not known to be safe. It may have arrived all the same: giving it again is right: the sink drops the
/// repeat by its id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// For now. Says why, without a secret.
    #[error("{0}")]
    Away(String),
    /// No queue takes its routing key.
    #[error("no queue is bound for the routing key `{0}`")]
    Unroutable(String),
}

/// The trace that a request belongs to: names and values as W3C Trace Context has them, passed on as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceHeaders(pub Vec<(&'static str, String)>);
