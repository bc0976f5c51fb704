//! How many bytes of messages are in memory, and whether more may be. Knows sizes, and no queue.

use prometheus::IntGauge;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// This part of `broker.memory_budget`, as its divisor, is for parked events: neither they nor what queues send take the other's.
const PARKED_SHARE: usize = 4;

/// A bound on the bytes of messages that are held at once. One message may always be held, however large it is.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    held: AtomicUsize,
    shown: IntGauge,
    freed: Notify,
}

/// The bytes of one message, held until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    of: Arc<Budget>,
    bytes: usize,
}

/// What of `broker.memory_budget` is whose.
#[derive(Debug, Clone)]
pub(super) struct Budgets {
    /// Of what work and retry queues send.
    pub arriving: Arc<Budget>,
    /// Of what is taken from queues of parked events.
    pub parked: Arc<Budget>,
}

impl Budgets {
    /// Divides `all`, in bytes.
    pub fn new(all: usize, shown: impl Fn(&str) -> IntGauge) -> Self {
        let parked = all / PARKED_SHARE;
        Self { arriving: Budget::new(all - parked, shown("queues")), parked: Budget::new(parked, shown("parked")) }
    }
}

impl Budget {
    pub fn new(limit: usize, shown: IntGauge) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), shown, freed: Notify::new() })
    }

    /// In bytes.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Holds `bytes`, unless that is more than there is room for.
    pub fn try_hold(self: &Arc<Self>, bytes: usize) -> Option<Held> {
        let fits = |held| (held == 0 || held + bytes <= self.limit).then_some(held + bytes);
        self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(self.shown(bytes))
    }

    /// Holds `bytes`, beyond the limit if it must be.
    pub fn hold(self: &Arc<Self>, bytes: usize) -> Held {
        self.held.fetch_add(bytes, Ordering::AcqRel);
        self.shown(bytes)
    }

    /// Holds `bytes` once there is room for them.
    pub async fn until_held(self: &Arc<Self>, bytes: usize) -> Held {
        let mut freed = std::pin::pin!(self.freed.notified());
        loop {
            freed.as_mut().enable();
            if let Some(held) = self.try_hold(bytes) {
                return held;
            }
            freed.as_mut().await;
            freed.set(self.freed.notified());
        }
    }

    fn shown(self: &Arc<Self>, bytes: usize) -> Held {
        self.shown.add(signed(bytes));
        Held { of: Arc::clone(self), bytes }
    }
}

impl Held {
    /// It turned out to be `bytes`.
    pub fn resize(&mut self, bytes: usize) {
        *self = self.of.hold(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.held.fetch_sub(self.bytes, Ordering::AcqRel);
        self.of.shown.sub(signed(self.bytes));
        self.of.freed.notify_waiters();
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    fn budget(limit: usize) -> Arc<Budget> {
        Budget::new(limit, IntGauge::new("g", "g").unwrap())
    }

    #[test]
    fn what_is_held_stays_within_the_limit_but_for_one_that_is_larger() {
        let budget = budget(10);
        let large = budget.try_hold(25).unwrap();
        assert!(budget.try_hold(1).is_none());
        assert_eq!(budget.shown.get(), 25);
        drop(large);
        let (most, rest) = (budget.try_hold(9).unwrap(), budget.try_hold(1).unwrap());
        assert!(budget.try_hold(1).is_none());
        assert_eq!(budget.shown.get(), 10);
        drop((most, rest));
        assert_eq!(budget.shown.get(), 0);
    }

    #[test]
    fn one_that_waits_for_room_is_held_once_there_is() {
        let budget = budget(10);
        let mut held = budget.hold(4);
        held.resize(8);
        let mut waiting = std::pin::pin!(budget.until_held(5));
        assert!(waiting.as_mut().now_or_never().is_none());
        held.resize(6);
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        assert_eq!(waiting.as_mut().now_or_never().unwrap().bytes, 5);
    }
}
