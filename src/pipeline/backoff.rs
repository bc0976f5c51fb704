//! Waits between tries at a far side that is away.

use std::{
    hash::{DefaultHasher, Hash, Hasher as _},
    time::Duration,
};

/// First and longest wait between two rounds of addresses.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Growing waits with jitter, so that many replicas do not return at one instant.
#[derive(Debug)]
pub struct Backoff {
    step: Duration,
    jitter: Jitter,
}

/// Where jitter comes from. What begins alike goes on alike.
#[derive(Debug, Clone, Copy)]
pub struct Jitter(u64);

impl Jitter {
    /// Unlike that of any other process.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// For a simulation.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// That of a part of the process.
    pub fn of(self, part: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        (self.0, part).hash(&mut hasher);
        Self(hasher.finish())
    }

    /// Between 0 and 1.
    fn next(&mut self) -> f64 {
        *self = self.of(());
        self.0 as f64 / u64::MAX as f64
    }
}

impl Backoff {
    pub fn new() -> Self {
        Self::with(Jitter::random())
    }

    pub fn with(jitter: Jitter) -> Self {
        Self { step: BACKOFF.0, jitter }
    }

    /// The next wait: between half of the step and all of it.
    pub fn next_wait(&mut self) -> Duration {
        let step = self.step;
        self.step = (step * 2).min(BACKOFF.1);
        step.mul_f64(0.5 + 0.5 * self.jitter.next())
    }

    /// The far side was there: the next wait is a short one again.
    pub fn reset(&mut self) {
        self.step = BACKOFF.0;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(mut backoff: Backoff) -> Vec<Duration> {
        (0..10).map(|_| backoff.next_wait()).collect()
    }

    #[test]
    fn waits_double_up_to_a_bound_and_vary() {
        for seed in 0..100 {
            let waits = waits(Backoff::with(Jitter::seeded(seed)));
            for (n, wait) in waits.into_iter().enumerate() {
                let step = (BACKOFF.0 * (1 << n)).min(BACKOFF.1);
                assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
            }
        }
    }

    #[test]
    fn jitter_is_its_seed_s_and_its_part_s_own() {
        let of = |seed, part: &str| waits(Backoff::with(Jitter::seeded(seed).of(part)));
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(2, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        assert_ne!(waits(Backoff::new()), waits(Backoff::new()));
    }
}
