//! What a seed makes happen: how hookbro is set up, what is published, and what goes wrong, when and for how long. Data only.

use crate::chance::Chance;
use std::time::Duration;

/// For so long things go wrong.
pub const FAULTS: Duration = Duration::from_secs(3_600);
/// A call that hangs ends after this, as by `svix.timeout`.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// As `shutdown.grace`.
pub const GRACE: Duration = Duration::from_secs(20);

/// All that one seed makes happen.
#[derive(Debug, Clone)]
pub struct Script {
    pub seed: u64,
    pub setup: Setup,
    pub destinations: Vec<Destination>,
    /// By the time of their publication.
    pub events: Vec<Event>,
    /// Of the sink as a whole.
    pub weather: Vec<Spell<Weather>>,
    /// Copies go wrong.
    pub bad_copies: Vec<Spell<()>>,
    /// By time.
    pub blows: Vec<(Duration, Blow)>,
}

#[derive(Debug, Clone)]
pub struct Setup {
    pub processes: usize,
    pub prefetch: usize,
    pub delays: Vec<Duration>,
    pub delivery_limit: u32,
    pub most_lots: usize,
    pub rate_limit: u32,
}

#[derive(Debug, Clone)]
pub struct Destination {
    /// Of an answer.
    pub latency: (u64, u64),
    /// What is not covered is well.
    pub spells: Vec<Spell<Mood>>,
}

/// From and until when something holds.
#[derive(Debug, Clone, Copy)]
pub struct Spell<T> {
    pub from: Duration,
    pub until: Duration,
    pub what: T,
}

/// How a destination behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Fails,
    /// It answers nothing; of so many calls one is taken all the same.
    Hangs,
    /// It fails, and asks for quiet of so many seconds.
    Throttles(u64),
    Refuses,
    /// It is missing, and may not be created before so many seconds.
    Unknown(u64),
    /// One of so many calls fails.
    Flaky(usize),
    /// Answers take so many seconds.
    Slow(u64),
}

/// How the sink behaves as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Unreachable,
    Auth,
    NotTheSink,
    /// 429, with so many seconds to wait.
    TooMany(u64),
}

#[derive(Debug, Clone)]
pub struct Event {
    pub at: Duration,
    pub destination: usize,
    pub flaw: Option<Flaw>,
}

/// What is wrong with an event itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    /// Until somebody mends it, when all other faults end too.
    AlwaysFails,
    Refused,
    /// The first call for it is taken, and its answer lost.
    AnswerLost,
    /// It is stored, and nobody can say more before so many calls.
    Pending(usize),
}

/// What befalls the broker or a process.
#[derive(Debug, Clone, Copy)]
pub enum Blow {
    /// The connections of a process end.
    Cut(usize),
    /// All connections end, and nobody connects for so long.
    Away(Duration),
    /// `kill -9`; another process starts so much later.
    Kill(usize, Duration),
    /// SIGTERM; another process starts so long after its end.
    Stop(usize, Duration),
}

impl Script {
    pub fn new(seed: u64) -> Self {
        let all = Chance::new(seed);
        let mut chance = all.of("setup");
        let setup = Setup {
            processes: if chance.one_in(3) { 2 } else { 1 },
            prefetch: chance.between(8, 24),
            delays: chance
                .pick(&[&[5, 30, 120][..], &[2, 10, 60, 300], &[5, 30], &[1, 5, 20, 60, 240]])
                .iter()
                .map(|seconds| Duration::from_secs(*seconds))
                .collect(),
            delivery_limit: chance.pick(&[2, 5, 100]),
            most_lots: chance.pick(&[1, 1_000, 1_000, 1_000]),
            rate_limit: chance.pick(&[0, 0, 0, 50]),
        };
        let count = chance.between(2, 6);
        let destinations: Vec<_> =
            (0..count).map(|n| destination(&mut all.of(&format!("destination {n}")), n)).collect();
        Self {
            seed,
            events: events(&mut all.of("events"), count),
            weather: weather(&mut all.of("weather")),
            bad_copies: bad_copies(&mut all.of("copies")),
            blows: blows(&mut all.of("blows"), setup.processes),
            setup,
            destinations,
        }
    }

    /// The spell of a destination at a time.
    pub fn mood(&self, destination: usize, at: Duration) -> Option<Mood> {
        during(&self.destinations[destination].spells, at)
    }

