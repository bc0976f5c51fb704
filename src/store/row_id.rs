//! Row ids of the journal and the audit: the microsecond first, so that rows lie in the order of time, and in the lowest bits
//! a number that the process has drawn, so that replicas do not collide.

use jiff::Timestamp;

/// The row ids of one process.
#[derive(Debug)]
pub(super) struct RowIds {
    last_us: i64,
    own: i64,
}

/// Bits below the microseconds.
const OWN_BITS: u32 = 12;
const OWN_MASK: i64 = (1 << OWN_BITS) - 1;

fn own() -> i64 {
    i64::from(rand::random::<u16>()) & OWN_MASK
}

/// The row id of the same moment in the process with this number.
pub(super) fn renumbered(row_id: i64, own: i64) -> i64 {
    (row_id & !OWN_MASK) | own
}

/// The first row id of a moment.
pub(super) fn row_id_at(at: Timestamp) -> i64 {
    at.as_microsecond().saturating_mul(1 << OWN_BITS)
}

/// The moment of a row id.
pub(super) fn time_of(row_id: i64) -> Timestamp {
    Timestamp::from_microsecond(row_id >> OWN_BITS).unwrap_or_default()
}

impl RowIds {
    pub(super) fn new() -> Self {
        Self { last_us: 0, own: own() }
    }

    /// Another number of its own, for when a second process has the same.
    pub(super) fn renew(&mut self) -> i64 {
        self.own = own();
        self.own
    }

    /// Later than every other, even if the clock steps back.
    pub(super) fn next(&mut self, at: Timestamp) -> i64 {
        self.last_us = at.as_microsecond().max(self.last_us + 1);
        (self.last_us << OWN_BITS) | self.own
    }
}
