//! Latency under an open loop: events are published on a clock, whatever became of those before, and each is timed from
//! its confirm to its request at the stand-in.

use crate::event::Shape;
use crate::procs::Contender;
use crate::standin::{Counts, Progress, StandIn};
use crate::{Bench, Error};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior};

/// How often the clock of the publisher ticks; several events may go out at one tick.
const TICK: Duration = Duration::from_millis(2);
/// First events, left out of the figures: connections are made.
const WARM_UP: f64 = 0.1;
const END_WITHIN: Duration = Duration::from_secs(60);

/// Milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Latency {
    pub(crate) events_per_s: u64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) p999_ms: f64,
    pub(crate) max_ms: f64,
}

/// Says how many events are due, whatever became of those before.
pub(crate) struct Clock {
    ticks: Interval,
    began: Instant,
    rate: u64,
}

impl Clock {
    /// Begins now, at `rate` events a second.
    pub(crate) fn start(rate: u64) -> Self {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self { ticks, began: Instant::now(), rate }
    }

    /// The number of the last event that is due at the next tick.
    pub(crate) async fn due(&mut self) -> Result<u64, Error> {
        self.ticks.tick().await;
        Ok(u64::try_from(self.began.elapsed().as_micros())? * self.rate / 1_000_000)
    }
}

impl Bench {
    /// Publishes `rate` events a second for `seconds`.
    pub(crate) async fn latency(&self, rate: u64, seconds: u64) -> Result<Latency, Error> {
        let events = rate * seconds;
        let standin = StandIn::start(Duration::ZERO, events, true).await?;
        let mut contender = Contender::start("hookbro", self.hookbro(&standin.url(), 256)?)?;
        // Consuming begins within a fraction of a second; the warm-up covers the rest.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let confirmed: Arc<[AtomicU64]> = (0..events).map(|_| AtomicU64::new(0)).collect();
        let publishing = async {
            self.publish_on_a_clock(rate, &confirmed, &standin.counts).await?;
            standin.counts.until(Progress::Done).await;
            Ok::<_, Error>(())
        };
        let limit = Duration::from_secs(seconds) + END_WITHIN;
        let published = contender.until(limit, publishing, "last request").await;
        // The confirms come in any order; the last may be on its way yet.
        tokio::time::sleep(Duration::from_millis(500)).await;
        contender.stop().await?;
        published??;
        self.publisher.purge().await?;
        Ok(summary(rate, &confirmed, &standin.counts))
    }

    pub(crate) async fn publish_on_a_clock(
        &self,
        rate: u64,
        confirmed: &Arc<[AtomicU64]>,
        counts: &Arc<Counts>,
    ) -> Result<(), Error> {
        let (mut clock, mut number) = (Clock::start(rate), 0);
        while (number as usize) < confirmed.len() {
            let due = clock.due().await?;
            while number <= due && (number as usize) < confirmed.len() {
                let confirm = self.publisher.publish(&Shape::default().body(number)).await?;
                let (slots, counts) = (Arc::clone(confirmed), Arc::clone(counts));
                tokio::spawn(async move {
                    // An event that is never confirmed has no latency, and is missed at the end.
                    if confirm.await.is_ok()
                        && let Some(slot) = slots.get(number as usize)
                    {
                        slot.store(counts.now(), Ordering::Relaxed);
                    }
                });
                number += 1;
            }
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds of one run are far below 2^52")]
fn summary(rate: u64, confirmed: &[AtomicU64], counts: &Counts) -> Latency {
    let warm_up = (confirmed.len() as f64 * WARM_UP) as usize;
    let mut ms: Vec<f64> = (warm_up..confirmed.len())
        .filter_map(|number| {
            let arrived = counts.arrival(number)?;
            let confirmed = confirmed[number].load(Ordering::Relaxed);
            // A request may overtake the confirm: then it took no time that anybody could have waited.
            Some(arrived.saturating_sub(confirmed) as f64 / 1e6)
        })
        .collect();
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms.get(((ms.len() as f64 - 1.0) * share).round() as usize).copied().unwrap_or(f64::NAN);
    Latency { events_per_s: rate, p50_ms: at(0.5), p99_ms: at(0.99), p999_ms: at(0.999), max_ms: at(1.0) }
}
