//! What operators do with dead letters, in whatever front end: one browse or change at a time, a change goes on though nobody
//! waits for it, and is audited. What is asked and how it is answered is known to whoever calls this.
//!
//! A browse takes the whole dead-letter queue, so two of one process would only wait for each other; a client that goes away
//! leaves a task that gives everything back.

use super::{
    Browsed, DeadLetterDetails, DeadLetterFilter, DeadLetterHead, DeadLetterPage, DeadLetters, DeadLettersError,
    Outcome, Progress,
};
use crate::{
    event::Redaction,
    operate::{
        audit::{Actor, Audit, Change},
        change::{Made, NotMade, change},
    },
};
use jiff::Timestamp;
use std::{num::NonZeroU32, ops::ControlFlow, path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
};

/// Longest wait for another browse of this process: most take a fraction of a second.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a change before it is left to go on alone.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Events of one id that are shown: an id is rarely used by two projects.
const SAME_ID: usize = 10;

/// What is done to dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Replay,
    Discard,
}

impl Action {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    pub fn past(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Discard => "discarded",
        }
    }

    /// The word of the audit.
    fn audited(self) -> &'static str {
        match self {
            Self::Replay => "dead.replay",
            Self::Discard => "dead.discard",
        }
    }
}

/// How a change is made; what is not given is the adapter's choice.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Events a second that a replay sends at most.
    pub rate: Option<NonZeroU32>,
    /// The new file that a discard writes first.
    pub to: Option<PathBuf>,
}

/// The change that is under way, or the last one that was.
#[derive(Debug, Clone)]
pub struct Job {
    pub action: Action,
    pub actor: Actor,
    pub filter: String,
    pub started: Timestamp,
    pub progress: Arc<Progress>,
    pub ended: Option<(Timestamp, Result<Outcome, DeadLettersError>)>,
}

/// Why there is nothing to show.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// Another browse or change of this process takes its time.
    Busy,
    DeadLetters(DeadLettersError),
    NotMade(NotMade<DeadLettersError>),
}

/// A change that is under way as a task, whether anybody waits for it or not.
#[must_use]
#[derive(Debug)]
pub struct Started {
    pub progress: Arc<Progress>,
    task: JoinHandle<Result<Outcome, NotMade<DeadLettersError>>>,
}

impl Started {
    /// Waits to its end. Safe to drop while it waits.
    pub async fn ended(&mut self) -> Result<Outcome, Refused> {
        match (&mut self.task).await {
            Ok(made) => made.map_err(Refused::NotMade),
            Err(_) => Err(Refused::NotMade(NotMade::Broken)),
        }
    }
}

/// The operations on one dead-letter queue.
#[derive(Debug)]
pub struct Operations<D, A> {
    dead: Arc<D>,
    audit: Arc<A>,
    redaction: Redaction,
    turn: Arc<Semaphore>,
    job: watch::Sender<Option<Job>>,
}

impl<D: DeadLetters, A: Audit> Operations<D, A> {
    pub fn new(dead: D, audit: Arc<A>, redaction: Redaction) -> Self {
        let (dead, turn) = (Arc::new(dead), Arc::new(Semaphore::new(1)));
        Self { dead, audit, redaction, turn, job: watch::Sender::new(None) }
    }

    pub fn redaction(&self) -> &Redaction {
        &self.redaction
    }

    /// The change that is under way, or the last one of this process.
    pub fn job(&self) -> Option<Job> {
        self.job.borrow().clone()
    }

    /// Shows `visit` what `filter` selects, oldest first, until it breaks; gives back the `state` that it gathers in. Runs as
    /// a task, which keeps the turn until everything is given back.
    pub async fn browse<S: Send + 'static>(
        &self,
        filter: DeadLetterFilter,
        mut state: S,
        mut visit: impl FnMut(&mut S, Browsed<'_>) -> ControlFlow<()> + Send + 'static,
    ) -> Result<S, Refused> {
        let permit = self.turn().await?;
        let dead = Arc::clone(&self.dead);
        let task = tokio::spawn(async move {
            let browsed = dead.browse(&filter, |letter| visit(&mut state, letter)).await;
            drop(permit);
            browsed.map(|()| state)
        });
        match task.await {
            Ok(browsed) => browsed.map_err(Refused::DeadLetters),
            Err(_) => Err(Refused::NotMade(NotMade::Broken)),
        }
    }

