//! The events of one destination that failed lately, and since when: of one that fails again though others were accepted in
//! between, it says that the failure is the event's own.

use crate::event::EventId;
use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
};
use tokio::time::Instant;

/// Events remembered for each destination, 24 bytes each. A circuit opens before so many have failed; more are forgotten, oldest
/// first, and count as if they failed for the first time.
const MOST: usize = 64;

/// Which events failed lately.
#[derive(Debug, Default)]
pub(super) struct Failing {
    /// By the hash of its id, when each failed for the first time, oldest first.
    events: VecDeque<(u64, Instant)>,
    hasher: RandomState,
}

impl Failing {
    /// Since when `event`, which fails now, has been failing.
    pub fn since(&mut self, event: &EventId, now: Instant) -> Instant {
        let hash = self.hasher.hash_one(event);
        if let Some((_, since)) = self.events.iter().find(|(of, _)| *of == hash) {
            return *since;
        }
        if self.events.len() == MOST {
            self.events.pop_front();
        }
        self.events.push_back((hash, now));
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn an_event_fails_since_its_first_failure_and_only_the_last_are_remembered() {
        let begin = Instant::now();
        let at = |nth: usize| begin + Duration::from_secs(nth as u64);
        let id = |nth: usize| EventId::try_new(format!("evt_{nth}")).unwrap();
        let mut failing = Failing::default();
        for nth in 0..MOST {
            assert_eq!(failing.since(&id(nth), at(nth)), at(nth));
        }
        for nth in 0..MOST {
            assert_eq!(failing.since(&id(nth), at(1_000)), at(nth), "again");
        }
        assert_eq!(failing.since(&id(MOST), at(2_000)), at(2_000));
        assert_eq!(failing.since(&id(1), at(2_000)), at(1));
        assert_eq!(failing.since(&id(0), at(2_000)), at(2_000), "forgotten for another");
        assert_eq!(failing.events.len(), MOST);
    }
}
