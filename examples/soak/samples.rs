//! Memory and descriptors of one process over time, and what "flat" means: memory that stops growing once warm, and
//! descriptors that are closed again. The latter cannot be seen under load, where each fault leaves the pool of HTTP
//! connections larger for a while.

use crate::{Error, replicas::status};
use std::{net::SocketAddr, time::Duration};
use tokio::time::Instant;

const EVERY: Duration = Duration::from_secs(2);
/// Memory over the last third of a run may be so much of what it was over the second: an allocator keeps something from
/// bursts; more is growth. And MiB beyond that share, since a small process has small shares.
const GROWTH: (f64, f64) = (1.25, 8.0);
/// Descriptors that may be open after the quiet phase beyond those of the beginning: connections that just then are made.
const LEFT_OPEN: f64 = 16.0;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) at: Duration,
    /// Resident memory in MiB, open descriptors.
    pub(crate) levels: [f64; 2],
}

pub(crate) struct Samples {
    address: SocketAddr,
    began: Instant,
    pub(crate) taken: Vec<Sample>,
    /// After the quiet phase.
    pub(crate) last: Option<Sample>,
}

/// What is said about one quantity, and whether it is flat.
pub(crate) struct Course {
    pub(crate) words: String,
    pub(crate) is_flat: bool,
}

impl Samples {
    pub(crate) fn of(address: SocketAddr) -> Self {
        Self { address, began: Instant::now(), taken: Vec::new(), last: None }
    }

    /// Samples until `end`. The process must be there all the time; an answer may be late on a busy machine.
    pub(crate) async fn watch(&mut self, end: Instant) -> Result<(), Error> {
        let mut tick = tokio::time::interval(EVERY);
        while tick.tick().await < end {
            match self.sample().await {
                Ok(sample) => self.taken.push(sample),
                Err(error) => eprintln!("soak: no sample: {error}"),
            }
        }
        Ok(())
    }

    pub(crate) async fn take_last(&mut self) {
        self.last = self.sample().await.ok();
    }

    async fn sample(&self) -> Result<Sample, Error> {
        let status = status(self.address).await?;
        let value = |name: &str| status["process"][name].as_f64().ok_or_else(|| format!("no {name} in /status"));
        let levels = [value("resident_memory_bytes")? / f64::from(1 << 20), value("open_fds")?];
        Ok(Sample { at: self.began.elapsed(), levels })
    }

    /// Memory, and descriptors. `None` if there were too few samples to say.
    pub(crate) fn courses(&self) -> Option<[Course; 2]> {
        let third = self.taken.len() / 3;
        let last = self.last.filter(|_| third >= 5)?;
        let series = |of: usize| self.taken.iter().map(|sample| sample.levels[of]).collect::<Vec<f64>>();
        let highest = |levels: &[f64]| levels.iter().copied().fold(0.0, f64::max);

        let (memory, quiet) = (series(0), last.levels[0]);
        let (middle, end) = (median(&memory[third..2 * third]), median(&memory[2 * third..]));
        let bound = middle * GROWTH.0 + GROWTH.1;
        let words = format!(
            "memory, MiB: median {middle:.0} in the second third, {end:.0} in the last, {quiet:.0} after the quiet phase, \
             {bound:.0} allowed; highest {:.0}",
            highest(&memory)
        );
        let memory = Course { words, is_flat: end <= bound && quiet <= bound };

        let (descriptors, quiet) = (series(1), last.levels[1]);
        let bound = descriptors[0] + LEFT_OPEN;
        let words = format!(
            "descriptors: {} at the beginning, {quiet} after the quiet phase, {bound} allowed; highest {}",
            descriptors[0],
            highest(&descriptors)
        );
        Some([memory, Course { words, is_flat: quiet <= bound }])
    }
}

fn median(levels: &[f64]) -> f64 {
    let mut sorted = levels.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}