    /// At most `limit` of what `filter` selects after the first `skip`, oldest first, and how many there are.
    pub async fn page(&self, filter: DeadLetterFilter, skip: u64, limit: usize) -> Result<DeadLetterPage, Refused> {
        self.browse(filter, DeadLetterPage::default(), move |page, browsed| {
            page.total += 1;
            if page.total > skip && page.letters.len() < limit {
                page.letters.push(DeadLetterHead::of(browsed.letter));
            }
            ControlFlow::Continue(())
        })
        .await
    }

    /// How many `filter` selects.
    pub async fn count(&self, filter: DeadLetterFilter) -> Result<u64, Refused> {
        self.page(filter, 0, 0).await.map(|page| page.total)
    }

    /// Everything of the dead letters with this id; none if there are none.
    pub async fn details(&self, id: String) -> Result<Vec<DeadLetterDetails>, Refused> {
        let filter = DeadLetterFilter { ids: vec![id], ..DeadLetterFilter::default() };
        self.browse(filter, Vec::new(), |found, browsed| {
            if found.len() < SAME_ID {
                found.push(DeadLetterDetails { letter: browsed.letter.clone(), properties: browsed.properties() });
            }
            ControlFlow::Continue(())
        })
        .await
    }

    /// Begins a change to what `filter` selects.
    pub async fn start(
        self: &Arc<Self>,
        actor: Actor,
        action: Action,
        filter: DeadLetterFilter,
        options: Options,
    ) -> Result<Started, Refused> {
        let permit = self.turn().await?;
        let (operations, progress) = (Arc::clone(self), Arc::new(Progress::default()));
        let counted = Arc::clone(&progress);
        let task = tokio::spawn(async move { operations.make(actor, action, filter, options, counted, permit).await });
        Ok(Started { progress, task })
    }

    /// Makes a change to what `filter` selects. [`None`]: it takes longer than a client should wait; see
    /// [`Operations::job`].
    pub async fn make_or_leave(
        self: &Arc<Self>,
        actor: Actor,
        action: Action,
        filter: DeadLetterFilter,
    ) -> Result<Option<Outcome>, Refused> {
        let mut started = self.start(actor, action, filter, Options::default()).await?;
        tokio::time::timeout(ANSWER_WITHIN, started.ended()).await.map_or(Ok(None), |ended| ended.map(Some))
    }

    /// Waits until nothing is under way, for the end of the process.
    pub async fn idle(&self) {
        // Never closed.
        let _ = self.turn.acquire().await;
    }

    async fn make(
        self: Arc<Self>,
        actor: Actor,
        action: Action,
        filter: DeadLetterFilter,
        options: Options,
        progress: Arc<Progress>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Outcome, NotMade<DeadLettersError>> {
        let one = |all: &[String]| if let [one] = all { Some(one.clone()) } else { None };
        let asked = Change {
            actor: actor.clone(),
            action: action.audited(),
            project: one(&filter.projects),
            target: one(&filter.ids),
            detail: Some(filter.to_string()),
        };
        let operations = Arc::clone(&self);
        let making = async move {
            let shown = Arc::clone(&progress);
            let (started, described) = (Timestamp::now(), filter.to_string());
            let job = Job { action, actor, filter: described, started, progress: shown, ended: None };
            operations.job.send_replace(Some(job));
            let Options { rate, to } = options;
            let outcome = match action {
                Action::Replay => operations.dead.replay(&filter, rate, &progress).await,
                Action::Discard => operations.dead.discard(&filter, to.as_deref(), &progress).await,
            }?;
            let mut summary = format!("{} {} events", action.past(), outcome.events);
            if let Some(file) = &outcome.file {
                summary += &format!(", written to {file}");
            }
            Ok(Made { value: outcome, summary })
        };
        let made: Result<Outcome, NotMade<DeadLettersError>> = change(&self.audit, asked, making).await;
        let result = match &made {
            Ok(outcome) => Some(Ok(outcome.clone())),
            Err(NotMade::Failed(error)) => Some(Err(error.clone())),
            Err(NotMade::Broken) => Some(Err(DeadLettersError::Away("a defect of hookbro ended it midway".to_owned()))),
            // It never began.
            Err(NotMade::Unwritten(_)) => None,
        };
        if let Some(result) = result {
            self.job.send_modify(|job| {
                if let Some(job) = job {
                    job.ended = Some((Timestamp::now(), result));
                }
            });
        }
        drop(permit);
        made
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Refused> {
        let turn = Arc::clone(&self.turn).acquire_owned();
        tokio::time::timeout(TURN_TIMEOUT, turn).await.ok().and_then(Result::ok).ok_or(Refused::Busy)
    }
}

#[cfg(test)]
#[path = "operations_tests.rs"]
pub mod tests;
