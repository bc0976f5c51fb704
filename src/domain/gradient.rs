//! How many calls may be in flight at once: grows while latency holds, falls when it climbs.
//!
//! The algorithm is Gradient2 of Netflix' concurrency-limits: the ratio of a long average of the latency to the latency
//! now scales the limit, which may grow by a small queue each time. Refusals and failures shrink it by a fixed part, as in
//! TCP's additive increase, multiplicative decrease (RFC 5681). Pure: it is told latencies and keeps no clock.

use std::time::Duration;

/// Latency may be so many times its long average before the limit falls: a busy machine on either side makes more noise
/// than the 1.5 of the original allows for.
const TOLERANCE: f64 = 2.0;
/// What is queued at the far side on purpose, to find out whether it takes more.
const QUEUE: f64 = 4.0;
/// Part of each new estimate that is taken over: single outliers must not swing the limit.
const SMOOTHING: f64 = 0.2;
/// Weight of one sample in the long average: about the last 600 calls.
const LONG_AVERAGE: f64 = 2.0 / 601.0;
/// After a refusal or a failure.
const BACK_OFF: f64 = 0.9;
/// Least calls in flight: fewer would starve on one slow answer.
const LEAST: f64 = 4.0;
/// Latencies below this are noise of the scheduler, not load of the far side.
const NOISE: Duration = Duration::from_millis(5);

/// The limit and what it is derived from.
#[derive(Debug, Clone)]
pub struct Gradient {
    limit: f64,
    most: f64,
    /// Seconds; zero before the first sample.
    long_latency: f64,
}

impl Gradient {
    /// Never above `most`, and at the start all of it: the operator's prefetch says what is meant to be in flight.
    pub fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self { limit: most, most, long_latency: 0.0 }
    }

    /// Calls that may be in flight now.
    pub fn limit(&self) -> usize {
        // Between 1 and a prefetch sum, so the conversion is exact enough.
        self.limit as usize
    }

    /// A call was answered after `latency`, with `in_flight` of them under way.
    pub fn answered(&mut self, latency: Duration, in_flight: usize) {
        let latency = latency.max(NOISE).as_secs_f64();
        if self.long_latency == 0.0 {
            self.long_latency = latency;
        }
        self.long_latency += (latency - self.long_latency) * LONG_AVERAGE;
        // After a slow time the long average would excuse any latency; let it come down with it.
        if self.long_latency / latency > 2.0 {
            self.long_latency *= 0.95;
        }
        // Half idle, latency says nothing about the limit.
        if (in_flight as f64) < self.limit / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * self.long_latency / latency).clamp(0.5, 1.0);
        let estimate = self.limit * gradient + QUEUE;
        self.set(self.limit * (1.0 - SMOOTHING) + estimate * SMOOTHING);
    }

    /// A call was refused for load, or failed.
    pub fn failed(&mut self) {
        self.set(self.limit * BACK_OFF);
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(LEAST.min(self.most), self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle(gradient: &mut Gradient, latency: u64, calls: usize) {
        for _ in 0..calls {
            let in_flight = gradient.limit();
            gradient.answered(Duration::from_millis(latency), in_flight);
        }
    }

    #[test]
    fn it_holds_the_most_while_latency_holds() {
        let mut gradient = Gradient::new(256);
        settle(&mut gradient, 50, 5_000);
        assert_eq!(gradient.limit(), 256);
    }

    #[test]
    fn it_falls_when_latency_climbs_and_returns_when_it_is_back() {
        let mut gradient = Gradient::new(256);
        settle(&mut gradient, 20, 2_000);
        settle(&mut gradient, 200, 40);
        assert!(gradient.limit() < 100, "{}", gradient.limit());
        settle(&mut gradient, 20, 2_000);
        assert_eq!(gradient.limit(), 256);
    }

    #[test]
    fn it_falls_with_failures_and_never_below_the_least() {
        let mut gradient = Gradient::new(256);
        gradient.failed();
        assert_eq!(gradient.limit(), 230);
        (0..100).for_each(|_| gradient.failed());
        assert_eq!(gradient.limit(), 4);
        assert_eq!(Gradient::new(2).limit(), 2);
    }

    #[test]
    fn an_idle_far_side_teaches_nothing() {
        let mut gradient = Gradient::new(256);
        (0..30).for_each(|_| gradient.failed());
        let before = gradient.limit();
        (0..1_000).for_each(|_| gradient.answered(Duration::from_millis(500), 1));
        assert_eq!(gradient.limit(), before);
    }

    #[test]
    fn noise_of_the_scheduler_is_not_load() {
        let mut gradient = Gradient::new(256);
        settle(&mut gradient, 0, 1_000);
        settle(&mut gradient, 5, 1_000);
        assert_eq!(gradient.limit(), 256);
    }
}
