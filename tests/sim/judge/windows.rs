//! When a destination accepts and nothing else goes wrong either: then its events are owed calls.

use crate::{
    script::{Blow, Flaw, GRACE, Spell},
    world::World,
};
use std::{collections::HashMap, time::Duration};

/// So much later than scripted a blow may fall: the one before waited for the end of a process.
const LATE: Duration = GRACE;

/// Stretches of time, by their beginning, in which `destination` has no excuse.
pub(super) fn good(
    world: &World,
    destination: usize,
    tried: &HashMap<usize, Vec<Duration>>,
    end: Duration,
) -> Vec<(Duration, Duration)> {
    let script = &world.script;
    let mut bad: Vec<(Duration, Duration)> = Vec::new();
    bad.extend(script.destinations[destination].spells.iter().map(ends));
    bad.extend(script.weather.iter().map(ends));
    bad.extend(script.bad_copies.iter().map(ends));
    let blows = u32::try_from(script.blows.len()).unwrap_or(u32::MAX);
    bad.extend(script.blows.iter().map(|(at, blow)| {
        let lasts = match blow {
            Blow::Cut(_) => Duration::ZERO,
            Blow::Away(length) => *length,
            Blow::Kill(_, after) => *after,
            Blow::Stop(_, after) => GRACE + *after,
        };
        (*at, *at + LATE * blows + lasts)
    }));
    // An event that fails on every rung may keep its own destination's circuit open.
    let failing = script.events.iter().enumerate().filter(|(_, event)| event.flaw == Some(Flaw::AlwaysFails));
    bad.extend(failing.filter(|(_, event)| event.destination == destination).map(|(number, event)| {
        (event.at, tried.get(&number).and_then(|tried| tried.last()).map_or(end, |last| *last + LATE))
    }));
    bad.sort_unstable();
    let (mut good, mut from) = (Vec::new(), Duration::ZERO);
    for (begins, ends) in bad {
        if begins > from {
            good.push((from, begins));
        }
        from = from.max(ends);
    }
    if from < end {
        good.push((from, end));
    }
    good
}

fn ends<T>(spell: &Spell<T>) -> (Duration, Duration) {
    (spell.from, spell.until)
}
