//! Which delivery tags of a channel may be acknowledged together. Pure; knows tags and no broker.
//!
//! `basic.ack(multiple)` acknowledges everything outstanding up to a tag, so it may only name a tag below which every
//! delivery is finished or settled already. Tags of a channel count from 1 without gaps (AMQP 0-9-1, delivery-tag).

use std::collections::{BTreeMap, BTreeSet};

/// The tags above the highest one below which nothing is open. Its size is that of the gaps, not of what passed by: one
/// delivery that stays open for minutes costs one range.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Every tag up to here is settled, or finished and named by [`Window::take_run`].
    low: u64,
    /// Finished tags that runs took since the last [`Window::acknowledged`].
    taken: usize,
    /// Done, and waiting for their acknowledgement.
    finished: BTreeSet<u64>,
    /// The broker has been told: first to last tag of each run above `low`.
    settled: BTreeMap<u64, u64>,
}

impl Window {
    /// The delivery is done and waits for its acknowledgement.
    pub(super) fn finished(&mut self, tag: u64) {
        self.finished.insert(tag);
    }

    /// The broker has been told about this one by itself.
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
            if self.finished.remove(&(self.low + 1)) {
                self.low += 1;
                self.taken += 1;
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
        self.taken
    }

    /// The last run has been acknowledged.
    pub(super) fn acknowledged(&mut self) {
        self.taken = 0;
    }

    /// Finished deliveries that wait behind an open one.
    pub(super) fn stragglers(&self) -> usize {
        self.finished.len()
    }

    /// Finished deliveries behind an open one, to be acknowledged one by one; from now on they count as settled.
    pub(super) fn take_stragglers(&mut self) -> BTreeSet<u64> {
        let stragglers = std::mem::take(&mut self.finished);
        stragglers.iter().for_each(|tag| self.settled(*tag));
        stragglers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_acknowledged_at_once_and_never_past_an_open_delivery() {
        let mut window = Window::default();
        for tag in [2, 3, 5] {
            window.finished(tag);
        }
        assert_eq!(window.take_run(), None, "1 is open");
        window.finished(1);
        assert_eq!(window.take_run(), Some(3), "4 is open");
        assert_eq!((window.taken(), window.stragglers()), (3, 1));
        assert_eq!(window.take_stragglers(), [5].into());
        window.finished(4);
        assert_eq!(window.take_run(), Some(4), "5 was acknowledged alone");
        assert_eq!(window.take_run(), None);
        window.finished(6);
        assert_eq!(window.take_run(), Some(6));
    }

    #[test]
    fn a_run_ends_at_the_last_tag_that_is_still_outstanding() {
        let mut window = Window::default();
        window.finished(1);
        window.settled(2);
        assert_eq!(window.take_run(), Some(1), "naming 2, which the broker has forgotten, would close the channel");
        window.settled(3);
        assert_eq!(window.take_run(), None);
    }

    #[test]
    fn one_open_delivery_costs_one_range_however_much_passes_by() {
        let mut window = Window::default();
        for tag in 2..10_000 {
            window.finished(tag);
            if tag % 7 == 0 {
                window.take_stragglers();
            }
        }
        window.take_stragglers();
        assert_eq!(window.settled.len(), 1);
        window.finished(1);
        assert_eq!(window.take_run(), Some(1));
        assert_eq!((window.low, window.settled.len()), (9_999, 0));
    }

    /// Random order and fates: each finished tag is acknowledged exactly once, and no open one ever is.
    #[test]
    fn every_order_settles_each_tag_exactly_once() {
        use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
        for seed in 0..200 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut tags: Vec<u64> = (1..=64).collect();
            tags.shuffle(&mut rng);
            let mut window = Window::default();
            let mut outstanding: BTreeSet<u64> = (1..=64).collect();
            let mut open = outstanding.clone();
            for tag in tags {
                open.remove(&tag);
                if rng.random_bool(0.3) {
                    window.settled(tag);
                    assert!(outstanding.remove(&tag), "seed {seed}");
                } else {
                    window.finished(tag);
                }
                if let Some(up_to) = window.take_run() {
                    assert!(outstanding.contains(&up_to), "seed {seed}: unknown tag {up_to}");
                    assert!(open.iter().all(|o| *o > up_to), "seed {seed}: acknowledged an open delivery");
                    outstanding = outstanding.split_off(&(up_to + 1));
                }
                if rng.random_bool(0.1) {
                    for straggler in window.take_stragglers() {
                        assert!(!open.contains(&straggler) && outstanding.remove(&straggler), "seed {seed}");
                    }
                }
            }
            assert!(outstanding.is_empty(), "seed {seed}: {outstanding:?} never settled");
        }
    }
}
