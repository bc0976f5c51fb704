//! Plays what a seed says, from the first process to the end of the last event, and lets it be judged.

use crate::{
    broker::{Broker, Rules},
    chance::Chance,
    history::{Entry, tell},
    judge::{self, Fault, Figures, Left},
    process::{Process, prefetch},
    script::{Blow, FAULTS, Script},
    sink::FarSide,
    world::{Mutation, World},
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

/// Once nothing goes wrong any more, every event is at its end after so long, beside the waits of the ladder: a probe of a
/// circuit, a halt's own, the lists of lots, and what is taken one after another.
const ENDED_WITHIN: Duration = Duration::from_secs(300);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// A run without fault.
pub struct Report {
    pub entries: Vec<Entry>,
    pub figures: Figures,
}

/// A run with one.
pub struct Failure {
    pub seed: u64,
    pub fault: Fault,
    told: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}: {:?}: {}", self.seed, self.fault.kind, self.fault.what)?;
        f.write_str(&self.told)
    }
}

/// Plays a seed. All of it is in simulated time.
pub fn run(seed: u64, mutation: Mutation) -> Result<Report, Box<Failure>> {
    run_script(Script::new(seed), mutation)
}

/// Plays a script.
pub fn run_script(script: Script, mutation: Mutation) -> Result<Report, Box<Failure>> {
    let seed = script.seed;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let (world, played) = runtime.block_on(async {
        let world = World::new(script, mutation);
        let played = Play::new(&world).play().await;
        (world, played)
    });
    drop(runtime);
    let entries = world.history.entries();
    match played.and_then(|left| judge::judge(&world, &entries, left)) {
        Ok(figures) => Ok(Report { entries, figures }),
        Err(fault) => {
            let told = explain(&world.script, &entries, fault.event);
            Err(Box::new(Failure { seed, fault, told }))
        }
    }
}

/// What a fault is to be understood by: what the seed makes happen, and what happened to one event.
fn explain(script: &Script, entries: &[Entry], event: Option<usize>) -> String {
    let Script { setup, weather, bad_copies, blows, destinations, events, .. } = script;
    let mut told = format!("  {setup:?}\n  weather {weather:?}\n  bad copies {bad_copies:?}\n  blows {blows:?}\n");
    for (number, destination) in destinations.iter().enumerate() {
        told += &format!("  destination {number}: {destination:?}\n");
    }
    if let Some(event) = event {
        told += &format!("  event {event}: {:?}\n{}", events[event], tell(entries, event));
    }
    told
}

/// What is to be done next.
enum Act {
    Blow(Blow),
    Start(usize),
}

struct Play {
    world: Arc<World>,
    broker: Broker,
    far: FarSide,
    /// Those that should run; none while one is between two lives.
    processes: Vec<Option<Process>>,
    started: u32,
}

impl Play {
    fn new(world: &Arc<World>) -> Self {
        let setup = &world.script.setup;
        let rules = Rules {
            prefetch: prefetch(setup.prefetch, setup.delays.len()),
            delays: setup.delays.clone(),
            delivery_limit: setup.delivery_limit,
            most_lots: setup.most_lots,
        };
        let broker = Broker::new(rules, Arc::clone(world) as _);
        let processes = (0..setup.processes).map(|_| None).collect();
        Self { world: Arc::clone(world), broker, far: FarSide::new(), processes, started: 0 }
    }

    async fn play(mut self) -> Result<Left, Fault> {
        for slot in 0..self.processes.len() {
            self.start(slot);
        }
        let publishing = tokio::spawn(publish_all(Arc::clone(&self.world), self.broker.clone()));
        self.faults().await?;
        publishing.await.unwrap();
        self.world.until(FAULTS).await;
        self.rest().await;
        for process in self.processes.drain(..).flatten() {
            process.stop().await.map_err(Fault::of_a_stop)?;
        }
        Ok(Left { messages: self.broker.left(), dead: self.broker.take_dead().len() })
    }

    /// Deals the blows of the script. When it is over, every process runs.
    async fn faults(&mut self) -> Result<(), Fault> {
        let blows = self.world.script.blows.clone();
        let mut acts: BTreeMap<(Duration, usize), Act> = BTreeMap::new();
        for (n, (at, blow)) in blows.into_iter().enumerate() {
            acts.insert((at, n), Act::Blow(blow));
        }
        while let Some(((at, n), act)) = acts.pop_first() {
            self.world.until(at).await;
            match act {
                Act::Start(slot) => self.start(slot),
                Act::Blow(blow) => {
                    if let Some((slot, after)) = self.deal(blow).await? {
                        acts.insert((self.world.now() + after, n), Act::Start(slot));
                    }
                }
            }
        }
        Ok(())
    }

    /// Answers which process has ended and when another is to take its place.
    async fn deal(&mut self, blow: Blow) -> Result<Option<(usize, Duration)>, Fault> {
        match blow {
            Blow::Cut(slot) => {
                if let Some(process) = &self.processes[slot] {
                    self.broker.disconnect(process.number());
                }
                Ok(None)
            }
            Blow::Away(length) => {
                self.broker.go_away(self.world.instant(self.world.now() + length));
                Ok(None)
            }
            Blow::Kill(slot, after) => Ok(self.processes[slot].take().map(|process| {
                process.kill();
                (slot, after)
            })),
            Blow::Stop(slot, after) => match self.processes[slot].take() {
                Some(process) => {
                    process.stop().await.map_err(Fault::of_a_stop)?;
                    Ok(Some((slot, after)))
                }
                None => Ok(None),
            },
        }
    }

    fn start(&mut self, slot: usize) {
        self.started += 1;
        self.processes[slot] = Some(Process::start(&self.world, &self.broker, &self.far, self.started));
    }

    /// Until everything is at its end, or should be.
    async fn rest(&self) {
        let ladder: Duration = self.world.script.setup.delays.iter().sum();
        let latest = self.world.now() + ladder + ENDED_WITHIN;
        while self.broker.left() > 0 && self.world.now() < latest {
            self.world.until(self.world.now() + LOOK_EVERY).await;
        }
    }
}

async fn publish_all(world: Arc<World>, broker: Broker) {
    for (number, event) in world.script.events.iter().enumerate() {
        world.until(event.at).await;
        publish(&world, &broker, number);
    }
}

fn publish(world: &World, broker: &Broker, number: usize) {
    let project = world.project(number);
    let filler = "x".repeat(Chance::new(number as u64).below(200));
    let body = format!(
        r#"{{"id":"evt_{number}","project":"{project}","type":"com.gigs.sim","specversion":"1.0","data":{{"text":"{filler}"}}}}"#
    );
    broker.publish(number, &format!("{project}.com.gigs.sim"), body.into());
}
