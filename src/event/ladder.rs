//! The retry ladder: how long an event waits before each further attempt. Data only; the broker does the waiting.

use std::time::Duration;

/// Which try a delivery is, from 1. Known from the queue that it came from, never read from a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt(u8);

impl Attempt {
    pub const FIRST: Self = Self(1);

    /// The attempt made from rung `n`: rung 0 is the work queue itself, rung 1 the first retry queue.
    pub fn from_rung(rung: u8) -> Self {
        Self(rung.saturating_add(1))
    }

    pub fn get(self) -> u8 {
        self.0
    }

    /// How many attempts came before this one.
    pub fn rung(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// Most delays a ladder may have. Each is two more queues on the broker; sixteen of them reach over weeks.
const MAX_DELAYS: usize = 16;
/// Longest delay: RabbitMQ keeps `x-message-ttl` in milliseconds below 2^32.
const MAX_DELAY: Duration = Duration::from_millis(u32::MAX as u64);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLadder {
    #[error("has {0} delays, at most {MAX_DELAYS} are possible")]
    TooLong(usize),
    #[error("has a delay of {0:?}, each must be 1 ms to 49 days")]
    Delay(Duration),
}

/// The delays before attempts 2, 3, …; empty means one attempt only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryLadder(Vec<Duration>);

impl RetryLadder {
    pub fn try_new(delays: Vec<Duration>) -> Result<Self, InvalidLadder> {
        if delays.len() > MAX_DELAYS {
            return Err(InvalidLadder::TooLong(delays.len()));
        }
        if let Some(bad) = delays.iter().find(|d| d.as_millis() == 0 || **d > MAX_DELAY) {
            return Err(InvalidLadder::Delay(*bad));
        }
        Ok(Self(delays))
    }

    pub fn delays(&self) -> &[Duration] {
        &self.0
    }

    /// How long an event waits after failing `attempt`; `None` if there is no further one.
    pub fn delay_after(&self, attempt: Attempt) -> Option<Duration> {
        self.0.get(attempt.rung()).copied()
    }

    /// How long ago, at least, the attempt before `attempt` ended. Zero for the first.
    pub fn waited_before(&self, attempt: Attempt) -> Duration {
        attempt.rung().checked_sub(1).and_then(|rung| self.0.get(rung)).copied().unwrap_or_default()
    }

    /// Every attempt that this ladder knows, first to last.
    pub fn attempts(&self) -> impl Iterator<Item = Attempt> + use<> {
        (0..=self.0.len() as u8).map(Attempt::from_rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ladder(seconds: &[u64]) -> RetryLadder {
        RetryLadder::try_new(seconds.iter().copied().map(Duration::from_secs).collect()).unwrap()
    }

    #[test]
    fn the_attempt_decides_the_wait_before_and_after_it() {
        let ladder = ladder(&[5, 30]);
        let [one, two, three] = [0, 1, 2].map(Attempt::from_rung);
        assert_eq!(ladder.attempts().collect::<Vec<_>>(), [one, two, three]);
        assert_eq!(ladder.delay_after(one), Some(Duration::from_secs(5)));
        assert_eq!(ladder.delay_after(three), None);
        assert_eq!(ladder.waited_before(one), Duration::ZERO);
        assert_eq!(ladder.waited_before(three), Duration::from_secs(30));
    }

    #[test]
    fn an_empty_ladder_is_one_attempt() {
        assert_eq!(ladder(&[]).attempts().collect::<Vec<_>>(), [Attempt::FIRST]);
        assert_eq!(ladder(&[]).delay_after(Attempt::FIRST), None);
    }

    #[test]
    fn delays_that_the_broker_cannot_keep_are_refused() {
        assert_eq!(RetryLadder::try_new(vec![Duration::ZERO]), Err(InvalidLadder::Delay(Duration::ZERO)));
        assert!(RetryLadder::try_new(vec![Duration::from_secs(50 * 86_400)]).is_err());
        assert_eq!(RetryLadder::try_new(vec![Duration::from_secs(1); 17]), Err(InvalidLadder::TooLong(17)));
    }
    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]
        /// Failing again and again climbs every rung once, waits each delay in its order, and then there is no further one.
        #[test]
        fn climbing_waits_each_delay_once(millis in proptest::collection::vec(1..=u64::from(u32::MAX), 0..=MAX_DELAYS)) {
            let delays: Vec<Duration> = millis.into_iter().map(Duration::from_millis).collect();
            let ladder = RetryLadder::try_new(delays.clone()).unwrap();
            let (mut waits, mut climbed, mut attempt) = (Vec::new(), vec![Attempt::FIRST], Attempt::FIRST);
            while let Some(wait) = ladder.delay_after(attempt) {
                attempt = Attempt::from_rung(attempt.get());
                proptest::prop_assert_eq!(ladder.waited_before(attempt), wait);
                waits.push(wait);
                climbed.push(attempt);
            }
            proptest::prop_assert_eq!(waits, delays);
            proptest::prop_assert_eq!(climbed, ladder.attempts().collect::<Vec<_>>());
        }

        #[test]
        fn a_ladder_is_refused_for_its_length_or_one_delay_and_nothing_else(
            millis in proptest::collection::vec(0..=u64::from(u32::MAX) + 2, 0..=MAX_DELAYS + 2),
        ) {
            let delays: Vec<Duration> = millis.iter().copied().map(Duration::from_millis).collect();
            let right = millis.len() <= MAX_DELAYS && millis.iter().all(|ms| (1..=u64::from(u32::MAX)).contains(ms));
            proptest::prop_assert_eq!(RetryLadder::try_new(delays).is_ok(), right);
        }
    }
}