    pub fn weather(&self, at: Duration) -> Option<Weather> {
        during(&self.weather, at)
    }

    pub fn copies_go_wrong(&self, at: Duration) -> bool {
        during(&self.bad_copies, at).is_some()
    }
}

fn during<T: Copy>(spells: &[Spell<T>], at: Duration) -> Option<T> {
    spells.iter().find(|spell| spell.from <= at && at < spell.until).map(|spell| spell.what)
}

fn destination(chance: &mut Chance, number: usize) -> Destination {
    // No answer is faster than 10 ms: below that the limit of calls would depend on the cores of the machine.
    let least = chance.millis(10, 60).as_millis() as u64;
    let latency = (least, least + chance.millis(1, 200).as_millis() as u64);
    let mut spells = Vec::new();
    // The first one is well, so that there is always somebody whom the others may not harm.
    if number > 0 {
        let mut at = chance.seconds(0, 900);
        while at < FAULTS {
            let length = if chance.one_in(3) { chance.seconds(300, 1_500) } else { chance.seconds(5, 300) };
            let until = (at + length).min(FAULTS);
            spells.push(Spell { from: at, until, what: mood(chance) });
            at = until + chance.seconds(10, 1_200);
        }
    }
    Destination { latency, spells }
}

fn mood(chance: &mut Chance) -> Mood {
    match chance.below(9) {
        0..=2 => Mood::Fails,
        3 | 4 => Mood::Hangs,
        5 => Mood::Throttles(chance.between(1, 60) as u64),
        6 => chance.pick(&[Mood::Refuses, Mood::Unknown(30)]),
        7 => Mood::Flaky(chance.between(2, 5)),
        _ => Mood::Slow(chance.between(1, 8) as u64),
    }
}

fn events(chance: &mut Chance, destinations: usize) -> Vec<Event> {
    let mut events = Vec::new();
    for destination in 0..destinations {
        for _ in 0..chance.between(10, 50) {
            events.push((chance.seconds(0, FAULTS.as_secs()), destination));
        }
        for _ in 0..chance.below(3) {
            let at = chance.seconds(0, FAULTS.as_secs());
            for _ in 0..chance.between(10, 40) {
                events.push((at + chance.millis(0, 500), destination));
            }
        }
    }
    events.sort_unstable();
    events.into_iter().map(|(at, destination)| Event { at, destination, flaw: flaw(chance) }).collect()
}

fn flaw(chance: &mut Chance) -> Option<Flaw> {
    if !chance.one_in(16) {
        return None;
    }
    Some(match chance.below(4) {
        0 => Flaw::AlwaysFails,
        1 => Flaw::Refused,
        2 => Flaw::AnswerLost,
        _ => Flaw::Pending(chance.between(1, 2)),
    })
}

fn weather(chance: &mut Chance) -> Vec<Spell<Weather>> {
    let mut spells = Vec::new();
    let mut at = chance.seconds(60, 3_600);
    while at < FAULTS {
        let until = (at + chance.seconds(1, 240)).min(FAULTS);
        let wait = chance.between(1, 20) as u64;
        let what = chance.pick(&[Weather::Unreachable, Weather::Auth, Weather::NotTheSink, Weather::TooMany(wait)]);
        spells.push(Spell { from: at, until, what });
        at = until + chance.seconds(300, 3_600);
    }
    spells
}

fn bad_copies(chance: &mut Chance) -> Vec<Spell<()>> {
    let mut spells = Vec::new();
    for _ in 0..chance.below(3) {
        let from = chance.seconds(0, FAULTS.as_secs());
        spells.push(Spell { from, until: (from + chance.seconds(5, 200)).min(FAULTS), what: () });
    }
    spells
}

fn blows(chance: &mut Chance, processes: usize) -> Vec<(Duration, Blow)> {
    let mut blows = Vec::new();
    for _ in 0..chance.below(9) {
        let at = chance.seconds(1, FAULTS.as_secs());
        let process = chance.below(processes);
        let blow = match chance.below(8) {
            0..=2 => Blow::Cut(process),
            3 => Blow::Away(chance.seconds(1, 60)),
            4..=6 => Blow::Kill(process, chance.seconds(0, 20)),
            _ => Blow::Stop(process, chance.seconds(0, 20)),
        };
        blows.push((at, blow));
    }
    blows.sort_by_key(|(at, _)| *at);
    blows
}
