//! Refusals in a row: whether they are about single events, or about more than that.

/// So many refusals without one acceptance among them are not about single events.
pub(super) const REFUSALS_IN_A_ROW: usize = 20;
/// Of so many of these from one destination the rest says nothing: a destination that refuses everything, beside a few events
/// of others that are wrong by themselves, must not cost the others.
const MOST_OF_ONE: usize = 15;

/// The last refusals since an acceptance, each by what stands for its destination.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    last: [u64; REFUSALS_IN_A_ROW],
    seen: usize,
}

/// How far a row of refusals reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Too few to say: each is about its event.
    Events,
    /// One destination refuses its events.
    Destination,
    /// Several do, and nobody accepts any.
    Sink,
}

impl Refusals {
    /// Counts one more, of this destination.
    pub(super) fn refused(&mut self, destination: u64) -> Reach {
        self.last[self.seen % REFUSALS_IN_A_ROW] = destination;
        // Wraps where the place in the ring goes on as it would.
        self.seen = if self.seen + 1 == 2 * REFUSALS_IN_A_ROW { REFUSALS_IN_A_ROW } else { self.seen + 1 };
        self.reach()
    }

    /// Something was accepted.
    pub(super) fn accepted(&mut self) {
        self.seen = 0;
    }

    fn reach(&self) -> Reach {
        if self.seen < REFUSALS_IN_A_ROW {
            return Reach::Events;
        }
        let of = |destination| self.last.iter().filter(|other| **other == destination).count();
        let most = self.last.iter().copied().map(of).max().unwrap_or_default();
        if most > MOST_OF_ONE { Reach::Destination } else { Reach::Sink }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row written as text: a letter is a refusal of that destination, a dot an acceptance.
    fn reach(row: &str) -> Reach {
        let mut refusals = Refusals::default();
        row.bytes().fold(Reach::Events, |_, one| match one {
            b'.' => {
                refusals.accepted();
                refusals.reach()
            }
            destination => refusals.refused(destination.into()),
        })
    }

    #[test]
    fn only_a_row_of_twenty_of_several_is_about_the_sink() {
        use Reach::{Destination, Events, Sink};
        let (a, ab) = ("a".repeat(19), "ab".repeat(9));
        for (row, expected) in [
            (String::new(), Events),
            ("a".into(), Events),
            (a.clone(), Events),
            (format!("{a}a"), Destination),
            (format!("{a}aaaaaaaaaaaaaaaaaaaaaaaaaaaa"), Destination),
            (format!("{ab}a"), Events),
            (format!("{ab}ab"), Sink),
            ("abcdefghijklmnopqrst".into(), Sink),
            // One acceptance among them, and the row begins again.
            (format!("{ab}a.b"), Events),
            (format!("{ab}a.{ab}a"), Events),
            (format!("{ab}.{ab}ab"), Sink),
            (format!("{ab}ab."), Events),
            // One destination's flood beside single wrong events of others.
            (format!("{a}b"), Destination),
            (format!("{}bbcd", "a".repeat(16)), Destination),
            (format!("{}bbbbb", "a".repeat(15)), Sink),
            // Only the last twenty count.
            (format!("{ab}ab{a}a"), Destination),
            (format!("{a}a{ab}ab"), Sink),
            (format!("{}ab", "ab".repeat(500)), Sink),
        ] {
            assert_eq!(reach(&row), expected, "{row}");
        }
    }
}
