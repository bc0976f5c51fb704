//! How long an event may be parked: which one is overdue, and when a lot is looked at again.

use crate::event::Cause;
use jiff::{SignedDuration, Timestamp};
use std::{fmt, time::Duration};
use tokio::time::Instant;

/// Looks at the first event of a lot until it is overdue: each is a delivery that goes back, and the queue allows a million of
/// those. A hundred replicas use up a tenth.
const LOOKS: u32 = 1_000;
/// Shortest time between two looks.
const APART: Duration = Duration::from_secs(5);

/// How long an event may be parked before it is given up, by the clock that times were written down by.
pub struct MaxAge {
    longest: Duration,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
}

impl MaxAge {
    pub fn new(longest: Duration, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { longest, now: Box::new(now) }
    }

    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// What has been parked since then or longer is overdue.
    pub fn limit(&self) -> Timestamp {
        let longest = SignedDuration::try_from(self.longest).unwrap_or(SignedDuration::MAX);
        self.now().checked_sub(longest).unwrap_or(Timestamp::MIN)
    }

    pub fn is_overdue(&self, since: Option<Timestamp>) -> bool {
        since.is_some_and(|since| since <= self.limit())
    }

    /// Why an overdue event is given up.
    pub fn cause(&self, since: Option<Timestamp>) -> Cause {
        let since = since.map_or_else(String::new, |since| format!(" since {since}"));
        Cause { status: None, detail: format!("parked{since}, longer than parking.max_age allows") }
    }

    /// How long what was parked at `since` has been so; nothing if its clock was ahead of ours.
    pub fn age(&self, since: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(since)).unwrap_or_default()
    }

    /// When to look at a lot again whose oldest event has been parked since `since`: when that is overdue, or before, since
    /// another process may have taken it.
    pub fn next_look(&self, since: Option<Timestamp>) -> Instant {
        let left = since.map_or(self.longest, |since| self.longest.saturating_sub(self.age(since)));
        Instant::now() + left.min(self.longest / LOOKS).max(APART)
    }

    fn now(&self) -> Timestamp {
        (self.now)()
    }
}

impl fmt::Debug for MaxAge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaxAge").field("longest", &self.longest).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_is_overdue_from_its_last_moment_on_and_looked_at_then() {
        let age = MaxAge::new(14 * DAY, || at("2026-08-15T00:00:00Z"));
        for (since, overdue) in [
            (Some("2026-07-31T23:59:59Z"), true),
            (Some("2026-08-01T00:00:00Z"), true),
            (Some("2026-08-01T00:00:01Z"), false),
            // Another machine's clock is ahead.
            (Some("2027-01-01T00:00:00Z"), false),
            (None, false),
        ] {
            assert_eq!(age.is_overdue(since.map(at)), overdue, "{since:?}");
        }
        assert_eq!(age.age(at("2026-08-14T00:00:00Z")), DAY);
        assert_eq!(age.age(at("2027-01-01T00:00:00Z")), Duration::ZERO);
        let said = age.cause(Some(at("2026-08-01T00:00:00Z"))).detail;
        assert_eq!(said, "parked since 2026-08-01T00:00:00Z, longer than parking.max_age allows");
        let next = |since: Option<&str>| age.next_look(since.map(at)) - Instant::now();
        assert_eq!(next(Some("2026-08-01T00:05:00Z")), Duration::from_secs(300), "when it is overdue");
        assert_eq!(next(Some("2026-08-14T00:00:00Z")), 14 * DAY / LOOKS, "others may take it");
        assert_eq!(next(None), 14 * DAY / LOOKS);
        assert_eq!(next(Some("2026-07-31T00:00:00Z")), APART, "never at once, whatever the clocks say");
        let ever = MaxAge::new(Duration::MAX, || at("2026-08-15T00:00:00Z"));
        assert!(!ever.is_overdue(Some(at("1970-01-01T00:00:00Z"))));
    }
}
