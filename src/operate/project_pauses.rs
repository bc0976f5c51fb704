//! Pausing and resuming a project, whatever it is asked with: which orders are taken, and what is written down of them.

use super::change::{Made, NotMade, change};
use crate::{
    event::ProjectId,
    operate::audit::{Actor, Audit, Change},
    pipeline::pauses::{MOST_PAUSED, Pause, PauseStore, Paused, Pauses, PausesAway},
};
use jiff::Timestamp;
use std::sync::Arc;

/// Longest reason, in characters: a line to read.
pub const MAX_REASON: usize = 200;

/// Where projects are paused and resumed.
#[derive(Debug)]
pub struct Operations<P, A> {
    pauses: Arc<Pauses<P>>,
    audit: Arc<A>,
}

/// Why an order was not carried out.
#[derive(Debug)]
pub enum PauseError {
    /// Its reason is no line to read.
    Reason,
    /// As many are paused as may be.
    Full,
    NotMade(NotMade<PausesAway>),
}

/// Why a project is paused or resumed: one line, or nothing.
#[derive(Debug, Clone)]
struct Reason(Option<String>);

impl Reason {
    fn of(given: Option<String>) -> Result<Self, PauseError> {
        let wrong = |text: &String| text.chars().count() > MAX_REASON || text.chars().any(char::is_control);
        match given.filter(|text| !text.is_empty()) {
            Some(text) if wrong(&text) => Err(PauseError::Reason),
            reason => Ok(Self(reason)),
        }
    }
}

impl<P: PauseStore, A: Audit> Operations<P, A> {
    pub fn new(pauses: Arc<Pauses<P>>, audit: Arc<A>) -> Self {
        Self { pauses, audit }
    }

    /// Those in force, from where they are kept.
    pub async fn paused(&self) -> Result<Arc<Paused>, PausesAway> {
        self.pauses.refresh().await
    }

    /// Answers the pause that is in force then, which may be an older one.
    pub async fn pause(&self, actor: Actor, project: &ProjectId, reason: Option<String>) -> Result<Pause, PauseError> {
        let reason = Reason::of(reason)?;
        let known = self.pauses.board().paused();
        if known.len() >= MOST_PAUSED && !known.contains_key(project) {
            return Err(PauseError::Full);
        }
        let wanted = Pause {
            // As exact as it is kept, so that it is known again.
            since: Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default(),
            identity: actor.identity.to_string(),
            claimed: actor.claimed().map(str::to_owned),
            reason: reason.0.clone(),
        };
        let (pauses, of) = (Arc::clone(&self.pauses), project.clone());
        let make = async move {
            let pause = pauses.pause(&of, &wanted).await?;
            let summary = if pause == wanted { "paused" } else { "it was paused already" };
            Ok(Made { value: pause, summary: summary.to_owned() })
        };
        change(&self.audit, asked(actor, "project.pause", project, reason), make).await.map_err(PauseError::NotMade)
    }

    pub async fn resume(&self, actor: Actor, project: &ProjectId, reason: Option<String>) -> Result<(), PauseError> {
        let reason = Reason::of(reason)?;
        let (pauses, of) = (Arc::clone(&self.pauses), project.clone());
        let make = async move {
            pauses.resume(&of).await?;
            Ok(Made { value: (), summary: "resumed".to_owned() })
        };
        change(&self.audit, asked(actor, "project.resume", project, reason), make).await.map_err(PauseError::NotMade)
    }
}

fn asked(actor: Actor, action: &'static str, project: &ProjectId, reason: Reason) -> Change {
    Change { actor, action, project: Some(project.to_string()), target: None, detail: reason.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        observe::metrics::Metrics,
        operate::{audit::Identity, change::tests::Fake},
        pipeline::pauses::Board,
    };
    use std::sync::Mutex;

    /// A store in memory.
    #[derive(Default)]
    struct Stored(Mutex<Paused>);

    impl PauseStore for Stored {
        async fn all(&self) -> Result<Paused, PausesAway> {
            Ok(self.0.lock().unwrap().clone())
        }

        async fn pause(&self, project: &ProjectId, pause: &Pause) -> Result<Paused, PausesAway> {
            self.0.lock().unwrap().entry(project.clone()).or_insert_with(|| pause.clone());
            self.all().await
        }

        async fn resume(&self, project: &ProjectId) -> Result<Paused, PausesAway> {
            self.0.lock().unwrap().remove(project);
            self.all().await
        }
    }

    #[tokio::test]
    async fn a_pause_and_its_end_are_written_down_and_a_reason_that_is_no_line_changes_nothing() {
        let (audit, board) = (Arc::new(Fake::default()), Arc::new(Board::new(Arc::new(Metrics::new().unwrap()))));
        let operations =
            Operations::new(Arc::new(Pauses::new(Stored::default(), Arc::clone(&board))), Arc::clone(&audit));
        let (gigs, local) = (ProjectId::try_new("gigs").unwrap(), || Actor::new(Identity::Local));
        for wrong in ["ü".repeat(MAX_REASON + 1), "two\nlines".to_owned()] {
            let (pause, resume) = (Some(wrong.clone()), Some(wrong));
            assert!(matches!(operations.pause(local(), &gigs, pause).await, Err(PauseError::Reason)));
            assert!(matches!(operations.resume(local(), &gigs, resume).await, Err(PauseError::Reason)));
        }
        assert!(audit.rows().is_empty() && !board.is_paused(&gigs));
        let longest = "ü".repeat(MAX_REASON);
        let first = operations.pause(local(), &gigs, Some(longest.clone())).await.unwrap();
        assert_eq!(first.reason, Some(longest));
        assert_eq!(operations.pause(local(), &gigs, Some(String::new())).await.unwrap(), first);
        assert!(board.is_paused(&gigs));
        operations.resume(local(), &gigs, None).await.unwrap();
        assert!(!board.is_paused(&gigs));
        let expected = [
            ("local project.pause", "1 done: paused"),
            ("local project.pause", "3 done: it was paused already"),
            ("local project.resume", "5 done: resumed"),
        ];
        assert_eq!(audit.rows(), expected.map(|(asked, ended)| [asked, ended]).concat());
    }
}
