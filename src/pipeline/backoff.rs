//! Waits between tries at a far side that is away.

use rand::RngExt as _;
use std::time::Duration;

/// First and longest wait between two rounds of addresses.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Growing waits with jitter, so that many replicas do not return at one instant.
#[derive(Debug)]
pub struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(BACKOFF.0)
    }

    /// The next wait: between half of the step and all of it.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.0;
        self.0 = (step * 2).min(BACKOFF.1);
        step.mul_f64(rand::rng().random_range(0.5..=1.0))
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}
