//! Settling in any order, played against a broker that remembers what is outstanding: no run covers a delivery that is
//! not finished, each finished one is acknowledged exactly once, and none that went back ever is.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// Deliveries of one channel, at most: several runs with gaps in them.
const MOST: usize = 96;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Ack,
    Nack,
}

/// One delivery's end, and what the settling task does in the turn in which it hears of it.
#[derive(Debug, Clone)]
struct Step {
    /// Deliveries end in the order of these, not of their tags.
    place: u16,
    fate: Fate,
    /// The turn goes on with the next delivery: settlements arrive in batches.
    batched: bool,
    acknowledges: bool,
    stragglers: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![3 => Just(Fate::Ack), 1 => Just(Fate::Nack)];
    let step = (any::<u16>(), fate, any::<bool>(), any::<bool>(), prop::bool::weighted(0.2));
    let step = step.prop_map(|(place, fate, batched, acknowledges, stragglers)| Step {
        place,
        fate,
        batched,
        acknowledges,
        stragglers,
    });
    prop::collection::vec(step, 1..MOST)
}

/// What RabbitMQ knows of a channel; an unknown tag would close it with 406 (AMQP 0-9-1, `basic.ack`).
#[derive(Debug, Default)]
struct Broker {
    outstanding: BTreeSet<u64>,
    finished: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    nacked: BTreeSet<u64>,
}

impl Broker {
    fn ack(&mut self, tag: u64, multiple: bool) -> Result<(), TestCaseError> {
        prop_assert!(self.outstanding.contains(&tag), "{tag} is not outstanding");
        let above = if multiple { self.outstanding.split_off(&(tag + 1)) } else { BTreeSet::new() };
        let covered = if multiple { std::mem::replace(&mut self.outstanding, above) } else { BTreeSet::from([tag]) };
        for tag in covered {
            self.outstanding.remove(&tag);
            prop_assert!(self.finished.contains(&tag), "{tag} is acknowledged and not finished");
            prop_assert!(self.acked.insert(tag), "{tag} is acknowledged twice");
        }
        Ok(())
    }

    fn nack(&mut self, tag: u64) -> Result<(), TestCaseError> {
        prop_assert!(self.outstanding.remove(&tag), "{tag} is not outstanding");
        self.nacked.insert(tag);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_delivery_is_settled_once_and_as_it_ended(steps in steps()) {
        let last = steps.len();
        let mut broker = Broker { outstanding: (1..=last as u64).collect(), ..Broker::default() };
        let mut ends: Vec<(u64, &Step)> = (1..).zip(&steps).collect();
        ends.sort_by_key(|(tag, step)| (step.place, *tag));
        let (mut window, mut run) = (Window::default(), None);
        for (nth, (tag, step)) in ends.into_iter().enumerate() {
            match step.fate {
                Fate::Ack => {
                    broker.finished.insert(tag);
                    window.finished(tag, Instant::now(), tag);
                }
                Fate::Nack => {
                    broker.nack(tag)?;
                    window.settled(tag);
                }
            }
            let is_last = nth + 1 == last;
            if step.batched && !is_last {
                continue;
            }
            run = window.take_run().or(run);
            if step.acknowledges || is_last {
                if let Some(up_to) = run.take() {
                    broker.ack(up_to, true)?;
                }
                // What was brought along is given back with its acknowledgement.
                prop_assert!(window.acknowledged().iter().all(|tag| broker.acked.contains(tag)));
            }
            if step.stragglers || is_last {
                for (tag, with) in window.take_stragglers(Instant::now()) {
                    prop_assert_eq!(tag, with);
                    broker.ack(tag, false)?;
                }
            }
        }
        let fated = |fate| (1..).zip(&steps).filter(move |(_, s)| s.fate == fate).map(|(tag, _)| tag);
        prop_assert_eq!(broker.acked, fated(Fate::Ack).collect::<BTreeSet<u64>>());
        prop_assert_eq!(broker.nacked, fated(Fate::Nack).collect::<BTreeSet<u64>>());
        prop_assert_eq!((window.taken(), window.stragglers()), (0, 0));
    }
}
