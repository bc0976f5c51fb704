//! A sink that behaves as its script says, destination by destination.

use crate::{
    history::Happened,
    script::{FAULTS, Flaw, Mood, TIMEOUT, Weather},
    world::{SinkDefect, World},
};
use hookbro::{
    event::{Cause, DeadReason, Dispatch, Event, HaltReason, ParkReason, ProjectId},
    pipeline::sink::{Outcome, Probed, Repeat, Sink, Stored, Terms},
    process::secret::{Generation, Secret},
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What the sink knows, whoever calls. Clones share it.
#[derive(Clone)]
pub struct FarSide(Arc<Mutex<HashMap<usize, Known>>>);

/// One event there.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    calls: usize,
    stored: bool,
}

/// One process' end of it.
pub struct SimSink {
    world: Arc<World>,
    far: FarSide,
    process: u32,
    credentials: Secret,
}

impl FarSide {
    pub fn new() -> Self {
        Self(Arc::default())
    }
}

impl SimSink {
    pub fn new(world: &Arc<World>, far: &FarSide, process: u32) -> Self {
        Self { world: Arc::clone(world), far: far.clone(), process, credentials: Secret::fixed("") }
    }

    /// What arrives at the far side now comes to.
    fn answer(&self, event: usize, mood: Option<Mood>) -> Outcome {
        let flaw = self.world.event(event).flaw;
        let mut far = self.far.0.lock().unwrap();
        let known = far.entry(event).or_default();
        known.calls += 1;
        let one_of = |n| self.world.calls.lock().unwrap().one_in(n);
        match mood {
            Some(Mood::Fails) => return failed(500),
            Some(Mood::Hangs) => {
                if one_of(3) {
                    self.store(event, known);
                }
                return Outcome::Failed { cause: cause(None, "no answer in time"), wait: None };
            }
            Some(Mood::Throttles(seconds)) => {
                let wait = Some(Duration::from_secs(seconds));
                return Outcome::Failed { cause: cause(Some(503), "not now"), wait };
            }
            Some(Mood::Refuses) => return refused(),
            Some(Mood::Unknown(seconds)) => {
                let (reason, wait) = (ParkReason::Provisioning, Duration::from_secs(seconds));
                return Outcome::NotNow { reason, cause: cause(Some(404), "no such application"), wait };
            }
            Some(Mood::Flaky(n)) if one_of(n) => return failed(502),
            Some(Mood::Flaky(_) | Mood::Slow(_)) | None => {}
        }
        match flaw {
            Some(Flaw::AlwaysFails) if self.world.now() < FAULTS => failed(500),
            Some(Flaw::Refused) => refused(),
            Some(Flaw::Pending(calls)) if known.calls <= calls => Outcome::Pending(cause(Some(409), "stored just now")),
            Some(Flaw::AnswerLost) if !known.stored => {
                self.store(event, known);
                Outcome::Failed { cause: cause(None, "connection reset"), wait: None }
            }
            _ if known.stored => {
                Outcome::Repeated(Repeat { status: Some(409), message: None, dispatch: Dispatch::Called })
            }
            _ => {
                self.store(event, known);
                Outcome::Accepted(Stored { status: Some(202), message: None })
            }
        }
    }

    fn store(&self, event: usize, known: &mut Known) {
        if !std::mem::replace(&mut known.stored, true) {
            self.world.saw(Happened::Stored { event });
        }
    }

    /// What the pipeline is given, with what is to be broken broken.
    fn mutated(&self, outcome: Outcome) -> Outcome {
        match (self.world.mutation.of_sink, outcome) {
            (Some(SinkDefect::FailuresHalt), Outcome::Failed { cause, wait }) => {
                Outcome::Halt { reason: HaltReason::Unreachable, cause, wait }
            }
            (Some(SinkDefect::AnyAnswerIsProof), Outcome::Failed { cause, .. }) if cause.status.is_some() => {
                Outcome::Accepted(Stored::default())
            }
            (Some(SinkDefect::FailuresAreRefusals), Outcome::Failed { cause, .. }) => {
                Outcome::Dead { reason: DeadReason::Refused, cause }
            }
            (_, outcome) => outcome,
        }
    }
}

