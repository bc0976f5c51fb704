//! An outage of one destination, of any length, spends no attempt beyond those that show it, sees probes and no more, and
//! refusals of everything cost few events.

use super::{Fault, Figures, Kind};
use crate::{
    broker::{Happening, Judged},
    history::{Entry, Happened},
    script::{FAULTS, Mood, Spell, TIMEOUT},
    world::World,
};
use std::{collections::HashMap, time::Duration};

/// After so long no answer from before the outage arrives any more.
const SETTLED: Duration = Duration::from_secs(10);
/// Failures in a row that open a circuit, less one: each of them spends its event's attempt.
const ATTEMPTS: usize = 9;
/// The same of refusals: each is a dead letter.
const REFUSALS: usize = 19;

/// What one process did in one outage.
#[derive(Default)]
struct Did {
    retried: usize,
    failed: usize,
    refused: usize,
}

pub(super) fn judge(world: &World, entries: &[Entry], figures: &mut Figures) -> Result<(), Fault> {
    let script = &world.script;
    let in_flight = crate::process::prefetch(script.setup.prefetch, script.setup.delays.len()).iter().sum::<usize>()
        + script.setup.prefetch;
    let mut did: HashMap<(usize, Duration, u32), Did> = HashMap::new();
    let mut failed_first: HashMap<usize, Duration> = HashMap::new();
    for (at, what) in entries {
        let (event, process) = match what {
            Happened::Answered { event, process, .. } | Happened::Broker(Happening::Judged { event, process, .. }) => {
                (*event, *process)
            }
            _ => continue,
        };
        let destination = world.event(event).destination;
        if matches!(what, Happened::Answered { answer: "failed", .. }) {
            failed_first.entry(event).or_insert(*at);
        }
        let Some(outage) = outage(&script.destinations[destination].spells, *at) else { continue };
        let length = at.saturating_sub(outage.from);
        // Others were accepted since: it says nothing of this outage, and what it spends is its own.
        let failed_before = failed_first.get(&event).is_some_and(|first| *first < outage.from);
        let did = did.entry((destination, outage.from, process)).or_default();
        match what {
            Happened::Broker(Happening::Judged { verdict: Judged::Retry { .. }, .. }) if !failed_before => {
                did.retried += 1;
                if did.retried > ATTEMPTS {
                    let what = format!("attempt {} spent in an outage of {outage:?}", did.retried);
                    return Err(Fault::new(Kind::SpentAttempts, event, *at, what));
                }
            }
            Happened::Broker(Happening::Judged { verdict: Judged::Dead("refused"), .. }) => {
                did.refused += 1;
                // The circuit probes, and so may a halt.
                if did.refused > REFUSALS + 2 * probes(length) {
                    let what = format!("dead letter {} of {outage:?}", did.refused);
                    return Err(Fault::new(Kind::TooManyRefused, event, *at, what));
                }
            }
            Happened::Answered { answer: "failed", .. } if !failed_before => {
                did.failed += 1;
                figures.most_failures = figures.most_failures.max(did.failed.saturating_sub(probes(length)));
                if did.failed > in_flight + ATTEMPTS + probes(length) {
                    let what = format!("call {} that failed, in an outage of {outage:?}", did.failed);
                    return Err(Fault::new(Kind::TooManyCalls, event, *at, what));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The outage that lasts at `at`, once all answers from before have come.
fn outage(spells: &[Spell<Mood>], at: Duration) -> Option<Spell<Mood>> {
    let is_outage =
        |mood| matches!(mood, Mood::Fails | Mood::Hangs | Mood::Throttles(_) | Mood::Refuses | Mood::Unknown(_));
    let lasts = |spell: &&Spell<Mood>| {
        is_outage(spell.what) && spell.from + SETTLED.max(TIMEOUT) <= at && at < spell.until && at < FAULTS
    };
    spells.iter().find(lasts).copied()
}

/// Probes of a circuit in so long: after 1 s, 2 s, 4 s and so on up to 60 s.
fn probes(length: Duration) -> usize {
    8 + (length.as_secs() / 60) as usize
}
