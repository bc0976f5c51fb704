//! What this adapter must be told: `broker.*`, `retry.delays` and `watchdog.timeout`.

use super::access::Access;
use crate::{event::RetryLadder, process::secret::Secret};
use std::time::Duration;

/// Everything the broker side derives its names, arguments and limits from.
#[derive(Debug, Clone)]
pub struct Settings {
    pub access: Access,
    /// RabbitMQ's management API, with user and password if those of `access` are not meant; empty: it is not asked.
    pub management_url: Secret,
    /// The publishers' topic exchange.
    pub exchange: String,
    /// Q: the work queue, and the stem of every other name.
    pub queue: String,
    /// Routing keys that bind Q to the exchange.
    pub bindings: Vec<String>,
    /// Unacknowledged deliveries of Q at once; each retry queue gets an eighth.
    pub prefetch: u16,
    /// `x-delivery-limit` of Q and the retry queues.
    pub delivery_limit: u32,
    pub ladder: RetryLadder,
    /// How long a consumed queue may have messages ready and room for them, and send none.
    pub watchdog: Duration,
    pub lanes: Vec<Lane>,
}

/// A queue, a prefetch and a ladder of their own for some routing keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Part of its objects' names.
    pub name: String,
    /// Patterns of routing keys, none of which overlaps another lane's. None at all: what lies in it is still delivered.
    pub keys: Vec<String>,
    pub prefetch: u16,
    pub ladder: RetryLadder,
}
