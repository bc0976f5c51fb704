//! Parked events, by destination.

use super::scalar::{Ident, ParkedLimit, ParkedReason, Time};
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

/// The projects that have parked events, those with most of them first.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct ParkedPage {
    pub parked: Vec<ParkedLot>,
}

/// Which parked events of a project; without `confirm` nothing is changed.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ParkedAsked {
    /// So many at most, the oldest first. JSON knows no whole numbers: 7.0 is one.
    #[schema(value_type = Option<ParkedLimit>)]
    pub limit: Option<f64>,
    #[serde(default)]
    #[schema(default = false)]
    pub confirm: bool,
}

/// What a change of parked events came to.
#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
pub struct MovedParked {
    pub project: Plain,
    pub confirmed: bool,
    /// Moved, or without `confirm` how many it would be.
    pub events: u64,
    pub note: Option<Plain>,
}
