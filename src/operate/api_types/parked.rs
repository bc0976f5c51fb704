//! Parked events, by destination.

use super::scalar::{Ident, ParkedReason, Time};
use crate::operate::sanitize::Plain;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The parked events of one project.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ParkedLot {
    /// `null`: those of all projects that share a queue.
    #[schema(value_type = Option<Ident>)]
    pub project: Option<Plain>,
    pub events: u64,
    /// Since when the oldest has been parked.
    #[schema(value_type = Option<Time>)]
    pub since: Option<Timestamp>,
    /// Why the oldest was parked.
    #[schema(value_type = Option<ParkedReason>)]
    pub reason: Option<Plain>,
}
