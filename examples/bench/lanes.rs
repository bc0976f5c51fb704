//! Whether a flood on one lane makes the others wait: how long events of the default lane take alone, and how long while
//! a laned project has a long queue.

use crate::event::Shape;
use crate::procs::Contender;
use crate::standin::{Counts, StandIn};
use crate::{Bench, Error};
use serde::Serialize;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::Instant;

/// Events that lie in the lane when the others come.
pub(crate) const FLOOD: u64 = 200_000;
/// Events of the default lane, and the time from one to the next: all of them within the flood.
const OTHERS: u64 = 500;
const EVERY: Duration = Duration::from_millis(8);
/// How much longer the slowest percent of them may take than alone, in milliseconds.
const ALLOWED_MS: f64 = 50.0;
const LANE_QUEUE: &str = "hookbro.events.lane.bulk";
const LANE_KEY: &str = "acme.com.gigs.subscription.created";
const OTHER_KEY: &str = "other.com.gigs.subscription.created";
const WITHIN: Duration = Duration::from_secs(120);

/// Milliseconds from publish confirmed to the request, of the default lane's events.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Fairness {
    pub(crate) idle_p50_ms: f64,
    pub(crate) idle_p99_ms: f64,
    pub(crate) flooded_p50_ms: f64,
    pub(crate) flooded_p99_ms: f64,
    /// Of the flood, when the last of the others had come: above 0, or the flood was too short to tell.
    pub(crate) flood_left: u64,
}

impl Fairness {
    pub(crate) fn met(&self) -> bool {
        self.flooded_p99_ms <= self.idle_p99_ms + ALLOWED_MS && self.flood_left > 0
    }
}

impl Bench {
    pub(crate) async fn fairness(&self, flood: u64) -> Result<Fairness, Error> {
        let mut declare = Command::new(&self.hookbro);
        declare.args(["topology", "declare"]).stdout(Stdio::null());
        self.configure(&mut declare, "http://127.0.0.1:1", 256)?;
        if !with_lane(&mut declare).status().await?.success() {
            return Err("hookbro topology declare failed for lanes".into());
        }
        let (idle, _) = self.others_beside(0).await?;
        let (flooded, flood_left) = self.others_beside(flood).await?;
        self.publisher.purge_queue(LANE_QUEUE).await?;
        Ok(Fairness {
            idle_p50_ms: percentile(&idle, 0.5),
            idle_p99_ms: percentile(&idle, 0.99),
            flooded_p50_ms: percentile(&flooded, 0.5),
            flooded_p99_ms: percentile(&flooded, 0.99),
            flood_left,
        })
    }

    /// The others' times, sorted, and what is left of a flood of `flood` events then. Even numbers are the others'.
    async fn others_beside(&self, flood: u64) -> Result<(Vec<f64>, u64), Error> {
        let shape = Shape { projects: 2, ..Shape::default() };
        let keyed = (0..flood).map(|n| (LANE_KEY, shape.body(2 * (OTHERS + n) + 1)));
        self.publisher.fill_keyed(keyed).await?;
        let standin = StandIn::start(Duration::ZERO, 2 * OTHERS.max(flood), true).await?;
        let mut command = self.hookbro(&standin.url(), 256)?;
        with_lane(&mut command);
        let mut contender = Contender::start("hookbro", command)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let publishing = async {
            let (counts, mut confirmed) = (&standin.counts, Vec::new());
            let mut clock = tokio::time::interval(EVERY);
            for number in 0..OTHERS {
                clock.tick().await;
                self.publisher.publish_keyed(OTHER_KEY, &shape.body(2 * number)).await?.await?;
                confirmed.push(counts.now());
            }
            arrived(counts, &confirmed).await
        };
        let times = contender.until(WITHIN, publishing, "last request of the default lane").await;
        let left = flood.saturating_sub(standin.counts.requests().saturating_sub(OTHERS));
        contender.stop().await?;
        let mut times = times??;
        times.sort_by(f64::total_cmp);
        Ok((times, left))
    }
}

/// Waits for all of them; milliseconds from each confirm to its request.
async fn arrived(counts: &Counts, confirmed: &[u64]) -> Result<Vec<f64>, Error> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let requests: Option<Vec<u64>> = (0..confirmed.len()).map(|number| counts.arrival(2 * number)).collect();
        if let Some(requests) = requests {
            #[expect(clippy::cast_precision_loss, reason = "nanoseconds of one run are far below 2^52")]
            let ms = |(request, confirm): (u64, &u64)| request.saturating_sub(*confirm) as f64 / 1e6;
            return Ok(requests.into_iter().zip(confirmed).map(ms).collect());
        }
        if Instant::now() > deadline {
            return Err("an event of the default lane never came".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn with_lane(command: &mut Command) -> &mut Command {
    command.env("HOOKBRO__LANES__BULK__KEYS", "acme.#")
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index into some hundred figures"
)]
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = ((sorted.len() as f64 - 1.0) * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
