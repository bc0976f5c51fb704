//! Notices a dead queue that shrinks by itself, as where a policy's limit drops from it what nobody has looked at.

/// Compares one count with the one before.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    /// Messages ready, and the turn of this process's own changes then; none while somebody looks through the queue and has
    /// messages in hand.
    before: Option<(u64, u64)>,
}

impl Vanished {
    /// By how much the queue has shrunk since the last look, unless somebody reads it or has just read it, or `turn` says that
    /// this process took something out. What others took out so fast that no look saw them is counted too.
    pub(super) fn look(&mut self, ready: u64, consumers: u32, turn: u64) -> Option<u64> {
        if consumers > 0 {
            self.before = None;
            return None;
        }
        let before = self.before.replace((ready, turn));
        let (before, _) = before.filter(|(_, then)| *then == turn)?;
        before.checked_sub(ready).filter(|by| *by > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks as `(ready, consumers, turn)`, and what the last one says.
    #[track_caller]
    fn check(looks: &[(u64, u32, u64)], expected: Option<u64>) {
        let mut vanished = Vanished::default();
        let said = looks.iter().map(|(ready, consumers, turn)| vanished.look(*ready, *consumers, *turn));
        assert_eq!(said.last().flatten(), expected, "{looks:?}");
    }

    #[test]
    fn only_what_goes_without_anybody_seen_at_it_has_vanished() {
        check(&[(600, 0, 0)], None);
        check(&[(600, 0, 0), (600, 0, 0)], None);
        check(&[(600, 0, 0), (601, 0, 0)], None);
        check(&[(600, 0, 0), (100, 0, 0)], Some(500));
        check(&[(600, 0, 0), (100, 0, 0), (100, 0, 0)], None);
        // This process replays or discards.
        check(&[(600, 0, 0), (100, 0, 1)], None);
        check(&[(600, 0, 0), (100, 0, 1), (90, 0, 1)], Some(10));
        // Somebody looks through it: all is in hand, and some of it may not come back.
        check(&[(600, 0, 0), (0, 1, 0)], None);
        check(&[(600, 0, 0), (0, 1, 0), (590, 0, 0)], None);
        check(&[(600, 0, 0), (0, 1, 0), (590, 0, 0), (80, 0, 0)], Some(510));
    }
}
