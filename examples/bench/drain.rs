//! One drain: fill the queue, start a contender, and watch time, CPU and memory from its first event to its last.

use crate::contenders::Kind;
use crate::event::Shape;
use crate::procs::{Contender, cpu, memory};
use crate::standin::{Progress, StandIn};
use crate::{Bench, Error};
use clap::ValueEnum as _;
use serde::Serialize;
use std::ffi::OsStr;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// What is still on its way when the last request comes: acknowledgements, and the broker's work on them.
pub(crate) const AFTERMATH: Duration = Duration::from_millis(60);
const BEGIN_WITHIN: Duration = Duration::from_secs(30);
/// Nothing here takes so long unless it hangs.
pub(crate) const END_WITHIN: Duration = Duration::from_secs(600);

/// Who drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Hookbro { prefetch: u16 },
    Other { kind: Kind, at_once: u16 },
}

impl Who {
    pub(crate) const fn other(kind: Kind, at_once: u16) -> Self {
        Self::Other { kind, at_once }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hookbro { prefetch } => write!(f, "hookbro, prefetch {prefetch}"),
            Self::Other { kind: Kind::AckSingly, .. } => f.write_str("floor A: consume, ack singly"),
            Self::Other { kind: Kind::AckBatches, .. } => f.write_str("floor A': consume, ack 100 at once"),
            Self::Other { kind: Kind::Post, at_once } => write!(f, "floor B: POST, {at_once} at once"),
            Self::Other { kind: Kind::Loop, at_once } => write!(f, "hand-written loop, prefetch {at_once}"),
            Self::Other { kind: Kind::SpawnTuned, at_once } => write!(f, "the same, tuned, prefetch {at_once}"),
            Self::Other { kind: Kind::Spawn, at_once } => write!(f, "hand-written spawn, prefetch {at_once}"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    pub(crate) who: Who,
    pub(crate) delay: Duration,
    pub(crate) events: u64,
    pub(crate) shape: Shape,
}

/// What one drain took.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    pub(crate) events_per_s: f64,
    pub(crate) cpu_us: f64,
    pub(crate) broker_cpu_us: f64,
    pub(crate) rss_kib: u64,
    pub(crate) peak_rss_kib: u64,
    /// From the start of the process to its first event.
    pub(crate) start_ms: f64,
    /// How long the stand-in really held an answer back.
    pub(crate) answer_ms: f64,
}

impl Bench {
    pub(crate) async fn drain(&self, drain: Drain) -> Result<Figures, Error> {
        let Drain { who, delay, events, shape } = drain;
        let consumes = !matches!(who, Who::Other { kind: Kind::Post, .. });
        let calls = !matches!(who, Who::Other { kind: Kind::AckSingly | Kind::AckBatches, .. });
        if consumes {
            self.publisher.fill(shape, events).await?;
        }
        let standin = StandIn::start(delay, events, false).await?;
        let command = match who {
            Who::Hookbro { prefetch } => self.hookbro(&standin.url(), prefetch)?,
            Who::Other { kind, at_once } => self.other(&standin.url(), kind, at_once, events)?,
        };
        let started = Instant::now();
        let mut contender = Contender::start(&who.to_string(), command)?;
        let pid = contender.pid;
        let watched = async {
            if calls {
                contender.until(BEGIN_WITHIN, standin.counts.until(Progress::Begun), "first request").await?;
            } else {
                contender.line().await?;
            }
            let start_ms = started.elapsed().as_secs_f64() * 1e3;
            let before = (cpu(pid)?, cpu(self.node.pid)?);
            let elapsed = if calls {
                contender.until(END_WITHIN, standin.counts.until(Progress::Done), "last request").await?;
                standin.counts.elapsed()
            } else {
                let done = contender.line().await?;
                Duration::from_nanos(done.strip_prefix("done ").and_then(|nanos| nanos.parse().ok()).ok_or(done)?)
            };
            tokio::time::sleep(AFTERMATH).await;
            let after = (cpu(pid)?, cpu(self.node.pid)?);
            let (rss_kib, peak_rss_kib) = memory(pid)?;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
            let count = events as f64;
            let per_event = |before: Duration, after: Duration| (after - before).as_secs_f64() * 1e6 / count;
            Ok::<_, Error>(Figures {
                events_per_s: count / elapsed.as_secs_f64(),
                cpu_us: per_event(before.0, after.0),
                broker_cpu_us: per_event(before.1, after.1),
                rss_kib,
                peak_rss_kib,
                start_ms,
                answer_ms: standin.counts.latency().as_secs_f64() * 1e3,
            })
        };
        let watched = watched.await;
        contender.stop().await?;
        let figures = watched.map_err(|error| format!("{error}\n{}", self.node.log_text("contender.log")))?;
        let left = self.publisher.ready().await?;
        if left > 0 {
            self.publisher.purge().await?;
            return Err(format!("{who} left {left} of {events} events").into());
        }
        if calls && standin.counts.requests() != events {
            let requests = standin.counts.requests();
            eprintln!("bench: {who} made {requests} requests for {events} events");
        }
        Ok(figures)
    }

    /// `hookbro run` against the private node and a stand-in.
    pub(crate) fn hookbro(&self, svix: &str, prefetch: u16) -> Result<Command, Error> {
        let mut command = Command::new(&self.hookbro);
        command.arg("run");
        self.configure(&mut command, svix, prefetch)?;
        Ok(command)
    }

    pub(crate) fn configure(&self, command: &mut Command, svix: &str, prefetch: u16) -> Result<(), Error> {
        // The settings of the person at the keyboard would change what is measured.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOOKBRO__") {
                command.env_remove(name);
            }
        }
        command
            .env("HOOKBRO__BROKER__URL", &self.node.url)
            .env("HOOKBRO__BROKER__PREFETCH", prefetch.to_string())
            .env("HOOKBRO__SVIX__URL", svix)
            .env("HOOKBRO__SVIX__TOKEN", "sk_bench")
            .env("HOOKBRO__ADMIN__LISTEN", "127.0.0.1:0")
            // What it costs is measured by itself.
            .env("HOOKBRO__JOURNAL__URL", "off")
            .stderr(self.node.log("contender.log")?);
        Ok(())
    }

    fn other(&self, svix: &str, kind: Kind, at_once: u16, events: u64) -> Result<Command, Error> {
        let mut command = Command::new(std::env::current_exe()?);
        let value = kind.to_possible_value().ok_or("a kind without a name")?;
        command
            .args(["contender", "--kind", value.get_name(), "--amqp", &self.node.url, "--queue", &self.publisher.queue])
            .args(["--svix", svix, "--at-once", &at_once.to_string(), "--events"])
            .arg(OsStr::new(&events.to_string()))
            .stderr(self.node.log("contender.log")?);
        Ok(command)
    }
}
