//! What a rung's next consumer may take. Pure.
//!
//! RabbitMQ bounds each consumer of a quorum queue by itself, and one that is cancelled keeps its unsettled deliveries. So a
//! further consumer takes only what the others leave of the prefetch.

use crate::pipeline::source::Demand;

/// The first consumer takes what is free at once, the second when it is worth one, the last what remains: without an order for
/// each single settlement, at least half of the prefetch is always used, and in the end all of it.
const MOST_CONSUMERS: usize = 3;

/// What of a rung's prefetch is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct InUse {
    /// Consumers, and what they may have unsettled together.
    pub consumers: usize,
    pub shares: u16,
    /// What consumers that were cancelled may still have unsettled, and whether more of one of them may arrive.
    pub old: u16,
    pub ending: bool,
    /// How many of their deliveries may have been lost on the way, see [`super::arrivals`]; 0 from the next delivery on, which
    /// tells.
    pub doubtful: u16,
}

/// What to do about a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, and nothing will change by itself.
    Rest,
    /// Nothing yet: settlements will change that.
    Wait,
    /// One more consumer, with this prefetch.
    Begin(u16),
    /// Cancel the consumers, which are sent nothing: only another channel shows whether deliveries are lost.
    Cancel,
    /// Close the channel, by which the broker takes lost deliveries back, and open another.
    Renew,
}

pub(super) fn next_step(demand: Demand, prefetch: u16, in_use: InUse) -> Step {
    let InUse { consumers, shares, old, ending, doubtful } = in_use;
    let most_consumers = match demand {
        Demand::Nothing => return Step::Rest,
        Demand::One => 1,
        Demand::Full => MOST_CONSUMERS,
    };
    if ending {
        return Step::Wait;
    }
    if doubtful > 0 && old == 0 {
        return if consumers == 0 { Step::Renew } else { Step::Cancel };
    }
    let free = prefetch.saturating_sub(shares).saturating_sub(old);
    let (worth, size) = match (demand, consumers) {
        (Demand::One, 0) => (1, 1),
        // Not what the broker may still count as lost; yet one always, to find out.
        (_, 0) => (1, free.saturating_sub(doubtful).max(1)),
        _ if doubtful > 0 => return Step::Wait,
        (_, 1) if old > 0 => ((prefetch - shares).div_ceil(2), free),
        (_, _) if old > 0 => (u16::MAX, free),
        _ => (1, free),
    };
    match () {
        () if consumers < most_consumers && free >= worth => Step::Begin(size),
        () if old > 0 && consumers < most_consumers => Step::Wait,
        () => Step::Rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Demand::{Full, Nothing, One};

    fn step(demand: Demand, consumers: usize, shares: u16, old: u16, doubtful: u16) -> Step {
        next_step(demand, 128, InUse { consumers, shares, old, ending: false, doubtful })
    }

    #[test]
    fn a_consumer_takes_what_the_old_ones_leave() {
        assert_eq!(step(Full, 0, 0, 0, 0), Step::Begin(128));
        assert_eq!(step(Full, 0, 0, 100, 0), Step::Begin(28));
        assert_eq!(step(Full, 0, 0, 128, 0), Step::Wait);
        assert_eq!(step(One, 0, 0, 127, 0), Step::Begin(1));
        assert_eq!(step(One, 0, 0, 128, 0), Step::Wait);
        assert_eq!(step(Nothing, 0, 0, 128, 0), Step::Rest);
        let ending = InUse { old: 50, ending: true, ..InUse::default() };
        assert_eq!(next_step(Full, 128, ending), Step::Wait, "its last deliveries are on their way");
    }

    #[test]
    fn further_ones_add_what_is_still_missing_and_there_are_three_at_most() {
        assert_eq!(step(Full, 1, 28, 51, 0), Step::Wait, "49 of the 100 that are missing");
        assert_eq!(step(Full, 1, 28, 50, 0), Step::Begin(50));
        assert_eq!(step(Full, 2, 78, 1, 0), Step::Wait);
        assert_eq!(step(Full, 2, 78, 0, 0), Step::Begin(50));
        assert_eq!(step(Full, 3, 128, 0, 0), Step::Rest);
        assert_eq!(step(Full, 1, 128, 0, 0), Step::Rest);
        assert_eq!(step(Full, 1, 1, 0, 0), Step::Begin(127), "one event was enough to end a halt");
        assert_eq!(step(One, 1, 1, 50, 0), Step::Rest);
    }

    #[test]
    fn what_may_be_lost_is_not_taken_again_before_that_is_known() {
        assert_eq!(step(Full, 0, 0, 100, 20), Step::Begin(8));
        assert_eq!(step(Full, 0, 0, 100, 28), Step::Begin(1));
        assert_eq!(step(Full, 1, 8, 10, 20), Step::Wait);
        assert_eq!(step(Full, 1, 8, 0, 20), Step::Cancel);
        assert_eq!(step(Full, 0, 0, 0, 20), Step::Renew);
        assert_eq!(step(One, 0, 0, 0, 1), Step::Renew);
    }

    #[test]
    fn no_order_of_settlements_takes_too_much_or_leaves_something_out() {
        for prefetch in [1, 2, 3, 8, 32, 129] {
            for begun in 0..=prefetch {
                let (mut shares, mut consumers) = (0, 0);
                for old in (0..=begun).rev() {
                    let in_use = InUse { consumers, shares, old, ..InUse::default() };
                    if let Step::Begin(size) = next_step(Full, prefetch, in_use) {
                        (shares, consumers) = (shares + size, consumers + 1);
                    }
                    assert!(shares + old <= prefetch && (shares + old) * 2 >= prefetch - 1, "{prefetch} {begun} {old}");
                }
                assert!(shares == prefetch && consumers <= MOST_CONSUMERS, "{prefetch} {begun}");
            }
        }
    }
}
