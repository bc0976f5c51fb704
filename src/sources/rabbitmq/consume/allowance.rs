//! How much of a queue's prefetch is used: all of it, or less while its messages are too large for the memory budget. Pure.
//!
//! AMQP bounds deliveries by number alone: RabbitMQ refuses a `basic.qos` with a size. How large messages are shows when they
//! have arrived. So a queue begins with a few, and goes on with as many as fit if the next are like the last.

use std::time::{Duration, Instant};

/// So many are taken before anything is known: 64 MiB, should each have 8.
const FIRST: u16 = 8;
/// A new message counts for so much, as a divisor, in what the next ones are taken to be like.
const NEWEST: usize = 16;
/// So long after messages were too large it is seen whether more would fit now. What does not fit goes back to the queue, which
/// counts towards its delivery limit.
const GROW_EVERY: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct Allowance {
    prefetch: u16,
    /// Bytes that all messages together may have.
    limit: usize,
    events: u16,
    /// How many of the first are yet to arrive.
    first: u16,
    usual_bytes: usize,
    grow_at: Option<Instant>,
}

impl Allowance {
    pub(super) fn new(prefetch: u16, limit: usize) -> Self {
        let first = prefetch.min(FIRST);
        Self { prefetch, limit, events: first, first, usual_bytes: 0, grow_at: None }
    }

    /// How many deliveries may be unsettled.
    pub(super) fn events(&self) -> u16 {
        self.events
    }

    /// A message of so many bytes has arrived. Answers whether more may be taken from now on.
    pub(super) fn arrived(&mut self, bytes: usize, now: Instant) -> bool {
        let usual = self.usual_bytes;
        self.usual_bytes = if usual == 0 { bytes } else { usual - usual / NEWEST + bytes / NEWEST };
        if self.first == 0 {
            return false;
        }
        self.first -= 1;
        self.first == 0 && self.fit(now)
    }

    /// There was room for so many. Answers whether that changes anything.
    pub(super) fn shrink(&mut self, fitted: u16, now: Instant) -> bool {
        let before = self.events;
        self.events = fitted.clamp(1, before);
        self.grow_at = Some(now + GROW_EVERY);
        self.events < before
    }

    /// Whether more may be taken, after messages were too large.
    pub(super) fn grow(&mut self, now: Instant) -> bool {
        self.grow_at.is_some_and(|at| at <= now) && self.fit(now)
    }

    fn fit(&mut self, now: Instant) -> bool {
        let fits = u16::try_from(self.limit / self.usual_bytes.max(1)).unwrap_or(u16::MAX);
        let before = self.events;
        self.events = fits.clamp(before, self.prefetch);
        self.grow_at = (self.events < self.prefetch).then(|| now + GROW_EVERY);
        self.events > before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_the_first_few_it_takes_as_many_as_fit() {
        let now = Instant::now();
        for (bytes, fit) in [(1, 100), (999, 100), (50_000, 20), (1_000_000, 8)] {
            let mut allowance = Allowance::new(100, 1_000_000);
            let more = (0..20).filter(|_| allowance.arrived(bytes, now)).count();
            assert_eq!((allowance.events(), more), (fit, usize::from(fit > FIRST)), "{bytes}");
        }
        let mut few = Allowance::new(3, 1_000_000);
        assert!(!(0..20).any(|_| few.arrived(1, now)));
        assert_eq!(few.events(), 3);
    }

    #[test]
    fn it_shrinks_to_what_fitted_and_grows_once_messages_are_smaller() {
        let began = Instant::now();
        let mut allowance = Allowance::new(100, 1_000_000);
        let arrive = |allowance: &mut Allowance, bytes| {
            for _ in 0..100 {
                allowance.arrived(bytes, began);
            }
        };
        arrive(&mut allowance, 1_000);
        assert!(!allowance.grow(began + GROW_EVERY), "all of the prefetch is used");
        arrive(&mut allowance, 100_000);
        assert!(allowance.shrink(11, began));
        assert!(!allowance.shrink(12, began), "of deliveries that were under way");
        assert!(!allowance.grow(began + GROW_EVERY), "they are still as large");
        arrive(&mut allowance, 20_000);
        assert!(!allowance.grow(began + GROW_EVERY), "not long after");
        assert!(allowance.grow(began + GROW_EVERY * 2));
        assert!((40..=50).contains(&allowance.events()), "{}", allowance.events());
        assert!(allowance.shrink(0, began));
        assert_eq!(allowance.events(), 1, "one fits always");
    }
}
