//! Dead letters on the broker: how an event becomes one, how the queue is read without changing it, and how letters leave it.

pub(super) mod ack_barrier;
pub(super) mod discard;
mod json_view;
pub(super) mod operations;
mod queue;
mod replay;
pub(super) mod republish;
pub(super) mod snapshot;
