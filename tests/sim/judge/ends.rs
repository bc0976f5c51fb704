//! Every event ends: the sink has it, or it is a dead letter for a reason that its destination gave. None is lost.

use super::{Fault, Figures, Kind, Left};
use crate::{
    broker::{Happening, Judged, Moved, Place},
    history::{Entry, Happened},
    world::World,
};
use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

pub(super) fn judge(world: &World, entries: &[Entry], left: Left, figures: &mut Figures) -> Result<(), Fault> {
    let mut seen = Seen::default();
    let mut ended = HashSet::new();
    for (at, what) in entries {
        match what {
            Happened::Stored { event } => drop(ended.insert(*event)),
            Happened::Answered { event, process, answer } => seen.answered(world, *at, *event, *process, answer),
            Happened::Broker(Happening::Delivered { message, from, .. }) => {
                seen.delivered.insert(*message, (*at, from.clone()));
            }
            Happened::Broker(Happening::Judged { event, message, process, verdict: Judged::Dead(reason) }) => {
                let judged = seen.given_up(world, *at, *event, *message, *process, reason);
                seen.given_up.insert(*message, judged);
            }
            Happened::Broker(Happening::Copied { event, to: Place::Dead, reason, of, .. }) => {
                let nobody =
                    || Err(Fault::new(Kind::WrongReason, *event, *at, "a dead letter that nobody has given up"));
                seen.given_up.get(of).cloned().unwrap_or_else(nobody)?;
                figures.dead += 1;
                figures.exhausted += usize::from(*reason == Some("exhausted"));
                ended.insert(*event);
            }
            // Returned too often on its last rung.
            Happened::Broker(Happening::Moved { event, to: Place::Dead, why: Moved::Limit, .. }) => {
                figures.dead += 1;
                ended.insert(*event);
            }
            Happened::Broker(Happening::Moved { event, to: Place::Dead, why: Moved::Rejected, .. }) => {
                return Err(Fault::new(Kind::WrongReason, *event, *at, "retried on its last rung"));
            }
            _ => {}
        }
    }
    let Left { messages: left, dead } = left;
    let end = entries.last().map_or(Duration::ZERO, |(at, _)| *at);
    match (0..world.script.events.len()).find(|event| !ended.contains(event)) {
        Some(event) if left > 0 => {
            Err(Fault::new(Kind::NotEnded, event, end, format!("not at its end, one of {left} messages")))
        }
        Some(event) => Err(Fault::new(Kind::Lost, event, end, "neither with the sink nor a dead letter")),
        None if left > 0 => {
            let what = format!("all events are at their end, and {left} messages are not");
            Err(Fault { kind: Kind::NotEnded, event: None, what })
        }
        None if dead != figures.dead => {
            let what = format!("{dead} dead letters lie there, and {} were made", figures.dead);
            Err(Fault { kind: Kind::Lost, event: None, what })
        }
        None => Ok(()),
    }
}

/// What a reason can be held against.
#[derive(Default)]
struct Seen {
    /// The last answer to each event.
    answers: HashMap<usize, &'static str>,
    /// When each process saw each destination accept an event last.
    accepted: HashMap<(u32, usize), Duration>,
    /// When and from where each message was delivered last.
    delivered: HashMap<u64, (Duration, Place)>,
    /// Messages that were given up, and whether rightly. It counts once there is a copy: until then the broker may have taken the
    /// message back, and delivered it anew.
    given_up: HashMap<u64, Result<(), Fault>>,
}

impl Seen {
    fn answered(&mut self, world: &World, at: Duration, event: usize, process: u32, answer: &'static str) {
        self.answers.insert(event, answer);
        if matches!(answer, "accepted" | "repeated") {
            self.accepted.insert((process, world.event(event).destination), at);
        }
    }

    fn given_up(
        &self,
        world: &World,
        at: Duration,
        event: usize,
        message: u64,
        process: u32,
        reason: &str,
    ) -> Result<(), Fault> {
        let wrong = |what: &str| Err(Fault::new(Kind::WrongReason, event, at, format!("given up as {reason}: {what}")));
        let answer = self.answers.get(&event).copied();
        match reason {
            "refused" if answer == Some("refused") => Ok(()),
            "refused" => wrong("its destination did not refuse it"),
            "exhausted" if answer != Some("failed") => wrong("its last call did not fail"),
            "exhausted" => {
                let delays = &world.script.setup.delays;
                let Some((delivered, Place::Rung(rung))) = self.delivered.get(&message) else {
                    return wrong("it was parked");
                };
                if *rung < delays.len() {
                    return wrong(&format!("it had an attempt left, on rung {rung}"));
                }
                let before = delivered.saturating_sub(delays.last().copied().unwrap_or_default());
                match self.accepted.get(&(process, world.event(event).destination)) {
                    Some(accepted) if *accepted >= before => Ok(()),
                    _ => wrong("its destination accepted nothing since the attempt before: that is an outage"),
                }
            }
            _ => wrong("no destination says so"),
        }
    }
}
