//! What an event costs that fails once, waits on the broker and comes back, against one that goes straight. Every second
//! event is refused once; what is above the straight half is the price of the other. The broker brings retries back a few
//! thousand a second, at which any event costs more than in a full drain: so the price is taken against a straight event at
//! the rate of the returns, too.

use crate::drain::{AFTERMATH, Drain, END_WITHIN};
use crate::event::Shape;
use crate::plan::HOOKBRO;
use crate::procs::{Contender, cpu};
use crate::report::Spread;
use crate::standin::{Progress, StandIn};
use crate::{Bench, Error};
use serde_json::{Value, json};
use std::sync::{Arc, atomic::AtomicU64};
use std::time::{Duration, Instant};
use tokio::process::Command;

/// The queue whose ladder has one short rung.
const QUEUE: &str = "bench.retried";
const DELAYS: &str = "1s";
const EVENTS: u64 = 20_000;
const TIMES: usize = 5;
/// Events of a straight run on a clock: some seconds at the rate of returns.
const CLOCKED: u64 = 15_000;

/// Which way the events of a run go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Straight,
    /// Every second event is refused once.
    HalfRetried,
}

impl Way {
    pub(crate) fn configure(self, command: &mut Command) {
        if self == Self::HalfRetried {
            command.env("HOOKBRO__BROKER__QUEUE", QUEUE).env("HOOKBRO__RETRY__DELAYS", DELAYS);
        }
    }
}

/// Of an event that was retried, from that of both halves together.
pub(crate) fn of_retried(straight: f64, mixed: f64) -> f64 {
    2.0 * mixed - straight
}

/// What the mixture of both ways costs an event, in µs of the process and of the broker.
struct Mixed {
    cpu_us: f64,
    broker_cpu_us: f64,
    returns_per_s: f64,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
fn per_event(before: Duration, after: Duration, events: u64) -> f64 {
    (after - before).as_secs_f64() * 1e6 / events as f64
}

impl Bench {
    /// Fills the queue with `events`, and answers who will take them.
    pub(crate) async fn fill_way(&self, way: Way, shape: Shape, events: u64) -> Result<StandIn, Error> {
        match way {
            Way::Straight => {
                self.publisher.fill(shape, events).await?;
                StandIn::start(Duration::ZERO, events, false).await
            }
            Way::HalfRetried => {
                self.declare_retried().await?;
                self.publisher.fill_queue(QUEUE, shape, events).await?;
                StandIn::refusing(events).await
            }
        }
    }

    /// CPU in µs, of the process and of the broker, for an event on either path.
    pub(crate) async fn retries(&self) -> Result<Value, Error> {
        let (mut ratios, mut same_rate_ratios, mut broker_ratios) = (Vec::new(), Vec::new(), Vec::new());
        let (mut straight_us, mut same_rate_us, mut retried_us, mut rates) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let drain = Drain { who: HOOKBRO, delay: Duration::ZERO, events: EVENTS, shape: Shape::default() };
            let straight = self.drain(drain).await?;
            let mixed = self.half_retried().await?;
            let same_rate = self.straight_on_a_clock(mixed.returns_per_s).await?;
            let retried = of_retried(straight.cpu_us, mixed.cpu_us);
            ratios.push(retried / straight.cpu_us);
            same_rate_ratios.push(retried / same_rate);
            broker_ratios.push(of_retried(straight.broker_cpu_us, mixed.broker_cpu_us) / straight.broker_cpu_us);
            same_rate_us.push(same_rate);
            rates.push(mixed.returns_per_s);
            straight_us.push(straight.cpu_us);
            retried_us.push(retried);
        }
        let spread = |figures: Vec<f64>| Spread::of(figures).to_string();
        Ok(json!({
            "cpu": spread(ratios),
            "cpu_at_the_same_rate": spread(same_rate_ratios),
            "broker_cpu": spread(broker_ratios),
            "returns_per_s": spread(rates),
            "straight_us_at_the_same_rate": spread(same_rate_us),
            "straight_us": spread(straight_us),
            "retried_us": spread(retried_us),
        }))
    }

    async fn half_retried(&self) -> Result<Mixed, Error> {
        let way = Way::HalfRetried;
        let standin = self.fill_way(way, Shape::default(), EVENTS).await?;
        let mut command = self.hookbro(&standin.url(), 256)?;
        way.configure(&mut command);
        let mut contender = Contender::start("hookbro", command)?;
        contender.until(END_WITHIN, standin.counts.until(Progress::Begun), "first request").await?;
        let before = (cpu(contender.pid)?, cpu(self.node.pid)?);
        let all_came_once = async {
            while standin.counts.requests() < EVENTS {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        contender.until(END_WITHIN, all_came_once, "request of the last first attempt").await?;
        let returning = Instant::now();
        contender.until(END_WITHIN, standin.counts.until(Progress::Done), "last request").await?;
        let seconds = returning.elapsed().as_secs_f64();
        tokio::time::sleep(AFTERMATH).await;
        let after = (cpu(contender.pid)?, cpu(self.node.pid)?);
        contender.stop().await?;
        Ok(Mixed {
            cpu_us: per_event(before.0, after.0, EVENTS),
            broker_cpu_us: per_event(before.1, after.1, EVENTS),
            // Every second event comes again; those that came before the last first attempt are the few of its first second.
            returns_per_s: (EVENTS / 2) as f64 / seconds,
        })
    }

    /// CPU in µs of a straight event while they come at `rate` a second.
    async fn straight_on_a_clock(&self, rate: f64) -> Result<f64, Error> {
        let standin = StandIn::start(Duration::ZERO, CLOCKED, false).await?;
        let mut contender = Contender::start("hookbro", self.hookbro(&standin.url(), 256)?)?;
        // Consuming begins within a fraction of a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = cpu(contender.pid)?;
        let confirmed: Arc<[AtomicU64]> = (0..CLOCKED).map(|_| AtomicU64::new(0)).collect();
        let publishing = async {
            self.publish_on_a_clock(rate as u64, &confirmed, &standin.counts).await?;
            standin.counts.until(Progress::Done).await;
            Ok::<_, Error>(())
        };
        contender.until(END_WITHIN, publishing, "last request").await??;
        tokio::time::sleep(AFTERMATH).await;
        let after = cpu(contender.pid)?;
        contender.stop().await?;
        Ok(per_event(before, after, CLOCKED))
    }

    async fn declare_retried(&self) -> Result<(), Error> {
        let mut declare = Command::new(&self.hookbro);
        declare.args(["topology", "declare"]).stdout(std::process::Stdio::null());
        self.configure(&mut declare, "http://127.0.0.1:1", 256)?;
        Way::HalfRetried.configure(&mut declare);
        let declared = declare.status().await?.success();
        if declared { Ok(()) } else { Err("hookbro topology declare failed".into()) }
    }
}
