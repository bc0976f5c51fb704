//! `bench journal`: what the journal costs, from drains with it on and off in turn, at the same pace.

use crate::event::Shape;
use crate::procs::{Contender, cpu};
use crate::report::Spread;
use crate::standin::{Progress, StandIn};
use crate::{Bench, Error};
use std::time::Duration;

/// Events a second; `svix.rate_limit` paces them.
const RATE: u64 = 5_000;
const PREFETCH: u16 = 256;
/// CPU of one event, in microseconds, that the journal may take.
const GOAL: f64 = 25.0;
/// The last batch is written half a second after its first entry.
const AFTERMATH: Duration = Duration::from_millis(900);
const BEGIN_WITHIN: Duration = Duration::from_secs(30);
const END_WITHIN: Duration = Duration::from_secs(600);

impl Bench {
    /// Drains `events` with and without a journal, `repetitions` times over, and says whether the goal is met.
    pub(crate) async fn journal(&self, events: u64, repetitions: usize) -> Result<bool, Error> {
        let folder = std::env::temp_dir().join(format!("hookbro-bench-journal-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let on = format!("sqlite:{}", folder.join("journal.sqlite3").display());
        let (mut with, mut without, mut cost) = (Vec::new(), Vec::new(), Vec::new());
        for repetition in 1..=repetitions {
            let off = self.paced("off", events).await?;
            let on = self.paced(&on, events).await?;
            println!("{repetition}/{repetitions}  off {off:6.1} µs, on {on:6.1} µs, the journal {:6.1} µs", on - off);
            without.push(off);
            with.push(on);
            cost.push(on - off);
        }
        std::fs::remove_dir_all(&folder)?;
        let spread = Spread::of(cost);
        println!(
            "CPU µs/event at {RATE} events/s: off {}, on {}, the journal {spread} (goal: at most {GOAL})",
            Spread::of(without),
            Spread::of(with)
        );
        Ok(spread.median <= GOAL)
    }

    /// CPU of one event, in microseconds, its journal's writing included.
    async fn paced(&self, journal: &str, events: u64) -> Result<f64, Error> {
        self.publisher.fill(Shape::default(), events).await?;
        let standin = StandIn::start(Duration::ZERO, events, false).await?;
        let mut command = self.hookbro(&standin.url(), PREFETCH)?;
        command.env("HOOKBRO__SVIX__RATE_LIMIT", RATE.to_string()).env("HOOKBRO__JOURNAL__URL", journal);
        let mut contender = Contender::start("hookbro", command)?;
        let pid = contender.pid;
        let watched = async {
            contender.until(BEGIN_WITHIN, standin.counts.until(Progress::Begun), "first request").await?;
            let before = cpu(pid)?;
            contender.until(END_WITHIN, standin.counts.until(Progress::Done), "last request").await?;
            tokio::time::sleep(AFTERMATH).await;
            Ok::<_, Error>((cpu(pid)? - before, standin.counts.elapsed()))
        };
        let watched = watched.await;
        contender.stop().await?;
        let (spent, elapsed) = watched.map_err(|error| format!("{error}\n{}", self.node.log_text("contender.log")))?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
        let (count, rate) = (events as f64, RATE as f64);
        if count / elapsed.as_secs_f64() < rate * 0.8 {
            eprintln!("bench: only {:.0} events/s on a busy machine", count / elapsed.as_secs_f64());
        }
        Ok(spent.as_secs_f64() * 1e6 / count)
    }
}
