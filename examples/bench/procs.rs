//! What a process has used so far, and the children whose use is measured.

use crate::Error;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// USER_HZ: the unit of /proc/PID/stat, 100 on every Linux that is built for anything but embedded use.
const TICKS_PER_SECOND: u64 = 100;
/// A contender that is asked to stop has no event left to settle.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// User and system time of all threads of `pid`, ended ones included.
pub(crate) fn cpu(pid: u32) -> Result<Duration, Error> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the name in brackets, which may hold blanks itself.
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).ok_or("/proc/PID/stat has no name")?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next().and_then(|field| field.parse::<u64>().ok()).ok_or("/proc/PID/stat is short");
    let ticks = ticks()? + ticks()?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

/// Resident memory of `pid` in KiB: now, and at its highest.
pub(crate) fn memory(pid: u32) -> Result<(u64, u64), Error> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or(format!("no {name} in status"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// A running contender. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Contender {
    name: String,
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    pub(crate) pid: u32,
}

impl Contender {
    pub(crate) fn start(name: &str, mut command: Command) -> Result<Self, Error> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| format!("{name} does not start: {error}"))?;
        let pid = child.id().ok_or("a child without a process number")?;
        let lines = child.stdout.take().map(|stdout| BufReader::new(stdout).lines());
        Ok(Self { name: name.to_owned(), child, lines, pid })
    }

    /// The next line that it prints.
    pub(crate) async fn line(&mut self) -> Result<String, Error> {
        let lines = self.lines.as_mut().ok_or("no standard output")?;
        let line = lines.next_line().await?;
        line.ok_or_else(|| format!("{} ended before it was done", self.name).into())
    }

    /// Waits for `event`, but not longer than the child lives, nor than `limit`.
    pub(crate) async fn until<T>(
        &mut self,
        limit: Duration,
        event: impl Future<Output = T>,
        waiting_for: &str,
    ) -> Result<T, Error> {
        tokio::select! {
            event = event => Ok(event),
            ended = self.child.wait() => Err(format!("{} ended by itself: {}", self.name, ended?).into()),
            () = tokio::time::sleep(limit) => {
                Err(format!("{}: no {waiting_for} within {limit:?}", self.name).into())
            }
        }
    }

    /// SIGTERM, and SIGKILL after a while.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        // The standard library can only send SIGKILL; every shell has a kill of its own.
        let mut kill = Command::new("sh");
        kill.args(["-c", "kill -TERM \"$0\" 2>/dev/null", &self.pid.to_string()]);
        let _gone_already = kill.status().await?;
        if tokio::time::timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            self.child.kill().await?;
            return Err(format!("{} did not stop within {STOP_WITHIN:?}", self.name).into());
        }
        Ok(())
    }
}
