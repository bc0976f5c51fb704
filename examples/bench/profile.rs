//! Instructions per event, counted by callgrind: the number that a noisy machine does not move. Two drains of different
//! length are counted, and the difference of the two leaves out start and end.

use crate::event::Shape;
use crate::procs::Contender;
use crate::standin::{Progress, StandIn};
use crate::{Bench, Error};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// Under valgrind everything takes some fifty times as long.
const WITHIN: Duration = Duration::from_secs(600);
/// Acknowledgements that follow the last request.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Longest drain, in events; the other is half of it.
const EVENTS: u64 = 8_000;

impl Bench {
    /// Leaves the longer run's profile at `into`, for callgrind_annotate.
    pub(crate) async fn profile(&self, into: &Path) -> Result<u64, Error> {
        let short = self.instructions(EVENTS / 2, &into.with_extension("short")).await?;
        let long = self.instructions(EVENTS, into).await?;
        Ok((long.saturating_sub(short)) / (EVENTS / 2))
    }

    async fn instructions(&self, events: u64, into: &Path) -> Result<u64, Error> {
        self.publisher.fill(Shape::default(), events).await?;
        let standin = StandIn::start(Duration::ZERO, events, false).await?;
        let mut command = Command::new("valgrind");
        command
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", into.display()))
            .arg(&self.hookbro)
            .arg("run");
        self.configure(&mut command, &standin.url(), 256)?;
        let mut contender = Contender::start("valgrind", command)?;
        contender.until(WITHIN, standin.counts.until(Progress::Done), "last request").await?;
        tokio::time::sleep(AFTERMATH).await;
        contender.stop().await?;
        let profile = std::fs::read_to_string(into)?;
        let total = profile.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
        Ok(total.ok_or("callgrind left no total")?.trim().parse()?)
    }
}
