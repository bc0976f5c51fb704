//! How many calls may be in flight at once: grows while latency holds, falls when it climbs.
//!
//! The algorithm is Gradient2 of Netflix' concurrency-limits: the ratio of a long average of the latency to the latency
//! now scales the limit, which may grow by a small queue each time. Refusals and failures shrink it by a fixed part, as in
//! TCP's additive increase, multiplicative decrease (RFC 5681). Pure: it takes latencies and keeps no clock.
//!
//! Gradient2 cannot see a queue of our own making: with answers in a fraction of a millisecond 256 calls at once only wait
//! for this process' CPU, cost more memory, and end in another order than they began. By Little's law no more than rate ×
//! latency calls can be under way; what the machine could do at the least latency seen bounds the limit too.

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
/// Calls at once that are always of use: enough for the CPU not to wait for the network of one machine or one rack. Also all
/// that there are until so many answers have shown how long a call takes; the very first opens its connection besides.
const START: u32 = 32;
/// How far the least latency follows a shorter one, and how far a longer one: it stands near the hundredth part from below,
/// and comes up within some hundred calls once all take longer.
const SHORTER: f64 = 0.1;
const LONGER: f64 = 0.001;
/// Latencies below this are noise of the scheduler, not load of the far side.
const NOISE: Duration = Duration::from_millis(5);

/// The limit and what it is derived from.
#[derive(Debug, Clone)]
pub struct Gradient {
    limit: f64,
    most: f64,
    /// Calls a second that this machine could make at best.
    fastest: f64,
    /// Seconds; zero before the first sample.
    long_latency: f64,
    /// Seconds that a call takes when nothing waits.
    least_latency: f64,
    /// Answers still to come before `least_latency` counts.
    unproven: u32,
}

impl Gradient {
    /// Never above `most`, the operator's prefetch, nor above what `fastest` calls a second keep under way.
    pub fn new(most: usize, fastest: f64) -> Self {
        let most = most.max(1) as f64;
        Self { limit: most, most, fastest, long_latency: 0.0, least_latency: f64::INFINITY, unproven: START }
    }

    /// Calls that may be in flight now.
    pub fn limit(&self) -> usize {
        // Between 1 and a prefetch sum, so the conversion is exact enough.
        self.effective() as usize
    }

    fn effective(&self) -> f64 {
        let useful = if self.unproven > 0 { 0.0 } else { self.fastest * self.least_latency };
        self.limit.min(useful.max(f64::from(START)))
    }

    /// A call was answered after `latency`, with `in_flight` of them under way.
    pub fn answered(&mut self, latency: Duration, in_flight: usize) {
        self.follow(latency.as_secs_f64());
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
        if (in_flight as f64) < self.effective() / 2.0 {
            return;
        }
        let gradient = (TOLERANCE * self.long_latency / latency).clamp(0.5, 1.0);
        let from = if gradient < 1.0 { self.effective() } else { self.limit };
        let estimate = from * gradient + QUEUE;
        self.set(from * (1.0 - SMOOTHING) + estimate * SMOOTHING);
    }

    fn follow(&mut self, latency: f64) {
        if self.unproven > 0 {
            self.unproven -= 1;
            self.least_latency = self.least_latency.min(latency);
        }
        let part = if latency < self.least_latency { SHORTER } else { LONGER };
        self.least_latency += (latency - self.least_latency) * part;
    }

    /// A call was refused for load, or failed.
    pub fn failed(&mut self) {
        self.set(self.effective() * BACK_OFF);
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(LEAST.min(self.most), self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About what two cores do.
    const FASTEST: f64 = 40_000.0;

    fn settle(gradient: &mut Gradient, latency: u64, calls: usize) {
        for _ in 0..calls {
            let in_flight = gradient.limit();
            gradient.answered(Duration::from_millis(latency), in_flight);
        }
    }

    #[test]
    fn it_holds_the_most_while_latency_holds() {
        let mut gradient = Gradient::new(256, FASTEST);
        settle(&mut gradient, 50, 5_000);
        assert_eq!(gradient.limit(), 256);
    }

    #[test]
    fn it_falls_when_latency_climbs_and_returns_when_it_is_back() {
        let mut gradient = Gradient::new(256, FASTEST);
        settle(&mut gradient, 20, 2_000);
        settle(&mut gradient, 200, 40);
        assert!(gradient.limit() < 100, "{}", gradient.limit());
        settle(&mut gradient, 20, 2_000);
        assert_eq!(gradient.limit(), 256);
    }

    #[test]
    fn it_falls_with_failures_and_never_below_the_least() {
        let mut gradient = Gradient::new(256, FASTEST);
        settle(&mut gradient, 50, 32);
        gradient.failed();
        assert_eq!(gradient.limit(), 230);
        (0..100).for_each(|_| gradient.failed());
        assert_eq!(gradient.limit(), 4);
        assert_eq!(Gradient::new(2, FASTEST).limit(), 2);
    }

    #[test]
    fn an_idle_far_side_teaches_nothing() {
        let mut gradient = Gradient::new(256, FASTEST);
        settle(&mut gradient, 500, 32);
        (0..30).for_each(|_| gradient.failed());
        let before = gradient.limit();
        (0..1_000).for_each(|_| gradient.answered(Duration::from_millis(500), 1));
        assert_eq!(gradient.limit(), before);
    }

    #[test]
    fn noise_of_the_scheduler_is_not_load() {
        let mut gradient = Gradient::new(256, FASTEST);
        settle(&mut gradient, 0, 1_000);
        settle(&mut gradient, 6, 10_000);
        assert!((235..=240).contains(&gradient.limit()), "40,000 a second of 6 ms each, not {}", gradient.limit());
    }

    #[test]
    fn nothing_is_lost_on_a_far_side_that_takes_its_time() {
        let mut gradient = Gradient::new(256, FASTEST);
        assert_eq!(gradient.limit(), 32, "nobody knows yet");
        settle(&mut gradient, 50, 32);
        assert_eq!(gradient.limit(), 256, "from the first answers on");
    }

    #[test]
    fn what_would_only_queue_in_this_process_is_not_begun() {
        // A machine that makes 25,000 calls a second, whatever is in flight; a call alone takes 200 µs.
        let mut gradient = Gradient::new(256, FASTEST);
        settle(&mut gradient, 3, 32);
        assert!((119..=120).contains(&gradient.limit()), "first calls, which open their connections");
        for number in 0..10_000_u32 {
            let in_flight = gradient.limit();
            let queued = Duration::from_micros(40) * u32::try_from(in_flight).unwrap();
            // Whoever comes first in a burst waits for fewer.
            gradient
                .answered(queued.mul_f64(f64::from(number % 10 + 1) / 10.0).max(Duration::from_micros(200)), in_flight);
        }
        assert_eq!(gradient.limit(), 32);
        settle(&mut gradient, 50, 2_000);
        assert_eq!(gradient.limit(), 256, "a far side that slows down finds more calls under way");
    }
}
