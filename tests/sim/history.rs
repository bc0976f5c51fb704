//! Everything that happened in one run, in order: what the judges read, and what a failure is explained by.

use crate::broker::Happening;
use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Mutex,
    time::Duration,
};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Happened {
    Broker(Happening),
    /// A process makes a call.
    Tried {
        event: usize,
        process: u32,
    },
    /// The sink has the event from here on.
    Stored {
        event: usize,
    },
    Answered {
        event: usize,
        process: u32,
        answer: &'static str,
    },
    Started {
        process: u32,
    },
    Killed {
        process: u32,
    },
    Stopping {
        process: u32,
    },
    Stopped {
        process: u32,
    },
}

/// With the time since the beginning.
pub type Entry = (Duration, Happened);

#[derive(Debug, Default)]
pub struct History(Mutex<Vec<Entry>>);

impl History {
    pub fn add(&self, at: Duration, what: Happened) {
        self.0.lock().unwrap().push((at, what));
    }

    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }
}

/// A number that two histories share only if they are the same.
pub fn fingerprint(entries: &[Entry]) -> u64 {
    let mut hasher = DefaultHasher::new();
    entries.hash(&mut hasher);
    hasher.finish()
}

/// What an entry is about, if about one event.
pub fn event_of(what: &Happened) -> Option<usize> {
    match what {
        Happened::Tried { event, .. } | Happened::Stored { event } | Happened::Answered { event, .. } => Some(*event),
        Happened::Broker(what) => match what {
            Happening::Published { event, .. }
            | Happening::Ready { event, .. }
            | Happening::Delivered { event, .. }
            | Happening::Judged { event, .. }
            | Happening::Copied { event, .. }
            | Happening::Confirmed { event, .. }
            | Happening::Written { event, .. }
            | Happening::Acked { event, .. }
            | Happening::Moved { event, .. }
            | Happening::Returned { event, .. }
            | Happening::TooLate { event, .. } => Some(*event),
            Happening::Disconnected { .. } => None,
        },
        Happened::Started { .. } | Happened::Killed { .. } | Happened::Stopping { .. } | Happened::Stopped { .. } => {
            None
        }
    }
}

/// The last entries about one event, and which processes came and went between them, for people.
pub fn tell(entries: &[Entry], event: usize) -> String {
    const MOST: usize = 60;
    let is_of_all = |what: &Happened| !matches!(what, Happened::Broker(_));
    let is_of = |what: &Happened| event_of(what).map_or_else(|| is_of_all(what), |of| of == event);
    let of: Vec<_> = entries.iter().filter(|(_, what)| is_of(what)).collect();
    let lines = of.iter().skip(of.len().saturating_sub(MOST));
    lines.map(|(at, what)| format!("  {:>10.3} s  {what:?}\n", at.as_secs_f64())).collect()
}
