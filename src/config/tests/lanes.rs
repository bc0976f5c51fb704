//! Lanes: the one section whose keys the operator names.

use super::*;
use std::time::Duration;

#[track_caller]
fn refused(words: Words<'_>, line: &str) {
    assert_eq!(words.load().unwrap_err().to_string(), line);
}

#[test]
fn lanes_come_from_every_layer_key_by_key() {
    let words = Words {
        file: Some("[lanes.bulk]\nkeys = [\"acme.#\"]\nprefetch = 8\ndelays = [\"1m\"]\n[lanes.rest]\nkeys = []"),
        environment: &[("HOOKBRO__LANES__BULK__KEYS", "acme.#,beta.#")],
        sets: &["lanes.bulk.delays=5s,10s"],
    };
    let broker = words.settings().broker;
    let [bulk, rest] = broker.lanes.as_slice() else { panic!("{:?}", broker.lanes) };
    assert_eq!((bulk.name.as_str(), bulk.prefetch), ("bulk", 8));
    assert_eq!(bulk.keys, ["acme.#", "beta.#"]);
    assert_eq!(bulk.ladder.delays(), [5, 10].map(Duration::from_secs));
    assert_eq!((rest.name.as_str(), rest.prefetch, rest.keys.len()), ("rest", 32, 0));
    assert_eq!(rest.ladder, broker.ladder);
    assert!(Words::default().settings().broker.lanes.is_empty());
}

#[test]
fn a_lane_that_cannot_be_is_explained() {
    for (sets, line) in [
        (
            &["lanes.bulk.prefetch=3"][..],
            "lanes.bulk.keys: is missing; give its routing keys, or [] to deliver only what its queues hold",
        ),
        (
            &["lanes.bulk.keys=a", "lanes.bulk.prefetsch=3"],
            "lanes.bulk.prefetsch = \"3\" (flag --set lanes.bulk.prefetsch): unknown key; did you mean lanes.bulk.prefetch?",
        ),
        (
            &["lanes.Bulk.keys=a"],
            "lanes.Bulk.keys = \"a\" (flag --set lanes.Bulk.keys): a lane's name has 1 to 32 of a-z 0-9 - _",
        ),
        (
            &["lanes.bulk=a"],
            "lanes.bulk = \"a\" (flag --set lanes.bulk): expected a lane's name and its key, such as lanes.bulk.keys",
        ),
        (
            &["lanes.bulk.keys=a", "lanes.bulk.delays=0s"],
            "lanes.bulk.delays = \"0s\" (flag --set lanes.bulk.delays): element 1 is not a duration; expected one such as 5s or 1m30s",
        ),
        (
            &["lanes.a.keys=acme.#", "lanes.b.keys=beta.#,*.sim.#"],
            "lanes.b.keys = \"beta.#,*.sim.#\" (flag --set lanes.b.keys): \"*.sim.#\" overlaps with \"acme.#\" of \
             lanes.a.keys: both match, for example, \"acme.sim\"",
        ),
    ] {
        refused(Words { sets, ..Words::default() }, line);
    }
    assert!(file("lanes = 3").load().unwrap_err().to_string().ends_with("expected one section for each lane"));
    let many: Vec<_> = (0..17).map(|n| format!("lanes.l{n}.keys=")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    refused(sets(&many), "lanes: there are 17 lanes, at most 16 are possible");
}
