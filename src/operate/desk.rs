//! Dead events as operators work on them, whatever they work with: one look or change at a time, a change goes on though
//! nobody waits for it, and is written down. What is asked and how it is answered is known to whoever calls this.
//!
//! A look takes the whole dead queue in hand, so two of one process would only wait for each other; a client that goes away
//! leaves a task that gives everything back.

use super::change::{Made, NotMade, change};
use crate::{
    event::Redaction,
    operate::{
        audit::{Actor, Audit, Change},
        dead::{DeadError, DeadEvents, DeadPage, DeadWhole, Dealt, Progress},
        dead_event::DeadFilter,
    },
};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Longest wait for another look of this process: most take a fraction of a second.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for a change before it is left to go on alone.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Events of one id that are shown: an id is rarely used by two projects.
const SAME_ID: usize = 10;

/// What is done to dead events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Replay,
    Discard,
}

impl Work {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    fn action(self) -> &'static str {
        match self {
            Self::Replay => "dead.replay",
            Self::Discard => "dead.discard",
        }
    }
}

/// The change that is under way, or the last one that was.
#[derive(Debug, Clone)]
pub struct Job {
    pub work: Work,
    pub actor: Actor,
    pub filter: String,
    pub started: Timestamp,
    pub progress: Arc<Progress>,
    pub ended: Option<(Timestamp, Result<Dealt, DeadError>)>,
}

/// Why there is nothing to show.
#[derive(Debug, PartialEq)]
pub enum Refused {
    /// Another look or change of this process takes its time.
    Busy,
    Dead(DeadError),
    NotMade(NotMade<DeadError>),
}

/// Where dead events are dealt with.
#[derive(Debug)]
pub struct Desk<D, A> {
    dead: Arc<D>,
    audit: Arc<A>,
    redaction: Redaction,
    turn: Arc<Semaphore>,
    job: watch::Sender<Option<Job>>,
}

impl<D: DeadEvents, A: Audit> Desk<D, A> {
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

    /// At most `limit` of what `filter` means after the first `skip`, oldest first, and how many there are.
    pub async fn page(&self, filter: DeadFilter, skip: u64, limit: usize) -> Result<DeadPage, Refused> {
        let dead = Arc::clone(&self.dead);
        self.look(async move { dead.page(&filter, skip, limit).await }).await
    }

    /// How many `filter` means.
    pub async fn count(&self, filter: DeadFilter) -> Result<u64, Refused> {
        self.page(filter, 0, 0).await.map(|page| page.total)
    }

    /// Everything of the events with this id; none if there are none.
    pub async fn whole(&self, id: String) -> Result<Vec<DeadWhole>, Refused> {
        let dead = Arc::clone(&self.dead);
        let filter = DeadFilter { ids: vec![id], ..DeadFilter::default() };
        self.look(async move { dead.whole(&filter, SAME_ID).await }).await
    }

    /// Makes a change to what `filter` means. [`None`]: it takes longer than anybody should wait; see [`Desk::job`].
    pub async fn work(
        self: &Arc<Self>,
        actor: Actor,
        work: Work,
        filter: DeadFilter,
    ) -> Result<Option<Dealt>, Refused> {
        let permit = self.turn().await?;
        let desk = Arc::clone(self);
        let task = tokio::spawn(async move { desk.make(actor, work, filter, permit).await });
        match tokio::time::timeout(ANSWER_WITHIN, task).await {
            Ok(Ok(made)) => made.map(Some).map_err(Refused::NotMade),
            Ok(Err(_)) => Err(Refused::NotMade(NotMade::Broken)),
            Err(_) => Ok(None),
        }
    }

    /// Waits until nothing is under way, for the end of the process.
    pub async fn idle(&self) {
        // Never closed.
        let _ = self.turn.acquire().await;
    }

    async fn make(
        self: Arc<Self>,
        actor: Actor,
        work: Work,
        filter: DeadFilter,
        permit: OwnedSemaphorePermit,
    ) -> Result<Dealt, NotMade<DeadError>> {
        let one = |all: &[String]| if let [one] = all { Some(one.clone()) } else { None };
        let asked = Change {
            actor: actor.clone(),
            action: work.action(),
            project: one(&filter.projects),
            target: one(&filter.ids),
            detail: Some(filter.to_string()),
        };
        let (desk, progress) = (Arc::clone(&self), Arc::new(Progress::default()));
        let making = async move {
            let started = Timestamp::now();
            let job = Job { work, actor, filter: filter.to_string(), started, progress, ended: None };
            let progress = Arc::clone(&job.progress);
            desk.job.send_replace(Some(job));
            let dealt = match work {
                Work::Replay => desk.dead.replay(&filter, &progress).await,
                Work::Discard => desk.dead.discard(&filter, &progress).await,
            }?;
            let said = match (&dealt.file, work) {
                (Some(file), _) => format!("discarded {} events, written to {file}", dealt.events),
                (None, Work::Discard) => format!("discarded {} events", dealt.events),
                (None, Work::Replay) => format!("replayed {} events", dealt.events),
            };
            Ok(Made { value: dealt, said })
        };
        let made: Result<Dealt, NotMade<DeadError>> = change(&self.audit, asked, making).await;
        let result = match &made {
            Ok(dealt) => Some(Ok(dealt.clone())),
            Err(NotMade::Failed(error)) => Some(Err(error.clone())),
            Err(NotMade::Broken) => Some(Err(DeadError::Away("a defect of hookbro ended it midway".to_owned()))),
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

    /// Looks as a task, which keeps the turn until everything is given back.
    async fn look<T: Send + 'static>(
        &self,
        look: impl Future<Output = Result<T, DeadError>> + Send + 'static,
    ) -> Result<T, Refused> {
        let permit = self.turn().await?;
        let task = tokio::spawn(async move {
            let looked = look.await;
            drop(permit);
            looked
        });
        match task.await {
            Ok(looked) => looked.map_err(Refused::Dead),
            Err(_) => Err(Refused::NotMade(NotMade::Broken)),
        }
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
pub mod tests;
