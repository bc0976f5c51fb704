//! What the simulation has found: several events that always fail, among few others of the same destination, opened its circuit
//! again and again once it had opened.

use crate::{
    broker::Happening,
    history::{Entry, Happened},
    run::run_script,
    script::{Destination, Event, Flaw, Mood, Script, Setup, Spell},
    world::Mutation,
};
use std::{collections::HashMap, time::Duration};

/// Events that always fail, published in the outage; the others of their destination are well, one every so often.
const POISONED: usize = 4;
const EVERY: Duration = Duration::from_secs(10);
const EVENTS: u32 = 300;
/// The destination fails, and its circuit opens.
const OUTAGE: Spell<Mood> = Spell { from: Duration::from_secs(50), until: Duration::from_secs(300), what: Mood::Fails };
/// The circuit has had its longest wait by then, and closed.
const OVER: Duration = Duration::from_secs(400);
/// What somebody who waits for an event of a destination that accepts it would put up with.
const SOON: Duration = Duration::from_secs(10);

fn script() -> Script {
    let flaw = |n| (10..10 + POISONED).contains(&n).then_some(Flaw::AlwaysFails);
    let event = |n: usize| Event { at: EVERY * n as u32, destination: 0, flaw: flaw(n) };
    let delays = [1, 5, 20, 60, 240].map(Duration::from_secs).to_vec();
    Script {
        seed: 1,
        setup: Setup { processes: 1, prefetch: 16, delays, delivery_limit: 100, most_lots: 1_000, rate_limit: 0 },
        destinations: vec![Destination { latency: (20, 40), spells: vec![OUTAGE] }],
        events: (0..EVENTS as usize).map(event).collect(),
        weather: Vec::new(),
        bad_copies: Vec::new(),
        blows: Vec::new(),
    }
}

/// How long each event that was published after the outage waited for its first call.
fn waits(entries: &[Entry]) -> Vec<Duration> {
    let mut published = HashMap::new();
    let mut waits = Vec::new();
    for (at, what) in entries {
        match what {
            Happened::Broker(Happening::Published { event, .. }) if *at > OVER => drop(published.insert(*event, *at)),
            Happened::Tried { event, .. } => waits.extend(published.remove(event).map(|since| *at - since)),
            _ => {}
        }
    }
    waits
}

#[test]
fn a_few_events_that_always_fail_do_not_hold_up_the_others_of_their_destination() {
    let report = run_script(script(), Mutation::default()).unwrap_or_else(|failure| panic!("{failure}"));
    let waits = waits(&report.entries);
    let late = waits.iter().filter(|wait| **wait > SOON).count();
    assert_eq!(late, 0, "of {} events, the longest wait {:?}", waits.len(), waits.iter().max());
}
