//! Parked events as operators see and move them: listed by destination, released, given up.
//!
//! [`ParkedEvents`] is what an adapter must be able to do. [`Operations`] is what every front end does with it.

use super::{
    api_types::{MAX_MOVED, ParkedLot},
    change::{Made, NotMade, change},
    progress::Progress,
    sanitize::Plain,
};
use crate::{
    event::{Cause, ParkReason, ProjectId},
    operate::audit::{Actor, Audit, Change},
};
use jiff::Timestamp;
use std::{fmt, sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest wait for whoever reads or moves parked events in this process: each has a connection of its own.
const TURN_TIMEOUT: Duration = Duration::from_secs(5);

/// Events that a running hookbro moves for one request, beside its deliveries.
pub const MOST_AT_ONCE: u64 = MAX_MOVED;

/// Shown wherever parked events are released.
pub const PARKED_AGAIN: &str = "an event whose project is paused, or whose application still fails, is parked again";

/// What is done to parked events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// They are tried now, as new events are.
    Release,
    /// They become dead letters.
    GiveUp,
}

impl Action {
    /// As in "would … 7 events".
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::GiveUp => "give up",
        }
    }

    /// As in "7 events were …".
    pub fn past(self) -> &'static str {
        match self {
            Self::Release => "released",
            Self::GiveUp => "given up",
        }
    }

    /// The word of the audit.
    fn audited(self) -> &'static str {
        match self {
            Self::Release => "parked.release",
            Self::GiveUp => "parked.give_up",
        }
    }
}

/// The parked events of one destination, or of all that have no place of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lot {
    /// None: they are of several projects.
    pub project: Option<ProjectId>,
    pub events: u64,
    /// Since when the oldest has been parked, if that is known.
    pub since: Option<Timestamp>,
    /// Why the oldest was parked, if that is known.
    pub reason: Option<ParkReason>,
}

impl Lot {
    pub fn record(&self) -> ParkedLot {
        ParkedLot {
            project: self.project.as_ref().map(|project| Plain::new(project.as_str())),
            events: self.events,
            since: self.since,
            reason: self.reason.map(|reason| Plain::new(reason.as_str())),
        }
    }
}

/// Which parked events a change is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Those of these projects; empty: of all.
    pub projects: Vec<ProjectId>,
    /// So many at most, the oldest of each project first.
    pub limit: Option<u64>,
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.projects.as_slice() {
            [] => f.write_str("all")?,
            projects => {
                f.write_str("project")?;
                projects.iter().try_for_each(|project| write!(f, " {project}"))?;
            }
        }
        self.limit.map_or(Ok(()), |limit| write!(f, ", at most {limit}"))
    }
}

/// Where the events go, and why.
#[derive(Debug, Clone)]
pub enum Onward {
    Release,
    GiveUp(Cause),
}

/// Why parked events are not shown, or not all moved. Whatever it is, none is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParkedError {
    #[error("{0}")]
    Away(String),
    #[error("another request is reading or moving parked events; try again")]
    Busy,
    #[error("{why}; {done} events were {} before that, the others are still parked: ask again for them", action.past())]
    Midway { action: Action, done: u64, why: String },
}

/// The parked events, wherever they lie. What is begun must be polled to its end: whoever may go away runs it as a task.
pub trait ParkedEvents: Send + Sync + 'static {
    /// Every destination that has any.
    fn lots(&self) -> impl Future<Output = Result<Vec<Lot>, ParkedError>> + Send;

    /// How many are selected.
    fn count(&self, selection: &Selection) -> impl Future<Output = Result<u64, ParkedError>> + Send;

    /// Moves what is selected, oldest first, each confirmed where it goes before it leaves; answers how many.
    fn send(
        &self,
        onward: &Onward,
        selection: &Selection,
        progress: &Progress,
    ) -> impl Future<Output = Result<u64, ParkedError>> + Send;
}

/// The operations on parked events.
#[derive(Debug)]
pub struct Operations<P, A> {
    parked: Arc<P>,
    audit: Arc<A>,
    turn: Arc<Semaphore>,
}

