//! A value that several tasks watch. They are woken in the order in which they began to wait, so that the same things happen
//! in the same order each time; `tokio::sync::watch` wakes in a random one.

use std::sync::{
    PoisonError, RwLock, RwLockReadGuard,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// The value, for whoever changes it.
#[derive(Debug)]
pub struct Watched<T> {
    value: RwLock<T>,
    /// Counts the changes. Written under the lock of the value.
    version: AtomicU64,
    changed: Notify,
}

/// One who waits for changes.
#[derive(Debug, Clone)]
pub struct Watcher<'w, T> {
    of: &'w Watched<T>,
    seen: u64,
}

impl<T> Watched<T> {
    pub fn new(value: T) -> Self {
        Self { value: RwLock::new(value), version: AtomicU64::new(0), changed: Notify::new() }
    }

    /// The value now. Not to be kept.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn modify(&self, how: impl FnOnce(&mut T)) {
        self.modify_if(|value| {
            how(value);
            true
        });
    }

    /// Changes the value if `how` says that it did; answers that.
    pub fn modify_if(&self, how: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        let modified = how(&mut value);
        if modified {
            self.version.fetch_add(1, Ordering::Release);
        }
        drop(value);
        if modified {
            self.changed.notify_waiters();
        }
        modified
    }

    /// Watches from now on.
    pub fn watch(&self) -> Watcher<'_, T> {
        Watcher { of: self, seen: self.version.load(Ordering::Acquire) }
    }
}

impl<T: Clone> Watcher<'_, T> {
    /// Waits for a change that this watcher has not seen.
    pub async fn changed(&mut self) {
        loop {
            // It hears of each change from here on.
            let changed = self.of.changed.notified();
            if self.look() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the value is as wanted, and answers it.
    pub async fn wait_for(&mut self, wanted: impl Fn(&T) -> bool) -> T {
        loop {
            let changed = self.of.changed.notified();
            self.look();
            if let Some(value) = Some(self.of.borrow()).filter(|value| wanted(value)) {
                return value.clone();
            }
            changed.await;
        }
    }

    /// Takes what is there now as seen; answers whether it was not.
    pub fn look(&mut self) -> bool {
        let version = self.of.version.load(Ordering::Acquire);
        std::mem::replace(&mut self.seen, version) != version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn each_watcher_sees_the_last_change_once_and_none_from_before() {
        let value = Watched::new(1);
        value.modify(|value| *value = 2);
        let mut watcher = value.watch();
        assert!(!watcher.look());
        assert!(!value.modify_if(|_| false));
        assert!(!watcher.look());
        value.modify(|value| *value = 3);
        value.modify(|value| *value = 4);
        watcher.changed().await;
        assert_eq!((*value.borrow(), watcher.look()), (4, false));
        assert_eq!(watcher.wait_for(|value| *value == 4).await, 4);
    }

    #[tokio::test]
    async fn watchers_are_woken_in_the_order_in_which_they_came() {
        let (value, woken) = (Arc::new(Watched::new(0)), Arc::new(Mutex::new(Vec::new())));
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let (value, woken) = (Arc::clone(&value), Arc::clone(&woken));
                tokio::spawn(async move {
                    value.watch().wait_for(|value| *value == 1).await;
                    woken.lock().unwrap().push(n);
                })
            })
            .collect();
        tokio::task::yield_now().await;
        value.modify(|value| *value = 1);
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(*woken.lock().unwrap(), (0..20).collect::<Vec<_>>());
    }
}
