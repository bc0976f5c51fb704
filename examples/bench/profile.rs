//! Instructions per event, counted by callgrind: the number that a noisy machine does not move. Two drains of different
//! length are counted, and the difference of the two leaves out start and end.

use crate::event::Shape;
use crate::procs::Contender;
use crate::retries::{Way, of_retried};
use crate::standin::Progress;
use crate::{Bench, Error};
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

/// Under valgrind everything takes some fifty times as long.
const WITHIN: Duration = Duration::from_secs(600);
/// Acknowledgements that follow the last request.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Events by which the two drains differ; the shorter one has at least as many.
const EVENTS: u64 = 4_000;

impl Bench {
    /// Counts, and prints what was counted.
    pub(crate) async fn profiles(&self, into: &Path, retries: bool, projects: u64) -> Result<bool, Error> {
        if retries {
            let (straight, retried) = self.profile_retries(into).await?;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 instructions")]
            let ratio = retried / straight as f64;
            println!("{straight} instructions per straight event, {retried:.0} per retried one: {ratio:.2}");
        } else {
            println!("{} instructions per event", self.profile(Way::Straight, projects, into).await?);
        }
        println!("profile in {}", into.display());
        Ok(true)
    }

    /// Leaves the longer run's profile at `into`, for callgrind_annotate.
    pub(crate) async fn profile(&self, way: Way, projects: u64, into: &Path) -> Result<u64, Error> {
        // Twice around: what a project costs when it is seen for the first time is in both.
        let shorter = EVENTS.max(2 * projects);
        let short = self.instructions(way, projects, shorter, &into.with_extension("short")).await?;
        let long = self.instructions(way, projects, shorter + EVENTS, into).await?;
        Ok(long.saturating_sub(short) / EVENTS)
    }

    /// Instructions of an event on the straight path, and of one that fails once; leaves the profile of the mixture.
    pub(crate) async fn profile_retries(&self, into: &Path) -> Result<(u64, f64), Error> {
        let straight = self.profile(Way::Straight, 1, &into.with_extension("straight")).await?;
        let mixed = self.profile(Way::HalfRetried, 1, into).await?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52 instructions")]
        Ok((straight, of_retried(straight as f64, mixed as f64)))
    }

    async fn instructions(&self, way: Way, projects: u64, events: u64, into: &Path) -> Result<u64, Error> {
        let standin = self.fill_way(way, Shape { projects, ..Shape::default() }, events).await?;
        let mut command = Command::new("valgrind");
        command
            .arg("--tool=callgrind")
            .arg(format!("--callgrind-out-file={}", into.display()))
            .arg(&self.hookbro)
            .arg("run");
        self.configure(&mut command, &standin.url(), 256)?;
        way.configure(&mut command);
        let mut contender = Contender::start("valgrind", command)?;
        contender.until(WITHIN, standin.counts.until(Progress::Done), "last request").await?;
        tokio::time::sleep(AFTERMATH).await;
        contender.stop().await?;
        let profile = std::fs::read_to_string(into)?;
        let total = profile.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")));
        Ok(total.ok_or("callgrind left no total")?.trim().parse()?)
    }
}
