//! How many bytes of messages are in memory, and whether more may be. Knows sizes, and no queue.

use prometheus::IntGauge;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// This part of `broker.memory_budget`, as its divisor, is for parked events: neither they nor what queues send take the other's.
const PARKED_SHARE: usize = 4;
/// This part of what work and retry queues have is divided among them, as its divisor; the rest is for whichever needs it. So
/// large events of one lane leave each other queue enough for some thousand small ones.
const OWN_SHARE: usize = 4;

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
    /// Of what each work and retry queue sends.
    pub queues: Vec<QueueBudget>,
    /// Of what is taken from queues of parked events.
    pub parked: Arc<Budget>,
}

/// The budget of one queue: a part that no other can take, and one that all share.
#[derive(Debug, Clone)]
pub(super) struct QueueBudget {
    own: Arc<Budget>,
    shared: Arc<Budget>,
}

impl Budgets {
    /// Divides `all`, in bytes, among so many queues and the parked events.
    pub fn new(all: usize, queues: usize, shown: impl Fn(&str) -> IntGauge) -> Self {
        let parked = all / PARKED_SHARE;
        let arriving = all - parked;
        let own = arriving / OWN_SHARE / queues.max(1);
        let shared = Budget::new(arriving - own * queues, shown("queues"));
        let queue = || QueueBudget { own: Budget::new(own, shown("queues")), shared: Arc::clone(&shared) };
        Self {
            queues: std::iter::repeat_with(queue).take(queues).collect(),
            parked: Budget::new(parked, shown("parked")),
        }
    }
}

impl QueueBudget {
    /// What it has when no other queue takes any, in bytes.
    pub fn limit(&self) -> usize {
        self.own.limit + self.shared.limit
    }

    /// Holds `bytes`, unless that is more than there is room for.
    pub fn try_hold(&self, bytes: usize) -> Option<Held> {
        self.own.try_hold(bytes).or_else(|| self.shared.try_hold(bytes))
    }

    /// Holds `bytes`, beyond the limit if it must be.
    pub fn hold(&self, bytes: usize) -> Held {
        self.own.hold(bytes)
    }
}

impl Budget {
    pub fn new(limit: usize, shown: IntGauge) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicUsize::new(0), shown, freed: Notify::new() })
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
    fn what_one_queue_fills_leaves_each_other_its_own_part() {
        let gauge = IntGauge::new("g", "g").unwrap();
        let Budgets { queues, parked } = Budgets::new(3_200, 6, |_| gauge.clone());
        assert_eq!((queues[0].limit(), parked.limit), (1_900, 800));
        let mut filled = Vec::new();
        filled.extend(std::iter::from_fn(|| queues[0].try_hold(50)));
        assert_eq!(filled.len(), 38);
        for other in &queues[1..] {
            let held: Vec<_> = std::iter::from_fn(|| other.try_hold(10)).collect();
            assert_eq!(held.len(), 10);
        }
        assert_eq!(gauge.get(), 1_900);
        let beyond = queues[0].hold(500);
        assert!(queues[0].try_hold(1).is_none() && parked.try_hold(800).is_some());
        drop((filled, beyond));
        assert_eq!(gauge.get(), 0);
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
