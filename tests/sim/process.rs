//! One life of hookbro's pipeline, from its start to its end by whatever means.

use crate::{
    broker::{Broker, Link},
    history::Happened,
    script::GRACE,
    sink::{FarSide, SimSink},
    world::World,
};
use hookbro::{
    event::ProjectId,
    observe::{health::Health, metrics::Metrics},
    pipeline::{
        self, Ends, Records, Settings,
        backoff::Jitter,
        journal::Recorder,
        pauses::{Board, Pause, PauseStore, Paused, Pauses, PausesAway},
    },
    process::stop::Stop,
};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

const WORK_QUEUE: &str = "work";
/// How often the depth of the work queue is asked for.
const DEPTH_EVERY: Duration = Duration::from_secs(5);
/// Longer than any simulation: it goes by the machine's clock.
const MAX_PARKED: Duration = Duration::from_secs(14 * 86_400);

/// Nobody pauses a project.
struct NoPauses;

impl PauseStore for NoPauses {
    async fn all(&self) -> Result<Paused, PausesAway> {
        Ok(Paused::new())
    }

    async fn pause(&self, _: &ProjectId, _: &Pause) -> Result<Paused, PausesAway> {
        self.all().await
    }

    async fn resume(&self, _: &ProjectId) -> Result<Paused, PausesAway> {
        self.all().await
    }
}

/// A process that runs.
pub struct Process {
    number: u32,
    world: Arc<World>,
    broker: Broker,
    metrics: Arc<Metrics>,
    stop: Stop,
    running: JoinHandle<()>,
    _depth: AbortOnDropHandle<()>,
}

impl Process {
    pub fn start(world: &Arc<World>, broker: &Broker, far: &FarSide, number: u32) -> Self {
        world.saw(Happened::Started { process: number });
        let setup = &world.script.setup;
        let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()));
        let stop = Stop::default();
        let prefetch = prefetch(setup.prefetch, setup.delays.len());
        let settings = Settings {
            projects: Vec::new(),
            max_payload_bytes: 100_000,
            rate_limit: setup.rate_limit,
            grace: GRACE,
            max_in_flight: prefetch.iter().sum(),
            fresh_from: vec![WORK_QUEUE.to_owned()],
            max_from_lots: setup.prefetch,
            lanes: 1,
            max_parked: MAX_PARKED,
            jitter: Jitter::seeded(world.script.seed).of(number),
        };
        let link = Link::new(broker, number, Arc::clone(&metrics), stop.cut.clone());
        let ends = Ends { parking: link.clone(), source: link, sink: SimSink::new(world, far, number) };
        let pauses = Arc::new(Pauses::new(NoPauses, Arc::new(Board::new(Arc::clone(&metrics)))));
        let records = Records { recorder: Recorder::off(), pauses };
        let run = pipeline::run(settings, ends, Arc::clone(&metrics), Arc::clone(&health), records, stop.clone());
        let running = tokio::spawn(async move { run.await.unwrap_or_else(|never| match never {}) });
        let depth = AbortOnDropHandle::new(tokio::spawn(watch_depth(broker.clone(), health)));
        let (world, broker) = (Arc::clone(world), broker.clone());
        Self { number, world, broker, metrics, stop, running, _depth: depth }
    }

    pub fn number(&self) -> u32 {
        self.number
    }

    /// As by `kill -9`: its connections end, and nothing that it does afterwards reaches anybody.
    pub fn kill(self) {
        self.world.saw(Happened::Killed { process: self.number });
        self.broker.disconnect(self.number);
        self.running.abort();
        self.end_tasks();
    }

    /// As by SIGTERM. Waits for its end; fails if that takes longer than it may, or an event was forgotten.
    pub async fn stop(self) -> Result<(), String> {
        let number = self.number;
        self.world.saw(Happened::Stopping { process: number });
        self.stop.requested.cancel();
        let ended = tokio::time::timeout(GRACE, self.running).await;
        self.world.saw(Happened::Stopped { process: number });
        match ended {
            Err(_) => return Err(format!("process {number} is not at its end {GRACE:?} after SIGTERM")),
            Ok(Err(broken)) => return Err(format!("process {number} broke off: {broken}")),
            Ok(Ok(())) => {}
        }
        // Whatever may still be there of it.
        self.broker.disconnect(number);
        match (self.metrics.unsettled_drops.get(), self.metrics.in_flight.get()) {
            (0, 0) => Ok(()),
            (dropped, left) => Err(format!("process {number} dropped {dropped} events and kept {left}")),
        }
    }

    fn end_tasks(&self) {
        for each in [&self.stop.requested, &self.stop.hurried, &self.stop.cut] {
            each.cancel();
        }
    }
}

/// Of the work queue, then of each retry queue, as the product has it.
pub fn prefetch(of_work: usize, retries: usize) -> Vec<usize> {
    std::iter::once(of_work).chain(std::iter::repeat_n((of_work / 8).max(1), retries)).collect()
}

async fn watch_depth(broker: Broker, health: Arc<Health>) {
    loop {
        health.queues.send_replace(BTreeMap::from([(WORK_QUEUE.to_owned(), broker.ready() as u64)]));
        tokio::time::sleep(DEPTH_EVERY).await;
    }
}
