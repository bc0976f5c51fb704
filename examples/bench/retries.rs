//! What an event costs that fails once, waits on the broker and comes back, against one that goes straight. Every second
//! event is refused once; what is above the straight half is the price of the other.

use crate::drain::{AFTERMATH, Drain, END_WITHIN};
use crate::event::Shape;
use crate::plan::HOOKBRO;
use crate::procs::{Contender, cpu};
use crate::report::Spread;
use crate::standin::{Progress, StandIn};
use crate::{Bench, Error};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::process::Command;

/// The queue whose ladder has one short rung.
const QUEUE: &str = "bench.retried";
const DELAYS: &str = "1s";
const EVENTS: u64 = 20_000;
const TIMES: usize = 5;

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

impl Bench {
    /// Fills the queue with `events`, and answers who will take them.
    pub(crate) async fn fill_way(&self, way: Way, events: u64) -> Result<StandIn, Error> {
        match way {
            Way::Straight => {
                self.publisher.fill(Shape::default(), events).await?;
                StandIn::start(Duration::ZERO, events, false).await
            }
            Way::HalfRetried => {
                self.declare_retried().await?;
                self.publisher.fill_queue(QUEUE, Shape::default(), events).await?;
                StandIn::refusing(events).await
            }
        }
    }

    /// CPU in µs, of the process and of the broker, for an event on either path.
    pub(crate) async fn retries(&self) -> Result<Value, Error> {
        let (mut ratios, mut broker_ratios) = (Vec::new(), Vec::new());
        let (mut straight_us, mut retried_us) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let drain = Drain { who: HOOKBRO, delay: Duration::ZERO, events: EVENTS, shape: Shape::default() };
            let straight = self.drain(drain).await?;
            let (mixed, broker) = self.half_retried().await?;
            let retried = of_retried(straight.cpu_us, mixed);
            ratios.push(retried / straight.cpu_us);
            broker_ratios.push(of_retried(straight.broker_cpu_us, broker) / straight.broker_cpu_us);
            straight_us.push(straight.cpu_us);
            retried_us.push(retried);
        }
        let spread = |figures: Vec<f64>| Spread::of(figures).to_string();
        Ok(json!({
            "cpu": spread(ratios),
            "broker_cpu": spread(broker_ratios),
            "straight_us": spread(straight_us),
            "retried_us": spread(retried_us),
        }))
    }

    async fn half_retried(&self) -> Result<(f64, f64), Error> {
        let way = Way::HalfRetried;
        let standin = self.fill_way(way, EVENTS).await?;
        let mut command = self.hookbro(&standin.url(), 256)?;
        way.configure(&mut command);
        let mut contender = Contender::start("hookbro", command)?;
        contender.until(END_WITHIN, standin.counts.until(Progress::Begun), "first request").await?;
        let before = (cpu(contender.pid)?, cpu(self.node.pid)?);
        contender.until(END_WITHIN, standin.counts.until(Progress::Done), "last request").await?;
        tokio::time::sleep(AFTERMATH).await;
        let after = (cpu(contender.pid)?, cpu(self.node.pid)?);
        contender.stop().await?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
        let per_event = |before: Duration, after: Duration| (after - before).as_secs_f64() * 1e6 / EVENTS as f64;
        Ok((per_event(before.0, after.0), per_event(before.1, after.1)))
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
