use super::*;
use crate::{
    event::DeadReason,
    operate::{
        audit::{Identity, Unwritten},
        change::tests::Fake as FakeAudit,
        dead_letters::DeadLetter,
    },
};
use bytes::Bytes;
use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// A dead-letter queue in memory, whose reads may be stalled.
#[derive(Debug, Default)]
pub(crate) struct FakeDead {
    pub events: Mutex<Vec<DeadLetter>>,
    pub replayed: AtomicUsize,
    /// While set, whoever reads waits for `go`.
    pub stalled: bool,
    pub go: Notify,
}

impl FakeDead {
    fn among(&self, filter: &DeadLetterFilter) -> Vec<DeadLetter> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| filter.matches(event)).cloned().collect()
    }

    fn take(&self, filter: &DeadLetterFilter) -> u64 {
        let taken = self.among(filter).len() as u64;
        self.events.lock().unwrap_or_else(PoisonError::into_inner).retain(|event| !filter.matches(event));
        taken
    }

    async fn wait(&self) {
        if self.stalled {
            self.go.notified().await;
        }
    }
}

impl DeadLetters for FakeDead {
    async fn browse(
        &self,
        filter: &DeadLetterFilter,
        mut visit: impl FnMut(Browsed<'_>) -> ControlFlow<()> + Send,
    ) -> Result<(), DeadLettersError> {
        self.wait().await;
        let properties = || serde_json::json!({"headers": {"Email": "hunter2"}});
        for letter in self.among(filter) {
            if visit(Browsed::new(&letter, &properties)).is_break() {
                break;
            }
        }
        Ok(())
    }

    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        _: Option<NonZeroU32>,
        progress: &Progress,
    ) -> Result<Outcome, DeadLettersError> {
        self.wait().await;
        progress.examine();
        let events = self.take(filter);
        self.replayed.fetch_add(usize::try_from(events).unwrap_or_default(), Ordering::SeqCst);
        Ok(Outcome { events, file: None })
    }

    async fn discard(
        &self,
        filter: &DeadLetterFilter,
        to: Option<&Path>,
        _: &Progress,
    ) -> Result<Outcome, DeadLettersError> {
        if filter.projects == ["full"] {
            return Err(DeadLettersError::File("the disk is full".to_owned()));
        }
        Ok(Outcome {
            events: self.take(filter),
            file: Some(to.map_or("gone.ndjson".to_owned(), |to| to.display().to_string())),
        })
    }
}

pub(crate) fn event(id: &str, project: &str) -> DeadLetter {
    DeadLetter {
        id: Some(id.to_owned()),
        project: Some(project.to_owned()),
        kind: Some("t".to_owned()),
        reason: DeadReason::Refused,
        detail: None,
        attempts: Some(1),
        status: Some(422),
        failed_at: None,
        replayed: 0,
        routing_key: format!("{project}.t"),
        body: Bytes::from_static(br#"{"data":{"email":"hunter2","n":7}}"#),
    }
}

pub(crate) fn operations(dead: FakeDead, audit: FakeAudit) -> Arc<Operations<FakeDead, FakeAudit>> {
    let redaction = Redaction::try_new(["email"]).unwrap();
    for (id, project) in [("evt_1", "a"), ("evt_2", "a"), ("evt_3", "b")] {
        dead.events.lock().unwrap_or_else(PoisonError::into_inner).push(event(id, project));
    }
    Arc::new(Operations::new(dead, Arc::new(audit), redaction))
}

fn of(project: &str) -> DeadLetterFilter {
    DeadLetterFilter { projects: vec![project.to_owned()], ..DeadLetterFilter::default() }
}

fn local() -> Actor {
    Actor::new(Identity::Local)
}

#[tokio::test]
async fn a_change_is_made_once_and_written_down() {
    let operations = operations(FakeDead::default(), FakeAudit::default());
    assert_eq!(operations.count(of("a")).await, Ok(2));
    let replayed = operations.make_or_leave(local(), Action::Replay, of("a")).await;
    assert_eq!(replayed, Ok(Some(Outcome { events: 2, file: None })));
    assert_eq!(operations.count(DeadLetterFilter::default()).await, Ok(1));
    let failed = operations.make_or_leave(local(), Action::Discard, of("full")).await;
    let full = DeadLettersError::File("the disk is full".to_owned());
    assert_eq!(failed, Err(Refused::NotMade(NotMade::Failed(full.clone()))));
    assert_eq!(operations.job().unwrap().ended.unwrap().1, Err(full));
    let rows = ["local dead.replay", "1 done: replayed 2 events", "local dead.discard"];
    assert_eq!(operations.audit.rows()[..3], rows);
}

#[tokio::test]
async fn what_cannot_be_written_down_leaves_every_event_where_it_lies() {
    let operations = operations(FakeDead::default(), FakeAudit { away: true, ..FakeAudit::default() });
    let refused = operations.make_or_leave(local(), Action::Discard, DeadLetterFilter::default()).await;
    assert_eq!(refused, Err(Refused::NotMade(NotMade::Unwritten(Unwritten::Away))));
    assert_eq!(operations.count(DeadLetterFilter::default()).await, Ok(3));
    assert!(operations.job().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_long_change_goes_on_alone_and_others_are_asked_to_come_again() {
    let operations = operations(FakeDead { stalled: true, ..FakeDead::default() }, FakeAudit::default());
    assert_eq!(operations.make_or_leave(local(), Action::Replay, DeadLetterFilter::default()).await, Ok(None));
    assert!(operations.job().unwrap().ended.is_none());
    assert_eq!(operations.count(of("a")).await, Err(Refused::Busy));
    assert_eq!(operations.make_or_leave(local(), Action::Discard, of("a")).await, Err(Refused::Busy));
    operations.dead.go.notify_one();
    operations.idle().await;
    assert_eq!(operations.job().unwrap().ended.unwrap().1, Ok(Outcome { events: 3, file: None }));
    assert_eq!(operations.dead.replayed.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_does_not_take_the_turn_along() {
    let operations = operations(FakeDead { stalled: true, ..FakeDead::default() }, FakeAudit::default());
    assert!(tokio::time::timeout(Duration::from_millis(5), operations.count(of("a"))).await.is_err());
    assert_eq!(
        operations.count(of("a")).await,
        Err(Refused::Busy),
        "the read that nobody waits for is still under way"
    );
    operations.dead.go.notify_one();
    operations.idle().await;
}
