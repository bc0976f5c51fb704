use super::*;
use crate::{
    event::DeadReason,
    operate::{
        audit::{Identity, Unwritten},
        change::tests::Fake as FakeAudit,
        dead_event::DeadEvent,
    },
};
use bytes::Bytes;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Notify;

/// A dead queue in memory, whose looks may be held up.
#[derive(Debug, Default)]
pub(crate) struct FakeDead {
    pub events: Mutex<Vec<DeadEvent>>,
    pub replayed: AtomicUsize,
    /// While set, whoever looks waits for `go`.
    pub held: bool,
    pub go: Notify,
}

impl FakeDead {
    fn among(&self, filter: &DeadFilter) -> Vec<DeadEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| filter.matches(event)).cloned().collect()
    }

    fn take(&self, filter: &DeadFilter) -> u64 {
        let taken = self.among(filter).len() as u64;
        self.events.lock().unwrap_or_else(PoisonError::into_inner).retain(|event| !filter.matches(event));
        taken
    }

    async fn wait(&self) {
        if self.held {
            self.go.notified().await;
        }
    }
}

impl DeadEvents for FakeDead {
    async fn page(&self, filter: &DeadFilter, skip: u64, limit: usize) -> Result<DeadPage, DeadError> {
        self.wait().await;
        let all = self.among(filter);
        let total = all.len() as u64;
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let events = all.into_iter().skip(skip).take(limit).map(crate::operate::dead::DeadLine::of).collect();
        Ok(DeadPage { events, total })
    }

    async fn whole(&self, filter: &DeadFilter, limit: usize) -> Result<Vec<DeadWhole>, DeadError> {
        let properties = serde_json::json!({"headers": {"Email": "hunter2"}});
        let whole = |event| DeadWhole { event, properties: properties.clone() };
        Ok(self.among(filter).into_iter().take(limit).map(whole).collect())
    }

    async fn replay(&self, filter: &DeadFilter, progress: &Progress) -> Result<Dealt, DeadError> {
        self.wait().await;
        progress.look();
        let events = self.take(filter);
        self.replayed.fetch_add(usize::try_from(events).unwrap_or_default(), Ordering::SeqCst);
        Ok(Dealt { events, file: None })
    }

    async fn discard(&self, filter: &DeadFilter, _: &Progress) -> Result<Dealt, DeadError> {
        if filter.projects == ["full"] {
            return Err(DeadError::File("the disk is full".to_owned()));
        }
        Ok(Dealt { events: self.take(filter), file: Some("gone.ndjson".to_owned()) })
    }
}

pub(crate) fn event(id: &str, project: &str) -> DeadEvent {
    DeadEvent {
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

pub(crate) fn desk(dead: FakeDead, audit: FakeAudit) -> Arc<Desk<FakeDead, FakeAudit>> {
    let redaction = Redaction::try_new(["email"]).unwrap();
    for (id, project) in [("evt_1", "a"), ("evt_2", "a"), ("evt_3", "b")] {
        dead.events.lock().unwrap_or_else(PoisonError::into_inner).push(event(id, project));
    }
    Arc::new(Desk::new(dead, Arc::new(audit), redaction))
}

fn of(project: &str) -> DeadFilter {
    DeadFilter { projects: vec![project.to_owned()], ..DeadFilter::default() }
}

fn local() -> Actor {
    Actor::new(Identity::Local)
}

#[tokio::test]
async fn a_change_is_made_once_and_written_down() {
    let desk = desk(FakeDead::default(), FakeAudit::default());
    assert_eq!(desk.count(of("a")).await, Ok(2));
    let replayed = desk.work(local(), Work::Replay, of("a")).await;
    assert_eq!(replayed, Ok(Some(Dealt { events: 2, file: None })));
    assert_eq!(desk.count(DeadFilter::default()).await, Ok(1));
    let failed = desk.work(local(), Work::Discard, of("full")).await;
    let full = DeadError::File("the disk is full".to_owned());
    assert_eq!(failed, Err(Refused::NotMade(NotMade::Failed(full.clone()))));
    assert_eq!(desk.job().unwrap().ended.unwrap().1, Err(full));
    let rows = ["local dead.replay", "1 done: replayed 2 events", "local dead.discard"];
    assert_eq!(desk.audit.rows()[..3], rows);
}

#[tokio::test]
async fn what_cannot_be_written_down_leaves_every_event_where_it_lies() {
    let desk = desk(FakeDead::default(), FakeAudit { away: true, ..FakeAudit::default() });
    let refused = desk.work(local(), Work::Discard, DeadFilter::default()).await;
    assert_eq!(refused, Err(Refused::NotMade(NotMade::Unwritten(Unwritten::Away))));
    assert_eq!(desk.count(DeadFilter::default()).await, Ok(3));
    assert!(desk.job().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_long_change_goes_on_alone_and_others_are_told_to_come_again() {
    let desk = desk(FakeDead { held: true, ..FakeDead::default() }, FakeAudit::default());
    assert_eq!(desk.work(local(), Work::Replay, DeadFilter::default()).await, Ok(None));
    assert!(desk.job().unwrap().ended.is_none());
    assert_eq!(desk.count(of("a")).await, Err(Refused::Busy));
    assert_eq!(desk.work(local(), Work::Discard, of("a")).await, Err(Refused::Busy));
    desk.dead.go.notify_one();
    desk.idle().await;
    assert_eq!(desk.job().unwrap().ended.unwrap().1, Ok(Dealt { events: 3, file: None }));
    assert_eq!(desk.dead.replayed.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_away_does_not_take_the_turn_along() {
    let desk = desk(FakeDead { held: true, ..FakeDead::default() }, FakeAudit::default());
    assert!(tokio::time::timeout(Duration::from_millis(5), desk.count(of("a"))).await.is_err());
    assert_eq!(desk.count(of("a")).await, Err(Refused::Busy), "the look that nobody waits for is still under way");
    desk.dead.go.notify_one();
    desk.idle().await;
}
