//! Which delivery tags of a channel may be acknowledged together. Pure; knows tags and no broker.
//!
//! `basic.ack(multiple)` acknowledges everything outstanding up to a tag, so it may only name a tag below which every
//! delivery is finished or settled already. Tags of a channel count from 1 without gaps (AMQP 0-9-1, delivery-tag).

use std::collections::BTreeMap;
use tokio::time::Instant;

/// The tags above the highest one below which nothing is open. Its size is that of the gaps, not of what passed by: one
/// delivery that stays open for minutes costs one range. A finished delivery brings something that is given back once it may be
/// acknowledged.
#[derive(Debug)]
pub(super) struct Window<T> {
    /// Every tag up to here is settled, or finished and named by [`Window::take_run`].
    low: u64,
    /// What belongs to the finished tags that runs took since the last [`Window::acknowledged`].
    taken: Vec<T>,
    /// Done and waiting for their acknowledgement, with the moment since when.
    finished: BTreeMap<u64, (Instant, T)>,
    /// Settled one by one: first to last tag of each run above `low`.
    settled: BTreeMap<u64, u64>,
}

impl<T> Default for Window<T> {
    fn default() -> Self {
        Self { low: 0, taken: Vec::new(), finished: BTreeMap::new(), settled: BTreeMap::new() }
    }
}

impl<T> Window<T> {
    /// The delivery is done and waits for its acknowledgement.
    pub(super) fn finished(&mut self, tag: u64, now: Instant, with: T) {
        self.finished.insert(tag, (now, with));
    }

    /// This one was settled by itself.
    pub(super) fn settled(&mut self, tag: u64) {
        let last = self.settled.remove(&(tag + 1)).unwrap_or(tag);
        match self.settled.range_mut(..tag).next_back() {
            Some((_, before)) if *before + 1 == tag => *before = last,
            _ => {
                self.settled.insert(tag, last);
            }
        }
    }

    /// The highest tag to acknowledge with `multiple`, if any run has closed since the last call.
    pub(super) fn take_run(&mut self) -> Option<u64> {
        let mut up_to = None;
        loop {
            if let Some((_, with)) = self.finished.remove(&(self.low + 1)) {
                self.low += 1;
                self.taken.push(with);
                up_to = Some(self.low);
            } else if let Some(last) = self.settled.remove(&(self.low + 1)) {
                self.low = last;
            } else {
                return up_to;
            }
        }
    }

    /// How many finished deliveries the runs taken since the last acknowledgement hold.
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// The last run is acknowledged now.
    pub(super) fn acknowledged(&mut self) -> Vec<T> {
        std::mem::take(&mut self.taken)
    }

    /// Finished deliveries that wait behind an open one.
    pub(super) fn stragglers(&self) -> usize {
        self.finished.len()
    }

    /// Deliveries behind an open one that finished by `until`, to be acknowledged one by one; from now on they count as
    /// settled.
    pub(super) fn take_stragglers(&mut self, until: Instant) -> Vec<(u64, T)> {
        let waited = self.finished.extract_if(.., |_, (since, _)| *since <= until);
        let stragglers: Vec<_> = waited.map(|(tag, (_, with))| (tag, with)).collect();
        stragglers.iter().for_each(|(tag, _)| self.settled(*tag));
        stragglers
    }
}

#[cfg(test)]
#[path = "window_properties.rs"]
mod properties;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_run_is_acknowledged_at_once_and_never_past_an_open_delivery() {
        let mut window = Window::default();
        for tag in [2, 3, 5] {
            window.finished(tag, Instant::now(), ());
        }
        assert_eq!(window.take_run(), None, "1 is open");
        window.finished(1, Instant::now(), ());
        assert_eq!(window.take_run(), Some(3), "4 is open");
        assert_eq!((window.taken(), window.stragglers()), (3, 1));
        assert_eq!(window.take_stragglers(Instant::now()), [(5, ())]);
        window.finished(4, Instant::now(), ());
        assert_eq!(window.take_run(), Some(4), "5 was acknowledged alone");
        assert_eq!(window.take_run(), None);
        window.finished(6, Instant::now(), ());
        assert_eq!(window.take_run(), Some(6));
    }

    #[test]
    fn a_straggler_is_acknowledged_alone_only_once_it_has_waited() {
        let mut window = Window::default();
        let early = Instant::now();
        let late = early + Duration::from_millis(1);
        window.finished(2, late, ());
        window.finished(3, early, ());
        assert_eq!(window.take_stragglers(early), [(3, ())]);
        window.finished(1, late, ());
        assert_eq!(window.take_run(), Some(2), "2 waited long enough for its gap to close");
    }

    #[test]
    fn a_run_ends_at_the_last_tag_that_is_still_outstanding() {
        let mut window = Window::default();
        window.finished(1, Instant::now(), ());
        window.settled(2);
        assert_eq!(window.take_run(), Some(1), "naming 2, which the broker has forgotten, would close the channel");
        window.settled(3);
        assert_eq!(window.take_run(), None);
    }

    #[test]
    fn one_open_delivery_costs_one_range_however_much_passes_by() {
        let mut window = Window::default();
        for tag in 2..10_000 {
            window.finished(tag, Instant::now(), ());
            if tag % 7 == 0 {
                window.take_stragglers(Instant::now());
            }
        }
        window.take_stragglers(Instant::now());
        assert_eq!(window.settled.len(), 1);
        window.finished(1, Instant::now(), ());
        assert_eq!(window.take_run(), Some(1));
        assert_eq!((window.low, window.settled.len()), (9_999, 0));
    }
}
