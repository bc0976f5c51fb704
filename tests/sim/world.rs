//! What all parts of a run share: its script, its clock and its history.

use crate::{
    broker::{CopyFate, Defect, Fate, Happening},
    chance::Chance,
    history::{Happened, History},
    script::{Event, Script},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;

/// What a run is to break, to show that it is found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mutation {
    pub of_broker: Option<Defect>,
    pub of_sink: Option<SinkDefect>,
}

/// Something that a sink, or the pipeline before it, may do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SinkDefect {
    /// Every failure is about the sink as a whole, as if there were no circuits.
    FailuresHalt,
    /// Any answer counts as acceptance.
    AnyAnswerIsProof,
    /// All events go to one destination, whose circuit everybody shares.
    OneForAll,
    /// A failure is the event's own, for good.
    FailuresAreRefusals,
}

pub struct World {
    pub script: Script,
    pub mutation: Mutation,
    pub history: History,
    began: Instant,
    ways: Mutex<Chance>,
    copies: Mutex<Chance>,
    pub calls: Mutex<Chance>,
}

impl World {
    pub fn new(script: Script, mutation: Mutation) -> Arc<Self> {
        let chance = Chance::new(script.seed);
        let of = |purpose| Mutex::new(chance.of(purpose));
        Arc::new(Self {
            mutation,
            history: History::default(),
            began: Instant::now(),
            ways: of("ways"),
            copies: of("copies that fail"),
            calls: of("calls"),
            script,
        })
    }

    /// The time since the beginning.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub async fn until(&self, at: Duration) {
        tokio::time::sleep_until(self.began + at).await;
    }

    /// So much later, as the runtime's clock has it.
    pub fn instant(&self, at: Duration) -> Instant {
        self.began + at
    }

    pub fn saw(&self, what: Happened) {
        self.history.add(self.now(), what);
    }

    pub fn event(&self, number: usize) -> &Event {
        &self.script.events[number]
    }

    /// The project that an event is published for.
    pub fn project(&self, number: usize) -> String {
        match self.mutation.of_sink {
            Some(SinkDefect::OneForAll) => "all".to_owned(),
            _ => format!("project_{}", self.event(number).destination),
        }
    }
}

impl Fate for World {
    fn way(&self) -> Duration {
        self.ways.lock().unwrap().millis(0, 4)
    }

    fn transit(&self) -> Duration {
        let mut ways = self.ways.lock().unwrap();
        if ways.one_in(20) { ways.millis(100, 3_000) } else { ways.millis(0, 5) }
    }

    fn copy(&self) -> CopyFate {
        if !self.script.copies_go_wrong(self.now()) {
            return CopyFate::Confirmed;
        }
        // Seldom: each makes one event two, whose copies may double again.
        match self.copies.lock().unwrap().below(20) {
            0 => CopyFate::Unconfirmed,
            1..=9 => CopyFate::Confirmed,
            _ => CopyFate::Refused,
        }
    }

    fn defect(&self) -> Option<Defect> {
        self.mutation.of_broker
    }

    fn saw(&self, at: Instant, what: Happening) {
        self.history.add(at - self.began, Happened::Broker(what));
    }
}
