//! What fuzzing found, replayed: every input of `fuzz/corpus` through the checks of `fuzz/checks`. `scripts/fuzz` finds more.

use std::path::Path;

#[path = "../../fuzz/checks/amqp_headers.rs"]
mod amqp_headers;
#[path = "../../fuzz/checks/event_head.rs"]
mod event_head;

/// Fewest inputs that a corpus has; with fewer nothing would be replayed.
const FEWEST: usize = 50;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        let passed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&input)));
        assert!(passed.is_ok(), "{} breaks {target}", path.display());
        inputs += 1;
    }
    assert!(inputs >= FEWEST, "the corpus of {target} has {inputs} inputs");
}

#[test]
fn every_body_that_fuzzing_found_is_an_event_or_refused() {
    replay("event_head", event_head::check);
}

#[test]
fn every_header_table_that_fuzzing_found_is_read_and_replayed() {
    replay("amqp_headers", amqp_headers::check);
}
