//! An acknowledgement follows proof or a confirmed copy, and what is outstanding never exceeds what was asked for.

use super::{Fault, Figures, Kind};
use crate::{
    broker::{Happening, Judged, Place, Why},
    history::{Entry, Happened},
    process::prefetch,
    world::World,
};
use std::collections::{HashMap, HashSet};

pub(super) fn judge(world: &World, entries: &[Entry], figures: &mut Figures) -> Result<(), Fault> {
    let setup = &world.script.setup;
    let rungs = prefetch(setup.prefetch, setup.delays.len());
    // An eighth is left to others by each lot.
    let of_a_lot = (setup.prefetch - setup.prefetch / 8).max(1);
    let (mut stored, mut confirmed) = (HashSet::new(), HashSet::new());
    let mut from_lots: HashMap<u32, HashMap<u64, Place>> = HashMap::new();
    for (at, what) in entries {
        let what = match what {
            Happened::Stored { event } => {
                stored.insert(*event);
                continue;
            }
            Happened::Tried { .. } => {
                figures.calls += 1;
                continue;
            }
            Happened::Broker(what) => what,
            _ => continue,
        };
        match what {
            Happening::Copied { .. } => figures.copies += 1,
            Happening::Confirmed { of, .. } => drop(confirmed.insert(*of)),
            Happening::Acked { event, why: Why::Settled, .. } if !stored.contains(event) => {
                return Err(Fault::new(Kind::NoProof, *event, *at, "acknowledged, and the sink has never had it"));
            }
            Happening::Acked { event, message, why: Why::Copied } if !confirmed.contains(message) => {
                return Err(Fault::new(Kind::NoProof, *event, *at, "acknowledged before its copy was confirmed"));
            }
            Happening::Judged { event, verdict: Judged::Retry { defect: true }, .. } => {
                return Err(Fault::new(Kind::Panicked, *event, *at, "handling it panicked"));
            }
            Happening::Delivered { event, from: Place::Rung(rung), held, .. } if *held > rungs[*rung] => {
                let what = format!("{held} of rung {rung} are outstanding, and its prefetch is {}", rungs[*rung]);
                return Err(Fault::new(Kind::OverPrefetch, *event, *at, what));
            }
            Happening::Delivered { event, from, process, message, .. } if !matches!(from, Place::Rung(_)) => {
                let held = from_lots.entry(*process).or_default();
                held.insert(*message, from.clone());
                let of_this = held.values().filter(|of| *of == from).count();
                if of_this > of_a_lot || held.len() > setup.prefetch {
                    let what = format!("{of_this} events of {from:?} and {} of all lots are outstanding", held.len());
                    return Err(Fault::new(Kind::OverPrefetch, *event, *at, what));
                }
            }
            Happening::Written { message, .. } | Happening::TooLate { message, .. } => {
                from_lots.values_mut().for_each(|held| drop(held.remove(message)));
            }
            Happening::Disconnected { process } => drop(from_lots.remove(process)),
            _ => {}
        }
    }
    Ok(())
}
