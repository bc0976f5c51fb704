//! Sums of a batch by project and hour, and what latencies they are read back as.

use crate::pipeline::journal::Entry;
use std::{collections::BTreeMap, time::Duration};

/// The first bucket ends here; each further one is the 4th root of 2 longer, so a percentile is off by a tenth at most.
const FIRST_US: f64 = 250.0;
const PER_OCTAVE: f64 = 4.0;
/// Buckets until 15 minutes, beyond any call.
const BUCKETS: u32 = 90;
/// What latency series are called: `le:` and the bucket's number.
const LATENCY: &str = "le:";

/// Sorted, so that replicas touch rows in one order and cannot block each other for ever.
pub(super) type Tallies = BTreeMap<(String, i64, String), i64>;

/// The name for events without a readable project.
pub(super) fn project_name(entry: &Entry) -> &str {
    entry.project.as_ref().map_or("", |project| project.as_str())
}

pub(super) fn add(tallies: &mut Tallies, entry: &Entry) {
    let hour = entry.at.as_second().div_euclid(3600);
    let mut count = |what: String| *tallies.entry((project_name(entry).to_owned(), hour, what)).or_default() += 1;
    count(entry.outcome.to_owned());
    if let Some(latency) = entry.latency {
        count(format!("{LATENCY}{:02}", bucket(latency)));
    }
}

fn bucket(latency: Duration) -> u32 {
    let steps = (latency.as_secs_f64() * 1e6 / FIRST_US).max(1.0).log2() * PER_OCTAVE;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and BUCKETS")]
    let number = steps.ceil().min(f64::from(BUCKETS)) as u32;
    number
}

/// The number of the bucket that a series is.
pub(super) fn bucket_of(what: &str) -> Option<u32> {
    what.strip_prefix(LATENCY)?.parse().ok()
}

/// The latency, in milliseconds, that `share` of all lie below: the upper end of its bucket.
pub(super) fn percentile(buckets: &BTreeMap<u32, i64>, share: f64) -> Option<f64> {
    let all: i64 = buckets.values().sum();
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "far below 2^52 calls")]
    let wanted = (all as f64 * share).ceil() as i64;
    let mut below = 0;
    let found = buckets.iter().find(|(_, amount)| {
        below += **amount;
        below >= wanted.max(1)
    });
    let (bucket, _) = found?;
    Some((FIRST_US * 2f64.powf(f64::from(*bucket) / PER_OCTAVE) / 1e3 * 1e3).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_close_to_what_was_measured() {
        for ms in [1.0, 5.0, 50.0, 15_000.0] {
            let buckets = BTreeMap::from([(bucket(Duration::from_secs_f64(ms / 1e3)), 100)]);
            let found = percentile(&buckets, 0.5).unwrap();
            assert!(found >= ms && found < ms * 1.2, "{ms} ms come back as {found}");
        }
        let mixed = BTreeMap::from([(bucket(Duration::from_millis(2)), 98), (bucket(Duration::from_secs(1)), 2)]);
        assert!(percentile(&mixed, 0.5).unwrap() < 3.0);
        assert!(percentile(&mixed, 0.99).unwrap() >= 1000.0);
        assert_eq!(percentile(&BTreeMap::new(), 0.5), None);
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::from_secs(86_400)), BUCKETS);
    }
}
