//! Counts event by event: what was published, what arrived, byte for byte, and names each one that is missing.

use super::{events::Sample, svix::TestSvix};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use svix_sandbox::StoredMessage;

/// One event's identity: project, id and the hash of its payload.
type Entry = (String, String, String);

/// How many of these events Svix does not hold yet.
pub fn missing(svix: &TestSvix, published: &[Sample]) -> usize {
    published.iter().filter(|sample| !svix.sandbox.has(&sample.project, &sample.id)).count()
}

/// Whether none is missing. The last ones come last, mostly, so that asking again and again costs little.
pub fn complete(svix: &TestSvix, published: &[Sample]) -> bool {
    published.iter().rev().all(|sample| svix.sandbox.has(&sample.project, &sample.id))
}

/// Every published event is stored exactly once, in its own project's application, with its own bytes, and nothing else.
#[track_caller]
pub fn check(svix: &TestSvix, published: &[Sample]) {
    let stored = stored(&svix.sandbox.messages());
    let expected: BTreeMap<Entry, usize> = published.iter().map(|sample| (entry(sample), 1)).collect();
    assert_eq!(expected.len(), published.len(), "a test must not publish an event twice");
    let lost: Vec<_> = expected.keys().filter(|entry| !stored.contains_key(*entry)).collect();
    let foreign: Vec<_> = stored.keys().filter(|entry| !expected.contains_key(*entry)).collect();
    let repeated: Vec<_> = stored.iter().filter(|(_, count)| **count > 1).collect();
    assert!(
        lost.is_empty() && foreign.is_empty() && repeated.is_empty(),
        "{} of {} lost, {} foreign or changed, {} stored twice\nlost: {lost:#?}\nforeign: {foreign:#?}\ntwice: {repeated:#?}",
        lost.len(),
        expected.len(),
        foreign.len(),
        repeated.len(),
    );
}

fn entry(sample: &Sample) -> Entry {
    (sample.project.clone(), sample.id.clone(), hash(sample.body.trim_ascii()))
}

fn stored(messages: &[StoredMessage]) -> BTreeMap<Entry, usize> {
    let mut count = BTreeMap::new();
    for message in messages {
        let id = message.event_id.clone().unwrap_or_default();
        *count.entry((message.app.clone(), id, hash(&message.payload))).or_default() += 1;
    }
    count
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
