//! Dead letters, events that were given up, as operators see and change them.
//!
//! [`DeadLetters`] is what an adapter must be able to do, within [`Bounds`] that its caller sets. [`Operations`] is what the
//! command line, the HTTP API and the console do with it.

mod filter;
mod letter;
mod operations;

pub use filter::{DeadLetterFilter, FilterError};
pub use letter::{DeadLetter, DeadLetterDetails, DeadLetterHead, DeadLetterPage, Exported, head, redacted, whole};
pub use operations::{Action, Job, Operations, Options, Refused, Started};

use super::progress::Progress;
use serde_json::Value;
use std::{fmt, num::NonZeroU32, ops::ControlFlow, path::Path, time::Duration};

/// Shown wherever a replay is offered or made.
pub const REPEATS: &str = "an event that Svix accepted before is refused there as a repeat while its eventId is remembered; \
                           such a replay is counted as `duplicate`";

/// What an operation may cost the process that runs it.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Dead letters that it browses; more are refused. The adapter has a bound of its own above that.
    pub letters: usize,
    /// Longest wait for another process that browses.
    pub lock: Duration,
    /// Longest browse, from the connection on.
    pub browse: Option<Duration>,
    /// Longest beginning of a change, which may have to restore an order first.
    pub begin: Option<Duration>,
    /// Longest replay.
    pub replay: Option<Duration>,
}

impl Bounds {
    /// Beside the deliveries of the same process.
    pub const BESIDE_DELIVERIES: Self = Self {
        // Some 100 MiB of memory at usual sizes while they are replayed.
        letters: 20_000,
        lock: Duration::from_secs(5),
        // Twenty thousand take a second.
        browse: Some(Duration::from_secs(40)),
        begin: Some(Duration::from_secs(150)),
        // Before the broker's `consumer_timeout` (30 minutes by default) ends it.
        replay: Some(Duration::from_secs(25 * 60)),
    };
    /// In a process that does nothing else, whose operator watches it and can interrupt it.
    pub const ALONE: Self = Self {
        letters: usize::MAX,
        // Twice the heartbeats after which the broker gives up a frozen process.
        lock: Duration::from_secs(40),
        browse: None,
        begin: None,
        replay: None,
    };
}

/// A dead letter while it is browsed.
pub struct Browsed<'l> {
    pub letter: &'l DeadLetter,
    properties: &'l dyn Fn() -> Value,
}

impl<'l> Browsed<'l> {
    pub fn new(letter: &'l DeadLetter, properties: &'l dyn Fn() -> Value) -> Self {
        Self { letter, properties }
    }

    /// Properties and headers, made for whoever asks.
    pub fn properties(&self) -> Value {
        (self.properties)()
    }
}

impl fmt::Debug for Browsed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Browsed").field("letter", self.letter).finish_non_exhaustive()
    }
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub events: u64,
    /// Where discarded events were written to before they went.
    pub file: Option<String>,
}

/// Why dead letters are not shown, or not all changed. Whatever it is, none is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadLettersError {
    #[error("{0}")]
    Away(String),
    /// Another process browses.
    #[error("{0}")]
    Locked(String),
    #[error("reading the dead-letter queue took too long; try again, or use `hookbro dead`")]
    Slow,
    #[error(
        "the dead-letter queue holds {there} events, more than the {most} that this process reads: use `hookbro dead`"
    )]
    TooMany { there: u64, most: usize },
    #[error("nothing was discarded, since {0}")]
    File(String),
    /// Ended midway.
    #[error("{why}; {done} events were {} before that, the others lie where they were: ask again for them", action.past())]
    Midway { action: Action, done: u64, why: String },
}

/// The dead-letter queue. What is begun must be polled to its end: whoever may go away runs it as a task.
pub trait DeadLetters: Send + Sync + 'static {
    /// Shows `visit` what `filter` selects, oldest first, until it breaks. All of them stay.
    fn browse(
        &self,
        filter: &DeadLetterFilter,
        visit: impl FnMut(Browsed<'_>) -> ControlFlow<()> + Send,
    ) -> impl Future<Output = Result<(), DeadLettersError>> + Send;

    /// Sends what `filter` selects up the ladder again, at most `rate` a second; each is confirmed before it leaves the
    /// dead-letter queue.
    fn replay(
        &self,
        filter: &DeadLetterFilter,
        rate: Option<NonZeroU32>,
        progress: &Progress,
    ) -> impl Future<Output = Result<Outcome, DeadLettersError>> + Send;

    /// Writes what `filter` selects to a new file, at `to` or where the adapter keeps such files, and then deletes it.
    fn discard(
        &self,
        filter: &DeadLetterFilter,
        to: Option<&Path>,
        progress: &Progress,
    ) -> impl Future<Output = Result<Outcome, DeadLettersError>> + Send;
}
