//! Projects that an operator has paused: who asks whether one is, where it is written down, and how the two stay together.
//!
//! What is written down is shared by all replicas. Each has a board of its own, which it brings up to date every few
//! seconds; where the store is away, the board stays as it is.

use crate::{event::ProjectId, observe::metrics::Metrics};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex, MutexGuard, watch};

/// Projects that may be paused at once: the board is read whole, every two seconds.
pub const MOST_PAUSED: usize = 1_000;

/// Longest wait for others who ask the store: an operator waits for it.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Since when a project is paused, by whom and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    pub since: Timestamp,
    /// As in the audit.
    pub identity: String,
    pub claimed: Option<String>,
    pub reason: Option<String>,
}

/// The paused projects.
pub type Paused = BTreeMap<ProjectId, Pause>;

/// Where pauses are written down. What it refuses has not happened, or may have happened unheard: either may be asked again.
/// Each answer has all pauses that stand then.
pub trait PauseStore: Send + Sync + 'static {
    fn all(&self) -> impl Future<Output = Result<Paused, PausesAway>> + Send;

    /// Writes a pause down. One that stands already stays as it is.
    fn pause(&self, project: &ProjectId, pause: &Pause) -> impl Future<Output = Result<Paused, PausesAway>> + Send;

    /// Strikes out a project's pause, if there is one.
    fn resume(&self, project: &ProjectId) -> impl Future<Output = Result<Paused, PausesAway>> + Send;
}

/// Why pauses cannot be read or changed now, in words for operators.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PausesAway(pub String);

/// What this process knows of the pauses. Asked for every event: while no project is paused, that is one look at a flag.
#[derive(Debug)]
pub struct Board {
    any: AtomicBool,
    /// Nothing until the store has answered for the first time.
    known: watch::Sender<Option<Arc<Paused>>>,
    metrics: Arc<Metrics>,
}

impl Board {
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { any: AtomicBool::new(false), known: watch::Sender::new(None), metrics }
    }

    /// Whether `project` is paused, as far as is known.
    pub fn is_paused(&self, project: &ProjectId) -> bool {
        self.any.load(Ordering::Acquire) && names(&self.known.borrow(), project)
    }

    /// Waits until `project` is paused.
    pub async fn until_paused(&self, project: &ProjectId) {
        // Boxed: the task of an event that never waits should not be as large as that of one that does.
        let mut known = Box::new(self.known.subscribe());
        // The sender lives as long as the board.
        let _ = known.wait_for(|known| names(known, project)).await;
    }

    /// Waits until `project` is not paused.
    pub async fn until_resumed(&self, project: &ProjectId) {
        let mut known = self.known.subscribe();
        let _ = known.wait_for(|known| !names(known, project)).await;
    }

    /// The projects that are paused, as far as is known.
    pub fn paused(&self) -> Arc<Paused> {
        self.known.borrow().clone().unwrap_or_default()
    }

    /// What is known, and word of its changes.
    pub fn known(&self) -> watch::Receiver<Option<Arc<Paused>>> {
        self.known.subscribe()
    }

    /// The pauses that stand now; what is not among them is resumed.
    pub fn show(&self, paused: Paused) {
        self.metrics.projects_paused.set(i64::try_from(paused.len()).unwrap_or(i64::MAX));
        let any = !paused.is_empty();
        self.known.send_if_modified(|known| {
            let differs = known.as_deref() != Some(&paused);
            *known = Some(Arc::new(paused));
            differs
        });
        self.any.store(any, Ordering::Release);
    }
}

fn names(known: &Option<Arc<Paused>>, project: &ProjectId) -> bool {
    known.as_ref().is_some_and(|paused| paused.contains_key(project))
}

/// A store and the board that shows it.
#[derive(Debug)]
pub struct Pauses<S> {
    store: S,
    board: Arc<Board>,
    /// One answer of the store at a time, so that an older one never comes after a newer.
    asking: Mutex<()>,
}

impl<S: PauseStore> Pauses<S> {
    pub fn new(store: S, board: Arc<Board>) -> Self {
        Self { store, board, asking: Mutex::default() }
    }

    pub fn store(&self) -> &S {
        &self.store
    }

    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Waits until nobody else asks the store.
    async fn turn(&self) -> Result<MutexGuard<'_, ()>, PausesAway> {
        let turn = tokio::time::timeout(TURN_TIMEOUT, self.asking.lock()).await;
        turn.map_err(|_| PausesAway("pauses cannot be read or changed now: others are waiting for them".into()))
    }

    /// Brings the board up to date, and answers what stands. A store that does not answer leaves it as it is.
    pub async fn refresh(&self) -> Result<Arc<Paused>, PausesAway> {
        let _turn = self.turn().await?;
        self.board.show(self.store.all().await?);
        Ok(self.board.paused())
    }

    /// Pauses `project`; answers the pause that stands then, which may be an older one. This process heeds it from now on.
    pub async fn pause(&self, project: &ProjectId, pause: &Pause) -> Result<Pause, PausesAway> {
        let _turn = self.turn().await?;
        let paused = self.store.pause(project, pause).await?;
        let stands = paused.get(project).unwrap_or(pause).clone();
        self.board.show(paused);
        Ok(stands)
    }

    /// Resumes `project`.
    pub async fn resume(&self, project: &ProjectId) -> Result<(), PausesAway> {
        let _turn = self.turn().await?;
        self.board.show(self.store.resume(project).await?);
        Ok(())
    }
}

#[cfg(test)]
#[path = "pauses_tests.rs"]
mod tests;
