//! If a destination accepts, each of its events is tried within a bound, whatever the other destinations do.

use super::{Fault, Figures, Kind, windows::good};
use crate::{
    broker::{Happening, Place},
    history::{Entry, Happened},
    script::{Event, Flaw},
    world::World,
};
use std::{collections::HashMap, time::Duration};

/// The bound. The worst that others can do is to hang: each can hold a few places for the time of ten failures.
const TRIED_WITHIN: Duration = Duration::from_secs(180);
/// So much later if its own destination has an event that always fails: that may be the probe before it. The longest wait between
/// two probes.
const PROBE_WITHIN: Duration = Duration::from_secs(60);

pub(super) fn judge(world: &World, entries: &[Entry], figures: &mut Figures) -> Result<(), Fault> {
    let end = entries.last().map_or(Duration::ZERO, |(at, _)| *at);
    let mut tried: HashMap<usize, Vec<Duration>> = HashMap::new();
    for (at, what) in entries {
        if let Happened::Tried { event, .. } = what {
            tried.entry(*event).or_default().push(*at);
        }
    }
    let destinations = 0..world.script.destinations.len();
    let good: Vec<_> =
        destinations.map(|destination| (good(world, destination, end), bound(world, destination))).collect();
    for (at, what) in entries {
        let Some(event) = is_owed_a_call(what) else { continue };
        // Only where there is time enough for the bound to be broken.
        let (windows, bound) = &good[world.event(event).destination];
        let owed = windows.iter().map(|(from, until)| ((*from).max(*at), *until));
        let Some((since, _)) = owed.into_iter().find(|(since, until)| *since + *bound < *until) else { continue };
        let next = tried.get(&event).and_then(|tried| tried.iter().find(|tried| *tried >= at));
        let waited = next.map_or(end.saturating_sub(since), |next| next.saturating_sub(since));
        figures.owed += 1;
        figures.longest_wait = figures.longest_wait.max(waited);
        if waited > *bound {
            let what = format!("ready, and not tried for {waited:?} though its destination accepts");
            return Err(Fault::new(Kind::NotTried, event, *at, what));
        }
    }
    Ok(())
}

/// Within which a destination's event is tried, once it may be.
fn bound(world: &World, destination: usize) -> Duration {
    let fails = |event: &&Event| event.destination == destination && event.flaw == Some(Flaw::AlwaysFails);
    let failing = world.script.events.iter().filter(fails).count();
    TRIED_WITHIN + PROBE_WITHIN * u32::try_from(failing).unwrap_or(u32::MAX)
}

/// The event that is ready to be sent from here on, if it is.
fn is_owed_a_call(what: &Happened) -> Option<usize> {
    match what {
        Happened::Broker(
            Happening::Published { event, .. }
            | Happening::Ready { event, .. }
            | Happening::Copied { event, to: Place::Lot(_) | Place::Others | Place::Rung(0), .. },
        ) => Some(*event),
        _ => None,
    }
}
