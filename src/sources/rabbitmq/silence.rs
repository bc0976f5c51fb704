//! When the consumer of a queue is dead although its connection lives: messages are ready, there is room for them, and none
//! comes. Pure; knows counts and times and no broker.

use std::time::{Duration, Instant};

/// What a look at one queue says about its consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    /// It was sent something since the last look, or there is nothing to send.
    Hears,
    /// Too early to say, or no room for a delivery.
    Unknown,
    /// Ready messages have stayed away for so long.
    Deaf(Duration),
}

/// How long one consumer has been owed a delivery.
#[derive(Debug)]
pub(super) struct Silence {
    since: Instant,
    heard: bool,
    /// Whether the last look found room. It may have come a moment before the next look.
    room: bool,
}

impl Silence {
    /// Nothing is owed before `now`: consuming begins, or nobody took what may have been sent.
    pub(super) fn begin(now: Instant) -> Self {
        Self { since: now, heard: false, room: true }
    }

    /// A delivery came.
    pub(super) fn heard(&mut self, now: Instant) {
        *self = Self { since: now, heard: true, room: true };
    }

    /// A look at the queue: how many messages are `ready`, and whether the prefetch has `room` for one more.
    pub(super) fn look(&mut self, ready: u64, room: bool, now: Instant, timeout: Duration) -> Sign {
        if ready == 0 {
            *self = Self::begin(now);
            return Sign::Hears;
        }
        if std::mem::take(&mut self.heard) {
            return Sign::Hears;
        }
        if !(room && self.room) {
            *self = Self { room, ..Self::begin(now) };
        }
        let silent = now.saturating_duration_since(self.since);
        if silent < timeout { Sign::Unknown } else { Sign::Deaf(silent) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A silence that began at second 0, looked at `(second, ready, room)`.
    fn looks<const N: usize>(looks: [(u64, u64, bool); N]) -> [Sign; N] {
        let start = Instant::now();
        let mut silence = Silence::begin(start);
        looks.map(|(at, ready, room)| silence.look(ready, room, start + Duration::from_secs(at), TIMEOUT))
    }

    #[test]
    fn ready_messages_that_stay_away_for_the_timeout_mean_deaf() {
        let deaf = Sign::Deaf(TIMEOUT);
        assert_eq!(looks([(5, 1, true), (59, 1, true), (60, 1, true)]), [Sign::Unknown, Sign::Unknown, deaf]);
    }

    #[test]
    fn an_empty_queue_owes_nothing_and_the_silence_begins_with_its_first_message() {
        let signs = looks([(300, 0, true), (305, 1, true), (359, 9, true), (360, 9, true)]);
        assert_eq!(signs, [Sign::Hears, Sign::Unknown, Sign::Unknown, Sign::Deaf(TIMEOUT)]);
    }

    #[test]
    fn a_full_prefetch_is_busy_and_not_dead() {
        // The room may have come right before the second look.
        assert_eq!(looks([(100, 9, false), (160, 9, true), (219, 9, true)]), [Sign::Unknown; 3]);
        assert_eq!(looks([(100, 9, false), (160, 9, true), (220, 9, true)])[2], Sign::Deaf(TIMEOUT));
    }

    #[test]
    fn a_delivery_breaks_the_silence() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut silence = Silence::begin(start);
        silence.heard(after(50));
        assert_eq!(silence.look(9, true, after(55), TIMEOUT), Sign::Hears);
        assert_eq!(silence.look(9, true, after(109), TIMEOUT), Sign::Unknown);
        assert_eq!(silence.look(9, true, after(110), TIMEOUT), Sign::Deaf(TIMEOUT));
    }
}
