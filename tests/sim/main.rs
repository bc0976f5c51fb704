//! The pipeline of hookbro on a simulated broker, sink and clock: an hour of faults in a fraction of a second, all of it by a
//! seed. CONTRIBUTING.md says how to repeat one.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

mod broker;
mod chance;
mod history;
mod judge;
mod mutations;
mod poison;
mod process;
mod run;
mod script;
mod sink;
mod world;

use judge::Figures;
use run::{Failure, run};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use world::Mutation;

/// How many seeds, unless `HOOKBRO_SIM_SEEDS` says it, and the first, unless `HOOKBRO_SIM_SEED` does.
const SEEDS: u64 = 200;
const FIRST: u64 = 1;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().expect("a whole number"))
}

#[test]
fn every_seed_keeps_every_promise() {
    let (first, seeds) = (setting("HOOKBRO_SIM_SEED", FIRST), setting("HOOKBRO_SIM_SEEDS", SEEDS));
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let results: Mutex<(Figures, Vec<Box<Failure>>)> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let ran = run(seed, Mutation::default());
                    let mut results = results.lock().unwrap();
                    match ran {
                        Ok(report) => results.0 = results.0.and(report.figures),
                        Err(failure) => results.1.push(failure),
                    }
                }
            });
        }
    });
    let (figures, mut failures) = results.into_inner().unwrap();
    let took = began.elapsed().as_secs_f64();
    println!("{seeds} seeds from {first} in {took:.1} s, {:.1} seeds/s: {figures:?}", seeds as f64 / took);
    failures.sort_by_key(|failure| failure.seed);
    if let Some(failure) = failures.first() {
        let seeds: Vec<_> = failures.iter().map(|failure| (failure.seed, failure.fault.kind)).collect();
        panic!(
            "{} of {seeds:?} fail; the first:\n{failure}\nRepeat it: make sim SEED={}",
            failures.len(),
            failure.seed
        );
    }
}

#[test]
fn a_seed_is_one_run_and_another_seed_another() {
    let print = |seed| {
        let ran = std::thread::spawn(move || run(seed, Mutation::default()));
        history::fingerprint(&ran.join().unwrap().unwrap_or_else(|failure| panic!("{failure}")).entries)
    };
    let prints: Vec<_> = (1..=6).map(print).collect();
    assert_eq!(prints, (1..=6).map(print).collect::<Vec<_>>());
    assert_ne!(prints[0], prints[1]);
}
