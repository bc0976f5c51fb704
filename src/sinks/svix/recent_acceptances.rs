//! The latest acceptances that this process has seen: Svix answers after it has queued, so for a repeat of one of these nobody
//! has to read its attempts.

use super::route::AppId;
use crate::event::EventId;
use std::{
    hash::{BuildHasher as _, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

/// Acceptances remembered, 8 bytes each: 256 KiB, and the last six seconds at 5,000 events/s, which is what a lost connection to
/// the broker brings again. What is forgotten costs a repeat one more call.
const ROOM: usize = 32 * 1024;

/// A table in which a new acceptance takes the place of an older one: fixed in size, one hash and one store for each event.
///
/// Keyed by chance, so that nobody can choose ids that stand for each other; two of them do by accident once in 2^49 pairs.
#[derive(Debug)]
pub(super) struct RecentAcceptances {
    keys: RandomState,
    marks: Box<[AtomicU64]>,
}

impl Default for RecentAcceptances {
    fn default() -> Self {
        Self { keys: RandomState::new(), marks: (0..ROOM).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl RecentAcceptances {
    pub(super) fn remember(&self, app: &AppId, event: &EventId) {
        let (mark, slot) = self.of(app, event);
        slot.into_iter().for_each(|slot| slot.store(mark, Ordering::Relaxed));
    }

    pub(super) fn knows(&self, app: &AppId, event: &EventId) -> bool {
        let (mark, slot) = self.of(app, event);
        slot.is_some_and(|slot| slot.load(Ordering::Relaxed) == mark)
    }

    /// What stands for an acceptance, never 0, and where.
    fn of(&self, app: &AppId, event: &EventId) -> (u64, Option<&AtomicU64>) {
        let mark = self.keys.hash_one((app, event)).max(1);
        let slot = usize::try_from(mark % ROOM as u64).ok().and_then(|slot| self.marks.get(slot));
        (mark, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> EventId {
        EventId::try_new(format!("evt_{n}")).unwrap()
    }

    #[test]
    fn it_remembers_the_last_ones_of_each_application_and_nothing_else() {
        let (recent, gigs, dev) =
            (RecentAcceptances::default(), AppId::try_new("gigs").unwrap(), AppId::try_new("dev").unwrap());
        assert!(!recent.knows(&gigs, &event(0)));
        for n in 0..10 * ROOM {
            recent.remember(&gigs, &event(n));
            assert!(recent.knows(&gigs, &event(n)));
            assert!(!recent.knows(&dev, &event(n)));
        }
        let kept = (9 * ROOM..10 * ROOM).filter(|n| recent.knows(&gigs, &event(*n))).count();
        assert!(kept > ROOM / 2, "{kept} of the last {ROOM}");
        assert!((0..10 * ROOM).filter(|n| recent.knows(&gigs, &event(*n))).count() <= ROOM);
    }
}
