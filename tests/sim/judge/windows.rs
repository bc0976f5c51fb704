//! When a destination accepts and nothing else goes wrong either: then its events are owed calls.

use crate::{
    script::{Blow, GRACE, Spell},
    world::World,
};
use std::time::Duration;

/// So much later than scripted a blow may fall: the one before waited for the end of a process.
const LATE: Duration = GRACE;

/// Stretches of time, by their beginning, in which `destination` has no excuse.
pub(super) fn good(world: &World, destination: usize, end: Duration) -> Vec<(Duration, Duration)> {
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
