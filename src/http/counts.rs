//! How many events are where, until they are delivered: what the broker keeps, and what this process has received of it.

use crate::observe::{health::Health, metrics::Metrics};
use serde::Serialize;
use std::collections::BTreeSet;

/// Which of the queues whose depths are known are which; all others are waited in.
#[derive(Debug, Clone, Default)]
pub struct Queues {
    pub consumed: BTreeSet<String>,
    pub dead: String,
}

/// Depths are those of the last round of questions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// In a queue that is consumed.
    pub ready: u64,
    /// Received and not settled.
    pub outstanding: u64,
    /// Waiting for another attempt.
    pub delayed: u64,
    pub parked: u64,
    pub dead: u64,
    /// All of these.
    pub undelivered: u64,
}

impl Counts {
    pub(super) fn of(queues: &Queues, health: &Health, metrics: &Metrics) -> Self {
        let parked = *health.parked.borrow();
        let mut counts = Self { outstanding: metrics.outstanding(), parked, ..Self::default() };
        for (queue, messages) in &*health.queues.borrow() {
            let part = match () {
                () if *queue == queues.dead => &mut counts.dead,
                () if queues.consumed.contains(queue) => &mut counts.ready,
                () => &mut counts.delayed,
            };
            *part += messages;
        }
        let Self { ready, outstanding, delayed, parked, dead, .. } = counts;
        Self { undelivered: ready + outstanding + delayed + parked + dead, ..counts }
    }
}