fn cause(status: Option<u16>, detail: &str) -> Cause {
    Cause { status, detail: detail.to_owned() }
}

fn failed(status: u16) -> Outcome {
    Outcome::Failed { cause: cause(Some(status), "failed"), wait: None }
}

fn refused() -> Outcome {
    Outcome::Dead { reason: DeadReason::Refused, cause: cause(Some(422), "refused") }
}

fn halt(weather: Weather) -> Outcome {
    let (reason, wait) = match weather {
        Weather::Unreachable => (HaltReason::Unreachable, None),
        Weather::Auth => (HaltReason::Auth, None),
        Weather::NotTheSink => (HaltReason::NotSvix, None),
        Weather::TooMany(seconds) => (HaltReason::RateLimited, Some(Duration::from_secs(seconds))),
    };
    Outcome::Halt { reason, cause: cause(None, "the sink as a whole"), wait }
}

fn name(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Accepted(_) => "accepted",
        Outcome::Repeated(_) => "repeated",
        Outcome::Pending(_) => "pending",
        Outcome::Dead { .. } => "refused",
        Outcome::Failed { .. } => "failed",
        Outcome::NotNow { .. } => "not now",
        Outcome::Halt { .. } => "halt",
    }
}

/// The number of an event that the run has published.
pub fn number(event: &Event) -> usize {
    event.id.as_str().trim_start_matches("evt_").parse().expect("an event of this run")
}

impl Sink for SimSink {
    type Destination = ProjectId;

    fn destination(&self, event: &Event) -> ProjectId {
        event.project.clone()
    }

    async fn deliver(&self, event: &Event, _: &ProjectId, terms: Terms<'_>) -> Option<Outcome> {
        let (world, event, process) = (&self.world, number(event), self.process);
        let destination = world.event(event).destination;
        let (least, most) = world.script.destinations[destination].latency;
        let latency = || world.calls.lock().unwrap().millis(least, most);
        world.saw(Happened::Tried { event, process });
        // Some need two calls, and a halt may begin between them.
        if world.calls.lock().unwrap().one_in(12) {
            tokio::time::sleep(latency()).await;
            if !(terms.goes_on)() {
                world.saw(Happened::Answered { event, process, answer: "not asked" });
                return None;
            }
        }
        tokio::time::sleep(latency() / 2).await;
        let now = world.now();
        let mood = world.script.mood(destination, now);
        let outcome = match world.script.weather(now) {
            Some(weather) => halt(weather),
            None => self.answer(event, mood),
        };
        let rest = match (&outcome, mood) {
            (Outcome::Halt { .. }, _) => latency() / 2,
            (_, Some(Mood::Hangs)) => TIMEOUT,
            (_, Some(Mood::Slow(seconds))) => Duration::from_secs(seconds),
            _ => latency() / 2,
        };
        tokio::time::sleep(rest).await;
        world.saw(Happened::Answered { event, process, answer: name(&outcome) });
        Some(self.mutated(outcome))
    }

    async fn probe(&self) -> Result<Probed, Outcome> {
        let wait = self.world.calls.lock().unwrap().millis(10, 100);
        tokio::time::sleep(wait).await;
        match self.world.script.weather(self.world.now()) {
            Some(weather) => Err(halt(weather)),
            None if self.world.calls.lock().unwrap().one_in(10) => Ok(Probed::Unclear),
            None => Ok(Probed::Well),
        }
    }

    fn generation(&self) -> Generation {
        self.credentials.generation()
    }

    async fn credentials_changed(&self, seen: Generation) {
        self.credentials.changed_since(seen).await;
    }
}
