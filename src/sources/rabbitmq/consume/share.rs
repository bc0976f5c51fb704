//! What one consumer may have unsettled, and has: counted from the arrival of a delivery until its settlement is written.

use prometheus::IntGauge;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, Ordering},
};
use tokio::sync::Notify;

/// The count of a share whose channel is gone: the broker has its deliveries back, whatever becomes of them here.
const FORGOTTEN: i64 = i64::MIN / 2;

/// The prefetch of one consumer.
#[derive(Debug)]
pub(in crate::sources::rabbitmq) struct Share {
    size: u16,
    unsettled: AtomicI64,
    /// Somebody waits for what is settled of it.
    awaited: AtomicBool,
    settled: Arc<Notify>,
    /// What is outstanding of its queue.
    outstanding: IntGauge,
}

/// One delivery of a share, unsettled until this is dropped.
#[derive(Debug)]
pub(in crate::sources::rabbitmq) struct Taken(Arc<Share>);

impl Share {
    /// `settled` is notified of each settlement once [`Share::await_settlements`] was called.
    pub(in crate::sources::rabbitmq) fn new(size: u16, settled: &Arc<Notify>, outstanding: &IntGauge) -> Arc<Self> {
        Arc::new(Self {
            size,
            unsettled: AtomicI64::new(0),
            awaited: AtomicBool::new(false),
            settled: Arc::clone(settled),
            outstanding: outstanding.clone(),
        })
    }

    pub(super) fn size(&self) -> u16 {
        self.size
    }

    pub(super) fn unsettled(&self) -> u16 {
        u16::try_from(self.unsettled.load(Ordering::Acquire).max(0)).unwrap_or(u16::MAX)
    }

    pub(super) fn await_settlements(&self) {
        self.awaited.store(true, Ordering::Release);
    }

    /// A delivery has arrived.
    pub(in crate::sources::rabbitmq) fn take(self: &Arc<Self>) -> Taken {
        if self.unsettled.fetch_add(1, Ordering::AcqRel) >= 0 {
            self.outstanding.inc();
        }
        Taken(Arc::clone(self))
    }

    /// Its channel is gone.
    pub(in crate::sources::rabbitmq) fn forget(&self) {
        self.outstanding.sub(self.unsettled.swap(FORGOTTEN, Ordering::AcqRel).max(0));
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Self(share) = self;
        if share.unsettled.fetch_sub(1, Ordering::AcqRel) > 0 {
            share.outstanding.dec();
        }
        if share.awaited.load(Ordering::Acquire) {
            share.settled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outstanding_is_counted_until_it_is_settled_or_its_channel_is_gone() {
        let outstanding = IntGauge::new("g", "g").unwrap();
        let share = Share::new(3, &Arc::default(), &outstanding);
        let (first, second) = (share.take(), share.take());
        assert_eq!((share.unsettled(), outstanding.get()), (2, 2));
        drop(first);
        assert_eq!((share.unsettled(), outstanding.get()), (1, 1));
        share.forget();
        assert_eq!((share.unsettled(), outstanding.get()), (0, 0));
        let late = share.take();
        drop((second, late));
        assert_eq!((share.unsettled(), outstanding.get()), (0, 0));
    }
}
