//! Which deliveries of a channel never arrived. The broker may send a few after it has confirmed the end of their consumer, and
//! lapin drops these: unsettled, they would stay with the channel for as long as it lives. Pure; knows tags and no broker.
//!
//! Tags of a channel count from 1 without gaps (AMQP 0-9-1, delivery-tag). While no consumer of the channel lives, all that was
//! sent before has arrived or never will; so the tag that the next consumer begins with tells.

use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Every tag up to here has arrived, or is known to be lost.
    low: u64,
    /// Those above that have arrived, where several consumers share the channel.
    above: BTreeSet<u64>,
}

impl Arrivals {
    pub(super) fn arrived(&mut self, tag: u64) {
        if tag == self.low + 1 && self.above.is_empty() {
            self.low = tag;
            return;
        }
        self.above.insert(tag);
        while self.above.remove(&(self.low + 1)) {
            self.low += 1;
        }
    }

    /// As [`Arrivals::arrived`], for the first delivery of a consumer that began while no other of its channel lived: answers
    /// the tags that are lost.
    pub(super) fn first_arrived(&mut self, tag: u64) -> Vec<u64> {
        let lost = (self.low + 1..tag).filter(|before| !self.above.contains(before)).collect();
        *self = Self { low: tag.max(self.low), above: BTreeSet::new() };
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_below_the_first_tag_of_the_next_consumer_is_lost() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.first_arrived(1), [0; 0]);
        // Of two consumers, read in turn.
        for tag in [2, 5, 3, 9, 4, 8] {
            arrivals.arrived(tag);
        }
        assert_eq!(arrivals.first_arrived(12), [6, 7, 10, 11]);
        arrivals.arrived(13);
        assert_eq!(arrivals.first_arrived(14), [0; 0], "those that are lost are told once");
    }

    #[test]
    fn in_order_nothing_is_kept() {
        let mut arrivals = Arrivals::default();
        (1..1_000).for_each(|tag| arrivals.arrived(tag));
        assert_eq!((arrivals.low, arrivals.above.len()), (999, 0));
    }
}
