use super::*;
use std::sync::Mutex as StdMutex;

/// A store that can go away.
#[derive(Default)]
struct FakeStore {
    paused: StdMutex<Paused>,
    away: AtomicBool,
}

impl FakeStore {
    fn stands(&self) -> Result<std::sync::MutexGuard<'_, Paused>, PausesAway> {
        if self.away.load(Ordering::Relaxed) { Err(away()) } else { Ok(self.paused.lock().unwrap()) }
    }
}

fn away() -> PausesAway {
    PausesAway("away".into())
}

impl PauseStore for FakeStore {
    async fn all(&self) -> Result<Paused, PausesAway> {
        self.stands().map(|paused| paused.clone())
    }
    async fn pause(&self, project: &ProjectId, pause: &Pause) -> Result<Paused, PausesAway> {
        self.stands().map(|mut paused| {
            paused.entry(project.clone()).or_insert_with(|| pause.clone());
            paused.clone()
        })
    }
    async fn resume(&self, project: &ProjectId) -> Result<Paused, PausesAway> {
        self.stands().map(|mut paused| {
            paused.remove(project);
            paused.clone()
        })
    }
}

fn pauses() -> Pauses<FakeStore> {
    Pauses::new(FakeStore::default(), Arc::new(Board::new(Arc::new(Metrics::new().unwrap()))))
}

fn pause(by: &str) -> Pause {
    Pause { since: Timestamp::UNIX_EPOCH, identity: by.to_owned(), claimed: None, reason: None }
}

#[tokio::test]
async fn the_first_pause_stands_and_a_resumed_project_is_free() {
    let pauses = pauses();
    let [gigs, dev] = ["gigs", "dev"].map(|id| ProjectId::try_new(id).unwrap());
    assert!(!pauses.board().is_paused(&gigs));
    assert_eq!(pauses.pause(&gigs, &pause("one")).await.unwrap().identity, "one");
    assert_eq!(pauses.pause(&gigs, &pause("two")).await.unwrap().identity, "one");
    assert!(pauses.board().is_paused(&gigs) && !pauses.board().is_paused(&dev));
    assert_eq!(pauses.board().metrics.projects_paused.get(), 1);
    pauses.resume(&gigs).await.unwrap();
    assert!(!pauses.board().is_paused(&gigs));
}

#[tokio::test]
async fn a_store_that_is_away_changes_nothing() {
    let pauses = pauses();
    let gigs = ProjectId::try_new("gigs").unwrap();
    assert!(pauses.board().known().borrow().is_none(), "nothing was heard yet");
    let _ = pauses.pause(&gigs, &pause("one")).await.unwrap();
    pauses.store.away.store(true, Ordering::Relaxed);
    assert_eq!(pauses.refresh().await, Err(away()));
    assert_eq!(pauses.resume(&gigs).await, Err(away()));
    assert!(pauses.board().is_paused(&gigs));
}

#[tokio::test]
async fn whoever_waits_for_a_pause_or_its_end_gets_word() {
    let pauses = pauses();
    let gigs = ProjectId::try_new("gigs").unwrap();
    let board = Arc::clone(pauses.board());
    let waiting = tokio::spawn({
        let gigs = gigs.clone();
        async move { board.until_paused(&gigs).await }
    });
    let _ = pauses.pause(&gigs, &pause("one")).await.unwrap();
    waiting.await.unwrap();
    let board = Arc::clone(pauses.board());
    let waiting = tokio::spawn({
        let gigs = gigs.clone();
        async move { board.until_resumed(&gigs).await }
    });
    pauses.resume(&gigs).await.unwrap();
    waiting.await.unwrap();
}
