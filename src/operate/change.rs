//! A change: written down, made, its ending written down. What is asked and how it is answered, JSON or a page, is known to
//! whoever calls this.
//!
//! It runs as a task of its own: a client that goes away ends neither the change nor what is written of it.

use crate::operate::audit::{Audit, Change, Ending, Unwritten};
use std::{fmt::Display, sync::Arc};

/// What a change that was made came to, and one line about it for the audit: no secret, no body.
#[derive(Debug)]
pub struct Made<T> {
    pub value: T,
    pub summary: String,
}

/// Why there is nothing to show for a change.
#[derive(Debug, PartialEq)]
pub enum NotMade<E> {
    /// It could not be written down, so nothing was done.
    Unwritten(Unwritten),
    /// It was tried, and failed wholly or in part.
    Failed(E),
    /// A defect of hookbro's ended it midway.
    Broken,
}

/// Makes the change unless it cannot be written down. `make` is bounded in time by whoever wrote it.
pub async fn change<A, T, E>(
    audit: &Arc<A>,
    change: Change,
    make: impl Future<Output = Result<Made<T>, E>> + Send + 'static,
) -> Result<T, NotMade<E>>
where
    A: Audit,
    T: Send + 'static,
    E: Display + Send + 'static,
{
    let audit = Arc::clone(audit);
    let task = tokio::spawn(async move {
        let entry = audit.begin(&change).await.map_err(NotMade::Unwritten)?;
        // Within a task, so that a panic is an ending too.
        let (ending, detail, made) = match tokio::spawn(make).await {
            Ok(Ok(Made { value, summary })) => (Ending::Done, summary, Ok(value)),
            Ok(Err(error)) => (Ending::Failed, error.to_string(), Err(NotMade::Failed(error))),
            Err(_) => (Ending::Failed, "a defect of hookbro ended it midway".to_owned(), Err(NotMade::Broken)),
        };
        let Change { actor, action, project, target, .. } = &change;
        let (who, claimed) = (actor.identity.to_string(), actor.claimed());
        let outcome = ending.as_str();
        tracing::info!(
            actor.identity = who,
            actor.claimed = claimed,
            action,
            project,
            target,
            outcome,
            detail,
            "operator's change ended"
        );
        if let Err(error) = audit.end(entry, ending, &detail).await {
            // It is made, and is in the audit without an ending: the line above has it.
            tracing::error!(%error, action, outcome, "end of an operator's change could not be written to the audit");
        }
        made
    });
    task.await.unwrap_or(Err(NotMade::Broken))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::operate::{
        audit::{Actor, AuditEntry, AuditPage, AuditQuery, Identity},
        timeline::Unread,
    };
    use std::{
        convert::Infallible,
        sync::{Mutex, PoisonError},
    };

    /// An audit in memory, or one that cannot be written.
    #[derive(Debug, Default)]
    pub(crate) struct Fake {
        pub rows: Mutex<Vec<String>>,
        pub away: bool,
    }

    impl Fake {
        fn push(&self, row: String) -> Result<AuditEntry, Unwritten> {
            if self.away {
                return Err(Unwritten::Away);
            }
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            rows.push(row);
            Ok(AuditEntry(i64::try_from(rows.len()).unwrap_or_default()))
        }

        pub(crate) fn rows(&self) -> Vec<String> {
            self.rows.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl Audit for Fake {
        async fn begin(&self, change: &Change) -> Result<AuditEntry, Unwritten> {
            self.push(format!("{} {}", change.actor.identity, change.action))
        }

        async fn end(&self, entry: AuditEntry, ending: Ending, detail: &str) -> Result<(), Unwritten> {
            self.push(format!("{} {}: {detail}", entry.0, ending.as_str())).map(drop)
        }

        async fn changes(&self, _: &AuditQuery) -> Result<AuditPage, Unread> {
            Ok(AuditPage::default())
        }
    }

    fn asked() -> Change {
        let actor = Actor::new(Identity::Local);
        Change { actor, action: "test.change", project: None, target: None, detail: None }
    }

    async fn made() -> Result<Made<u8>, Infallible> {
        Ok(Made { value: 7, summary: "seven".to_owned() })
    }

    #[tokio::test]
    async fn a_change_is_written_down_before_and_after_it_is_made() {
        let audit = Arc::new(Fake::default());
        assert_eq!(change(&audit, asked(), made()).await, Ok(7));
        let failed = change(&audit, asked(), async { Err::<Made<u8>, _>("refused by somebody") }).await;
        assert_eq!(failed, Err(NotMade::Failed("refused by somebody")));
        let expected = ["local test.change", "1 done: seven", "local test.change", "3 failed: refused by somebody"];
        assert_eq!(audit.rows(), expected);
    }

    #[tokio::test]
    async fn what_cannot_be_written_down_is_not_made() {
        let audit = Arc::new(Fake { away: true, ..Fake::default() });
        let make = async { panic!("made though nobody knows") };
        let refused: Result<u8, NotMade<Infallible>> = change(&audit, asked(), make).await;
        assert_eq!(refused, Err(NotMade::Unwritten(Unwritten::Away)));
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_neither_the_change_nor_its_record() {
        let audit = Arc::new(Fake::default());
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let asked = change(&audit, asked(), async move {
            let _ = gone.await;
            made().await
        });
        assert!(tokio::time::timeout(std::time::Duration::from_millis(50), asked).await.is_err());
        drop(go);
        while audit.rows().len() < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(audit.rows()[1], "1 done: seven");
    }

    #[tokio::test]
    async fn a_defect_is_an_ending_too() {
        let audit = Arc::new(Fake::default());
        let broken: Result<u8, NotMade<Infallible>> = change(&audit, asked(), async { panic!("on purpose") }).await;
        assert_eq!(broken, Err(NotMade::Broken));
        assert_eq!(audit.rows()[1], "1 failed: a defect of hookbro ended it midway");
    }
}
