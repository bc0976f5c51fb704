//! What must hold in every run, whatever goes wrong in it. Each judge reads the history of a run that is over.

mod ends;
mod isolation;
mod outages;
mod proof;
mod windows;

use crate::{history::Entry, world::World};
use std::time::Duration;

/// What must hold and did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An acknowledgement follows proof, or a confirmed copy.
    NoProof,
    /// What is outstanding never exceeds the prefetch.
    OverPrefetch,
    /// No event is lost.
    Lost,
    /// Every event is given up for a reason that its destination gave.
    WrongReason,
    /// Once nothing goes wrong, every event ends.
    NotEnded,
    /// Whatever others do, an event of a destination that accepts is tried soon.
    NotTried,
    /// An outage spends no attempt beyond those that show it.
    SpentAttempts,
    /// An outage sees probes and no more.
    TooManyCalls,
    /// A destination that refuses everything costs few events.
    TooManyRefused,
    /// A process ends in time and forgets nothing.
    BadStop,
    /// Nothing in the program panics.
    Panicked,
}

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Fault {
    pub kind: Kind,
    pub event: Option<usize>,
    pub what: String,
}

impl Fault {
    fn new(kind: Kind, event: usize, at: Duration, what: impl Into<String>) -> Self {
        Self { kind, event: Some(event), what: format!("at {:.3} s, {}", at.as_secs_f64(), what.into()) }
    }

    pub fn of_a_stop(what: String) -> Self {
        Self { kind: Kind::BadStop, event: None, what }
    }
}

/// What lies on the broker after a run.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    /// Anywhere but among the dead letters.
    pub messages: usize,
    pub dead: usize,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub events: usize,
    pub calls: usize,
    pub copies: usize,
    pub dead: usize,
    /// Of these, those that failed on every rung.
    pub exhausted: usize,
    /// How often an event of a destination that accepts was owed a call, with time enough to see that it comes late.
    pub owed: usize,
    /// The longest that an event of a destination that accepts waited for a call.
    pub longest_wait: Duration,
    /// The most calls that failed in one outage, beyond its probes.
    pub most_failures: usize,
}

impl Figures {
    pub fn and(self, other: Self) -> Self {
        Self {
            events: self.events + other.events,
            calls: self.calls + other.calls,
            copies: self.copies + other.copies,
            dead: self.dead + other.dead,
            exhausted: self.exhausted + other.exhausted,
            owed: self.owed + other.owed,
            longest_wait: self.longest_wait.max(other.longest_wait),
            most_failures: self.most_failures.max(other.most_failures),
        }
    }
}

/// Judges a run that is over.
pub fn judge(world: &World, entries: &[Entry], left: Left) -> Result<Figures, Fault> {
    let mut figures = Figures { events: world.script.events.len(), ..Figures::default() };
    proof::judge(world, entries, &mut figures)?;
    ends::judge(world, entries, left, &mut figures)?;
    outages::judge(world, entries, &mut figures)?;
    isolation::judge(world, entries, &mut figures)?;
    Ok(figures)
}
