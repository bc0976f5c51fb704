//! The stall detector: finds a consumer that is dead although its connection lives. Messages are ready, there is room for them,
//! and none comes. Pure; knows counts and times and no broker.

use std::time::{Duration, Instant};

/// What a check of one queue says about its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// It was sent something since the last check, or there is nothing to send.
    Flowing,
    /// Too early to say, or no room for a delivery.
    Unknown,
    /// Messages have been ready, and none was sent, for so long.
    Stalled(Duration),
}

/// Measures how long one consumer has been owed a delivery.
#[derive(Debug)]
pub(super) struct StallDetector {
    since: Instant,
    delivered: bool,
    /// Whether the last check found room. The room may have come a moment before the next check.
    room: bool,
}

impl StallDetector {
    /// Nothing is owed before `now`: consuming begins, or nobody took what may have been sent.
    pub(super) fn begin(now: Instant) -> Self {
        Self { since: now, delivered: false, room: true }
    }

    /// A delivery came.
    pub(super) fn delivered(&mut self, now: Instant) {
        *self = Self { since: now, delivered: true, room: true };
    }

    /// A check of the queue: how many messages are `ready`, and whether the prefetch has `room` for one more.
    pub(super) fn check(&mut self, ready: u64, room: bool, now: Instant, timeout: Duration) -> Flow {
        if ready == 0 {
            *self = Self::begin(now);
            return Flow::Flowing;
        }
        if std::mem::take(&mut self.delivered) {
            return Flow::Flowing;
        }
        if !(room && self.room) {
            *self = Self { room, ..Self::begin(now) };
        }
        let stalled = now.saturating_duration_since(self.since);
        if stalled < timeout { Flow::Unknown } else { Flow::Stalled(stalled) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A consumer that began at second 0, checked at `(second, ready, room)`.
    fn checks<const N: usize>(checks: [(u64, u64, bool); N]) -> [Flow; N] {
        let start = Instant::now();
        let mut detector = StallDetector::begin(start);
        checks.map(|(at, ready, room)| detector.check(ready, room, start + Duration::from_secs(at), TIMEOUT))
    }

    #[test]
    fn ready_messages_that_stay_away_for_the_timeout_mean_a_stall() {
        let stalled = Flow::Stalled(TIMEOUT);
        assert_eq!(checks([(5, 1, true), (59, 1, true), (60, 1, true)]), [Flow::Unknown, Flow::Unknown, stalled]);
    }

    #[test]
    fn an_empty_queue_owes_nothing_and_a_stall_begins_with_its_first_message() {
        let flows = checks([(300, 0, true), (305, 1, true), (359, 9, true), (360, 9, true)]);
        assert_eq!(flows, [Flow::Flowing, Flow::Unknown, Flow::Unknown, Flow::Stalled(TIMEOUT)]);
    }

    #[test]
    fn a_full_prefetch_is_busy_and_not_dead() {
        // The room may have come right before the second check.
        assert_eq!(checks([(100, 9, false), (160, 9, true), (219, 9, true)]), [Flow::Unknown; 3]);
        assert_eq!(checks([(100, 9, false), (160, 9, true), (220, 9, true)])[2], Flow::Stalled(TIMEOUT));
    }

    #[test]
    fn a_delivery_ends_a_stall() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut detector = StallDetector::begin(start);
        detector.delivered(after(50));
        assert_eq!(detector.check(9, true, after(55), TIMEOUT), Flow::Flowing);
        assert_eq!(detector.check(9, true, after(109), TIMEOUT), Flow::Unknown);
        assert_eq!(detector.check(9, true, after(110), TIMEOUT), Flow::Stalled(TIMEOUT));
    }
}
