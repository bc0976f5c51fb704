//! How far a change is.

use std::sync::atomic::{AtomicU64, Ordering};

/// How far a change of many events is. Whoever makes it counts, anybody may read.
#[derive(Debug, Default)]
pub struct Progress {
    total: AtomicU64,
    examined: AtomicU64,
    changed: AtomicU64,
}

impl Progress {
    /// How many there were when the change began; 0 before that.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    pub fn examined(&self) -> u64 {
        self.examined.load(Ordering::Relaxed)
    }

    pub fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    pub fn begin(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    pub fn examine(&self) {
        self.examined.fetch_add(1, Ordering::Relaxed);
    }

    pub fn changed_so_far(&self, changed: u64) {
        self.changed.store(changed, Ordering::Relaxed);
    }
}