impl<P: ParkedEvents, A: Audit> Operations<P, A> {
    pub fn new(parked: P, audit: Arc<A>) -> Self {
        Self { parked: Arc::new(parked), audit, turn: Arc::new(Semaphore::new(1)) }
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, ParkedError> {
        let turn = Arc::clone(&self.turn).acquire_owned();
        tokio::time::timeout(TURN_TIMEOUT, turn).await.ok().and_then(Result::ok).ok_or(ParkedError::Busy)
    }

    /// Every destination that has parked events, the one with most of them first.
    pub async fn lots(&self) -> Result<Vec<Lot>, ParkedError> {
        let _turn = self.turn().await?;
        let mut lots = self.parked.lots().await?;
        lots.sort_by(|one, other| other.events.cmp(&one.events).then_with(|| one.project.cmp(&other.project)));
        Ok(lots)
    }

    pub async fn count(&self, selection: &Selection) -> Result<u64, ParkedError> {
        let _turn = self.turn().await?;
        self.parked.count(selection).await
    }

    /// Makes a change, which goes on though nobody waits for it; answers how many events were moved.
    pub async fn make(
        &self,
        actor: Actor,
        action: Action,
        selection: Selection,
        progress: Arc<Progress>,
    ) -> Result<u64, NotMade<ParkedError>> {
        let project = if let [one] = selection.projects.as_slice() { Some(one.to_string()) } else { None };
        let onward = match action {
            Action::Release => Onward::Release,
            Action::GiveUp => Onward::GiveUp(decided(&actor)),
        };
        let asked =
            Change { actor, action: action.audited(), project, target: None, detail: Some(selection.to_string()) };
        let turn = self.turn().await.map_err(NotMade::Failed)?;
        let parked = Arc::clone(&self.parked);
        let making = async move {
            let _turn = turn;
            let events = parked.send(&onward, &selection, &progress).await?;
            Ok(Made { value: events, summary: format!("{events} events were {}", action.past()) })
        };
        change(&self.audit, asked, making).await
    }
}

/// Why events are given up that an operator has decided about.
fn decided(actor: &Actor) -> Cause {
    let claimed = actor.claimed().map_or_else(String::new, |name| format!(" ({name})"));
    Cause { status: None, detail: format!("given up by an operator, {}{claimed}", actor.identity) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::{audit::Identity, change::tests::Fake};
    use std::sync::Mutex;

    /// What was asked of it.
    #[derive(Default)]
    struct Lots(Mutex<Vec<String>>);

    fn project(name: &str) -> ProjectId {
        ProjectId::try_new(name.to_owned()).unwrap()
    }

    impl ParkedEvents for Arc<Lots> {
        async fn lots(&self) -> Result<Vec<Lot>, ParkedError> {
            let lot =
                |name: Option<&str>, events| Lot { project: name.map(project), events, since: None, reason: None };
            Ok(vec![lot(Some("few"), 1), lot(Some("b"), 7), lot(Some("a"), 7), lot(None, 9)])
        }

        async fn count(&self, _: &Selection) -> Result<u64, ParkedError> {
            Ok(7)
        }

        async fn send(&self, onward: &Onward, selection: &Selection, _: &Progress) -> Result<u64, ParkedError> {
            let to = match onward {
                Onward::Release => "released".to_owned(),
                Onward::GiveUp(cause) => cause.detail.clone(),
            };
            self.0.lock().unwrap().push(format!("{selection}: {to}"));
            match selection.limit {
                Some(0) => Err(ParkedError::Midway { action: Action::GiveUp, done: 3, why: "it fell over".into() }),
                _ => Ok(7),
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_reads_or_moves_at_a_time_and_who_waits_too_long_is_refused() {
        let operations = Operations::new(Arc::new(Lots::default()), Arc::new(Fake::default()));
        let turn = operations.turn().await.unwrap();
        assert_eq!(operations.count(&Selection::default()).await, Err(ParkedError::Busy));
        let actor = Actor::new(Identity::Local);
        let made = operations.make(actor, Action::Release, Selection::default(), Arc::default()).await;
        assert_eq!(made, Err(NotMade::Failed(ParkedError::Busy)));
        drop(turn);
        assert_eq!(operations.count(&Selection::default()).await, Ok(7));
    }

    #[tokio::test]
    async fn a_change_is_audited_and_a_dead_letter_names_who_decided() {
        let (lots, audit) = (Arc::new(Lots::default()), Arc::new(Fake::default()));
        let operations = Operations::new(Arc::clone(&lots), Arc::clone(&audit));
        let named: Vec<_> =
            operations.lots().await.unwrap().into_iter().map(|lot| lot.project.map(|p| p.to_string())).collect();
        assert_eq!(named, [None, Some("a".into()), Some("b".into()), Some("few".into())], "most of them first");
        let actor = || Actor::new(Identity::CommandLine("root".into())).claiming("anna").unwrap();
        let one = Selection { projects: vec![project("gigs")], limit: None };
        let none = Selection { limit: Some(0), ..one.clone() };
        for (action, selection, made) in [
            (Action::Release, Selection::default(), Ok(7)),
            (Action::GiveUp, one, Ok(7)),
            (
                Action::GiveUp,
                none,
                Err(
                    "it fell over; 3 events were given up before that, the others are still parked: ask again for them",
                ),
            ),
        ] {
            let done = operations.make(actor(), action, selection, Arc::default()).await;
            let done = done.map_err(|not_made| match not_made {
                NotMade::Failed(error) => error.to_string(),
                other => panic!("{other:?}"),
            });
            assert_eq!(done, made.map_err(str::to_owned));
        }
        let expected = [
            "all: released",
            "project gigs: given up by an operator, cli:root (anna)",
            "project gigs, at most 0: given up by an operator, cli:root (anna)",
        ];
        assert_eq!(*lots.0.lock().unwrap(), expected);
        let rows = audit.rows();
        assert_eq!(rows[..3], ["cli:root parked.release", "1 done: 7 events were released", "cli:root parked.give_up"]);
        assert!(rows[5].starts_with("5 failed: it fell over; 3 events"), "{rows:?}");
    }
}
