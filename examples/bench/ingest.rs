//! `bench ingest`: events by HTTP. How many a second get their 202 when publishers send as fast as they are answered, and how
//! long one waits for it when they come on a clock. hookbro delivers them meanwhile, as it would.

use crate::event::Shape;
use crate::latency::Clock;
use crate::procs::{Contender, cpu};
use crate::report::Spread;
use crate::standin::{Progress, StandIn};
use crate::{Bench, Error};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Requests under way at once, of publishers that wait for each answer.
const AT_ONCE: usize = 64;
/// Events of one run: some seconds.
const EVENTS: u64 = 30_000;
/// Events of one request, where publishers gather them.
const BATCH: u64 = 100;
/// Events a second, and for how long, of the run on a clock.
const RATE: u64 = 1_000;
const SECONDS: u64 = 10;
/// How often it is asked whether hookbro listens.
const TICK: Duration = Duration::from_millis(2);
/// Goals: events a second with a 202 each, and the wait that 99 of 100 are within, in milliseconds.
const LEAST_RATE: f64 = 5_000.0;
const MOST_P99_MS: f64 = 25.0;
const READY_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(120);

/// A publisher, and the hookbro that it posts to.
struct Posting {
    http: reqwest::Client,
    url: String,
}

impl Posting {
    async fn post(&self, kind: &'static str, body: String) -> Result<(), Error> {
        let answer = self.http.post(&self.url).header("content-type", kind).body(body).send().await?;
        match answer.status() {
            reqwest::StatusCode::ACCEPTED => Ok(()),
            status => Err(format!("{status}: {}", answer.text().await?).into()),
        }
    }

    /// Posts events `0..count`, `batch` to a request, and says how many a second were promised.
    async fn flood(&self, count: u64, batch: u64) -> Result<f64, Error> {
        let began = Instant::now();
        let requests = stream::iter((0..count).step_by(usize::try_from(batch)?)).map(|first| {
            let events = (first..first + batch).map(|number| Shape::default().body(number));
            let kind = if batch == 1 { "application/json" } else { "application/x-ndjson" };
            Ok(self.post(kind, events.collect::<Vec<_>>().join("\n")))
        });
        requests.try_buffer_unordered(AT_ONCE).try_collect::<Vec<()>>().await?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
        Ok(count as f64 / began.elapsed().as_secs_f64())
    }

    /// Posts events on a clock, whatever became of those before; the waits for their 202, in milliseconds.
    async fn on_a_clock(self: &Arc<Self>, rate: u64, count: u64) -> Result<Vec<f64>, Error> {
        let (mut clock, mut number, mut waits) = (Clock::start(rate), 0, JoinSet::new());
        while number < count {
            let due = clock.due().await?;
            while number <= due && number < count {
                let (posting, body) = (Arc::clone(self), Shape::default().body(number));
                waits.spawn(async move {
                    let sent = Instant::now();
                    posting.post("application/json", body).await.map(|()| sent.elapsed().as_secs_f64() * 1e3)
                });
                number += 1;
            }
        }
        waits.join_all().await.into_iter().collect()
    }
}

impl Bench {
    /// Prints the figures, and says whether the goals are met.
    pub(crate) async fn ingest(&self, repetitions: usize) -> Result<bool, Error> {
        let (mut single, mut batched, mut p99, mut cost) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for repetition in 1..=repetitions {
            let (rate, us) = self.ingest_flood(1).await?;
            single.push(rate);
            cost.push(us);
            batched.push(self.ingest_flood(BATCH).await?.0);
            let wait = self.ingest_on_a_clock().await?;
            eprintln!("{repetition}/{repetitions}  {rate:.0}/s, {us:.1} µs/event, p99 {:.2} ms", wait);
            p99.push(wait);
        }
        let (single, batched, p99) = (Spread::of(single), Spread::of(batched), Spread::of(p99));
        let results: Value = json!({
            "events_per_s, one a request, 64 at once": single.to_string(),
            "events_per_s, 100 a request": batched.to_string(),
            "CPU µs/event, one a request, delivery included": Spread::of(cost).to_string(),
            "p99 ms at 1,000 events/s": p99.to_string(),
        });
        println!("{results:#}");
        Ok(single.median >= LEAST_RATE && p99.median <= MOST_P99_MS)
    }

    /// Events a second with their 202, and CPU in µs of one.
    async fn ingest_flood(&self, batch: u64) -> Result<(f64, f64), Error> {
        let standin = StandIn::start(Duration::ZERO, EVENTS, false).await?;
        let (mut contender, posting) = self.ingesting(&standin).await?;
        let before = cpu(contender.pid)?;
        let rate = contender.until(END_WITHIN, posting.flood(EVENTS, batch), "last 202").await??;
        contender.until(END_WITHIN, standin.counts.until(Progress::Done), "last delivery").await?;
        let spent = cpu(contender.pid)? - before;
        contender.stop().await?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
        Ok((rate, spent.as_secs_f64() * 1e6 / EVENTS as f64))
    }

    /// The wait for a 202 that 99 of 100 are within, in milliseconds.
    async fn ingest_on_a_clock(&self) -> Result<f64, Error> {
        let standin = StandIn::start(Duration::ZERO, RATE * SECONDS, false).await?;
        let (mut contender, posting) = self.ingesting(&standin).await?;
        let mut waits = contender.until(END_WITHIN, posting.on_a_clock(RATE, RATE * SECONDS), "last 202").await??;
        contender.until(END_WITHIN, standin.counts.until(Progress::Done), "last delivery").await?;
        contender.stop().await?;
        // Connections are made meanwhile.
        waits.drain(..waits.len() / 10);
        waits.sort_by(f64::total_cmp);
        let at = waits.len() * 99 / 100;
        Ok(waits.get(at).copied().unwrap_or(f64::NAN))
    }

    async fn ingesting(&self, standin: &StandIn) -> Result<(Contender, Arc<Posting>), Error> {
        // Free a moment ago; hookbro says so and ends if it is not any more.
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        let mut command = self.hookbro(&standin.url(), 256)?;
        command.env("HOOKBRO__INGEST__LISTEN", address.to_string());
        let mut contender = Contender::start("hookbro", command)?;
        let url = format!("http://{address}/notifications");
        let posting = Arc::new(Posting { http: reqwest::Client::new(), url });
        let listening = async {
            // A batch of none is refused, by whoever listens.
            while posting.http.post(&posting.url).send().await.is_err() {
                tokio::time::sleep(TICK).await;
            }
        };
        contender.until(READY_WITHIN, listening, "answer").await?;
        Ok((contender, posting))
    }
}
