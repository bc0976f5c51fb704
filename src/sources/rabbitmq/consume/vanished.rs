//! Notices a dead-letter queue that shrinks by itself, as where a policy's limit drops letters that nobody has read.

/// Compares one count with the one before.
#[derive(Debug, Default)]
pub(super) struct Vanished {
    /// Messages ready, and the number of this process's own changes then; none while somebody reads the queue and has unsettled
    /// messages.
    before: Option<(u64, u64)>,
}

impl Vanished {
    /// By how much the queue has shrunk since the last count, unless somebody reads it or has just read it, or `turn` says that
    /// this process removed something. What others removed between two counts, unseen, is counted too.
    pub(super) fn count(&mut self, ready: u64, consumers: u32, turn: u64) -> Option<u64> {
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

    /// Counts as `(ready, consumers, turn)`, and the answer of the last one.
    #[track_caller]
    fn check(counts: &[(u64, u32, u64)], expected: Option<u64>) {
        let mut vanished = Vanished::default();
        let shrunk = counts.iter().map(|(ready, consumers, turn)| vanished.count(*ready, *consumers, *turn));
        assert_eq!(shrunk.last().flatten(), expected, "{counts:?}");
    }

    #[test]
    fn letters_that_leave_without_a_reader_have_vanished() {
        check(&[(600, 0, 0)], None);
        check(&[(600, 0, 0), (600, 0, 0)], None);
        check(&[(600, 0, 0), (601, 0, 0)], None);
        check(&[(600, 0, 0), (100, 0, 0)], Some(500));
        check(&[(600, 0, 0), (100, 0, 0), (100, 0, 0)], None);
        // This process replays or discards.
        check(&[(600, 0, 0), (100, 0, 1)], None);
        check(&[(600, 0, 0), (100, 0, 1), (90, 0, 1)], Some(10));
        // Somebody reads it: all is unsettled, and some of it may not come back.
        check(&[(600, 0, 0), (0, 1, 0)], None);
        check(&[(600, 0, 0), (0, 1, 0), (590, 0, 0)], None);
        check(&[(600, 0, 0), (0, 1, 0), (590, 0, 0), (80, 0, 0)], Some(510));
    }
}
