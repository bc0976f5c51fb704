//! Throughput: attempts that end in a second, measured whenever a page is drawn; a backlog in seconds says more than one in messages.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Shortest stretch that a throughput is measured over, and the longest that is remembered.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(60);
/// Readings that are remembered; each open page makes one every few seconds.
const MOST: usize = 64;

/// Counts of attempts that ended, at earlier readings.
#[derive(Debug, Default)]
pub(super) struct Throughput(Mutex<VecDeque<(Instant, u64)>>);

impl Throughput {
    /// Attempts a second, now that `ended` have ended since the start, `uptime` ago.
    pub fn measure(&self, now: Instant, ended: u64, uptime: Duration) -> f64 {
        let mut readings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while readings.front().is_some_and(|(at, _)| now.duration_since(*at) > LONGEST) {
            readings.pop_front();
        }
        let earlier = readings.iter().rev().find(|(at, _)| now.duration_since(*at) >= SHORTEST).copied();
        if readings.back().is_none_or(|(at, _)| now.duration_since(*at) >= SHORTEST / 5) {
            readings.push_back((now, ended));
            if readings.len() > MOST {
                readings.pop_front();
            }
        }
        let (stretch, ended) = match earlier {
            Some((at, then)) => (now.duration_since(at), ended.saturating_sub(then)),
            None => (uptime, ended),
        };
        #[expect(clippy::cast_precision_loss, reason = "a rate that is shown rounded")]
        let ended = ended as f64;
        ended / stretch.as_secs_f64().max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_throughput_is_that_of_the_last_seconds_where_a_page_was_open() {
        let (throughput, start) = (Throughput::default(), Instant::now());
        let second = Duration::from_secs;
        assert!((throughput.measure(start, 1_000, second(100)) - 10.0).abs() < 0.1);
        assert!((throughput.measure(start + second(2), 1_200, second(102)) - 11.8).abs() < 0.1);
        assert!((throughput.measure(start + second(6), 1_600, second(106)) - 100.0).abs() < 0.1);
        assert!(throughput.measure(start + second(12), 1_600, second(112)).abs() < 0.1);
    }
}
