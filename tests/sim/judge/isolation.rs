//! If a destination accepts, each of its events is tried within a bound, whatever the other destinations do.

use super::{Fault, Figures, Kind, windows::good};
use crate::{
    broker::{Happening, Place},
    history::{Entry, Happened},
    world::World,
};
use std::{collections::HashMap, time::Duration};

/// The bound. The worst that others can do is to hang: each can hold a few places for the time of ten failures.
pub(super) const TRIED_WITHIN: Duration = Duration::from_secs(180);

pub(super) fn judge(world: &World, entries: &[Entry], figures: &mut Figures) -> Result<(), Fault> {
    let end = entries.last().map_or(Duration::ZERO, |(at, _)| *at);
    let mut tried: HashMap<usize, Vec<Duration>> = HashMap::new();
    for (at, what) in entries {
        if let Happened::Tried { event, .. } = what {
            tried.entry(*event).or_default().push(*at);
        }
    }
    let good: Vec<_> =
        (0..world.script.destinations.len()).map(|destination| good(world, destination, &tried, end)).collect();
    for (at, what) in entries {
        let Some(event) = is_owed_a_call(what) else { continue };
        // Only where there is time enough for the bound to be broken.
        let windows = &good[world.event(event).destination];
        let owed = windows.iter().map(|(from, until)| ((*from).max(*at), *until));
        let Some((since, _)) = owed.into_iter().find(|(since, until)| *since + TRIED_WITHIN < *until) else { continue };
        let next = tried.get(&event).and_then(|tried| tried.iter().find(|tried| *tried >= at));
        let waited = next.map_or(end.saturating_sub(since), |next| next.saturating_sub(since));
        figures.owed += 1;
        figures.longest_wait = figures.longest_wait.max(waited);
        if waited > TRIED_WITHIN {
            let what = format!("ready, and not tried for {waited:?} though its destination accepts");
            return Err(Fault::new(Kind::NotTried, event, *at, what));
        }
    }
    Ok(())
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
