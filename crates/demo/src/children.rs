//! The processes that the demo starts, and their end: SIGTERM first, SIGKILL after the grace, and SIGKILL at once when
//! a panic drops them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Error;
use crate::log::{Line, Settled};

/// Longer than the 25 s that hookbro itself allows its events in flight.
const GRACE: Duration = Duration::from_secs(30);

/// A pipe that a grandchild holds open would otherwise be read for ever.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// The hookbro binary.
pub(crate) struct Program(PathBuf);

impl Program {
    /// The one `given`, or the one that cargo built with this program, beside it.
    pub(crate) fn find(given: Option<&Path>) -> Result<Self, Error> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => std::env::current_exe()?.with_file_name("hookbro"),
        };
        if path.is_file() {
            return Ok(Self(path));
        }
        let path = path.display();
        Err(format!("{path} does not exist: build it with `cargo build --bin hookbro`, as this program was").into())
    }

    pub(crate) fn command<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Command {
        let mut command = Command::new(&self.0);
        command.args(args).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Runs `hookbro publish`; the demo says itself what was published, complaints still show.
    pub(crate) async fn publish(&self, folder: &Path) -> Result<ExitStatus, Error> {
        let mut publish = self.command([OsStr::new("publish"), folder.as_os_str()]);
        Ok(publish.stdout(Stdio::null()).status().await?)
    }
}

struct Running {
    name: &'static str,
    child: Child,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
pub(crate) struct Children(Vec<Running>);

impl Children {
    /// Starts `command`, shows its warnings as they come and sends its verdicts to `settled`.
    pub(crate) fn start(
        &mut self,
        name: &'static str,
        mut command: Command,
        settled: mpsc::Sender<Settled>,
    ) -> Result<(), Error> {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(tokio::spawn(read(stdout, settled.clone(), Line::log)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(tokio::spawn(read(stderr, settled, move |text| Line::log_or_words(name, text))));
        }
        self.0.push(Running { name, child, readers });
        Ok(())
    }

    /// Waits for `ready`, at most `limit`, and not at all once a child has ended.
    pub(crate) async fn until(
        &mut self,
        name: &str,
        limit: Duration,
        ready: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        tokio::select! {
            () = ready => Ok(()),
            gone = self.first_to_end() => Err(gone),
            () = tokio::time::sleep(limit) => Err(format!("hookbro {name} was not ready within {limit:?}").into()),
        }
    }

    /// The error that says which child ended by itself; pending while all run.
    pub(crate) async fn first_to_end(&mut self) -> Error {
        loop {
            for Running { name, child, .. } in &mut self.0 {
                match child.try_wait() {
                    Ok(None) => {}
                    Ok(Some(status)) => {
                        return format!("hookbro {name} ended by itself: {status}").into();
                    }
                    Err(error) => {
                        return format!("hookbro {name} cannot be watched: {error}").into();
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Last started, first ended: the service drains while the sandbox still answers.
    pub(crate) async fn end(mut self) {
        while let Some(Running { name, mut child, readers }) = self.0.pop() {
            if let Some(pid) = child.id() {
                // The standard library can only send SIGKILL; every shell has a kill of its own.
                let term = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid.to_string()]).status().await;
                if term.is_ok_and(|status| status.success()) && timeout(GRACE, child.wait()).await.is_err() {
                    eprintln!("demo: hookbro {name} did not stop within {GRACE:?}; killing it");
                }
            }
            if let Err(error) = child.kill().await {
                eprintln!("demo: failed to kill hookbro {name}: {error}");
            }
            for reader in readers {
                let _last_words = timeout(LAST_WORDS_WITHIN, reader).await;
            }
        }
    }
}

/// Reads to the end even when nobody listens any more: a child must not fail for writing its last words.
async fn read(stream: impl AsyncRead + Unpin, settled: mpsc::Sender<Settled>, parse: impl Fn(&str) -> Option<Line>) {
    let mut reader = BufReader::new(stream).split(b'\n');
    while let Ok(Some(bytes)) = reader.next_segment().await {
        match parse(&String::from_utf8_lossy(&bytes)) {
            Some(Line::Settled(line)) => {
                let _closed = settled.send(line).await;
            }
            Some(Line::Notice(text)) => eprintln!("{text}"),
            None => {}
        }
    }
}
