//! What a few measurements each say enough about: growth with events, projects, payload, retries and replicas; start,
//! size and latency.

use crate::drain::{AFTERMATH, Drain, END_WITHIN, Figures};
use crate::event::Shape;
use crate::lanes;
use crate::plan::HOOKBRO;
use crate::procs::{Contender, cpu};
use crate::report::{Spread, mib};
use crate::standin::{Progress, StandIn};
use crate::{Bench, Error};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Repetitions of what is compared with itself at another size.
const TIMES: usize = 3;
/// With this prefetch and delay Little's law, not the CPU of a small machine, decides what a replica drains.
const REPLICA_PREFETCH: u16 = 64;
const REPLICA_DELAY: Duration = Duration::from_millis(50);
/// Per replica: some four seconds.
const REPLICA_EVENTS: u64 = 5_000;
const IDLE: Duration = Duration::from_secs(5);

impl Bench {
    /// `drained`: events/s of the plain drain, for latency at a quarter of it.
    pub(crate) async fn singles(&self, million: bool, drained: f64) -> Result<BTreeMap<String, Value>, Error> {
        let mut single = BTreeMap::new();
        let mut sizes = vec![("10 k", 10_000), ("100 k", 100_000)];
        if million {
            sizes.push(("1 M", 1_000_000));
        }
        for (label, events) in sizes {
            // A million takes a minute, and says the same each time.
            let times = if events > 100_000 { 1 } else { TIMES };
            let figures = self.drained(times, events, Shape::default()).await?;
            let (cpu, rss) = (median(&figures, |f| f.cpu_us), median(&figures, |f| mib(f.rss_kib)));
            single.insert(format!("memory: MiB after draining {label}"), json!(rss));
            single.insert(format!("growth: CPU µs/event, draining {label}"), json!(cpu));
        }
        for projects in [1, 100, 10_000] {
            let figures = self.drained(TIMES, 30_000, Shape { projects, ..Shape::default() }).await?;
            single.insert(format!("growth: CPU µs/event, projects: {projects}"), json!(median(&figures, |f| f.cpu_us)));
        }
        for delay in [0, 50] {
            let shape = Shape { bytes: 256 * 1024, ..Shape::default() };
            let large = Drain { who: HOOKBRO, delay: Duration::from_millis(delay), events: 1_000, shape };
            let peak = mib(self.drain(large).await?.peak_rss_kib);
            single.insert(format!("memory: peak MiB, events of 256 KiB, answers in {delay} ms"), json!(peak));
        }
        single.insert("retry: an event that fails once, against straight".into(), self.retries().await?);
        for replicas in 1..=3 {
            let rate = self.replicas(replicas).await?;
            single.insert(format!("replicas: events/s, prefetch 64, answers in 50 ms, {replicas}"), json!(rate));
        }
        let before = cpu(self.node.pid)?;
        tokio::time::sleep(IDLE).await;
        let idle = (cpu(self.node.pid)? - before).as_secs_f64() * 1e3 / IDLE.as_secs_f64();
        single.insert("broker: CPU ms/s when idle".into(), json!(idle));
        let starts = self.drained(5, 1, Shape::default()).await?;
        single.insert("start: ms to the first request".into(), json!(median(&starts, |f| f.start_ms)));
        single.insert("size: MiB of the binary".into(), json!(mib(std::fs::metadata(&self.hookbro)?.len() / 1024)));
        single.insert("latency: at 500 events/s".into(), json!(self.latency(500, 20).await?));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive rate")]
        let quarter = (drained as u64 / 4).max(1);
        single.insert("latency: at a quarter of the drain rate".into(), json!(self.latency(quarter, 10).await?));
        // Last: the lane stays on the broker.
        single.insert("lanes: others beside a flood of 200,000".into(), json!(self.fairness(lanes::FLOOD).await?));
        Ok(single)
    }

    async fn drained(&self, times: usize, events: u64, shape: Shape) -> Result<Vec<Figures>, Error> {
        let mut figures = Vec::with_capacity(times);
        for _ in 0..times {
            figures.push(self.drain(Drain { who: HOOKBRO, delay: Duration::ZERO, events, shape }).await?);
        }
        Ok(figures)
    }

    /// What so many processes on one queue drain together, in events/s.
    async fn replicas(&self, count: u64) -> Result<f64, Error> {
        let events = REPLICA_EVENTS * count;
        self.publisher.fill(Shape::default(), events).await?;
        let standin = StandIn::start(REPLICA_DELAY, events, false).await?;
        let mut replicas = Vec::new();
        for _ in 0..count {
            replicas.push(Contender::start("hookbro", self.hookbro(&standin.url(), REPLICA_PREFETCH)?)?);
        }
        for replica in &mut replicas {
            replica.until(END_WITHIN, standin.counts.until(Progress::Done), "last request").await?;
        }
        tokio::time::sleep(AFTERMATH).await;
        for replica in replicas {
            replica.stop().await?;
        }
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
        Ok(events as f64 / standin.counts.elapsed().as_secs_f64())
    }
}

fn median(figures: &[Figures], figure: impl Fn(&Figures) -> f64) -> f64 {
    Spread::of(figures.iter().map(figure)).median
}
