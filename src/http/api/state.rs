//! What the handlers of events and projects work with.

use crate::{pipeline::pauses::Board, process::secret::SecretList};
use std::sync::Arc;

/// What the answers are made of.
#[derive(Debug)]
pub struct Api<T, M> {
    pub tokens: SecretList,
    pub timeline: T,
    pub messages: M,
    pub board: Arc<Board>,
}
