//! Lots in memory, a scripted sink and a clock that the test turns: what has been parked for too long is given up, whatever keeps
//! it from being sent.

use super::*;
use crate::{
    event::{Attempt, HaltReason, ProjectId, Verdict},
    observe::{health::Health, metrics::Metrics, projects::ProjectCounts, trace::Trace},
    pipeline::{
        announcements::Announcements,
        delivery::{Delivery, Message, Receipt, Unsettled},
        destinations::Destinations,
        fake_sink::{FakeSink, accepted, cause},
        halt::{Halt, Standing},
        journal::Recorder,
        pacer::Pacer,
        pauses::{Board, Pause, Paused},
        source::Demand,
    },
    process::stop::Stop,
};
use bytes::Bytes;
use jiff::SignedDuration;
use std::{collections::VecDeque, time::SystemTime};

const HOUR: Duration = Duration::from_secs(3_600);
const MAX: Duration = Duration::from_secs(24 * 3_600);
/// Beyond any wait between two looks.
const A_LITTLE: Duration = Duration::from_secs(120);

/// Events that are parked, by when, and how those that were taken ended.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    project: VecDeque<(Bytes, Timestamp)>,
    others: VecDeque<(Bytes, Timestamp)>,
    ended: Vec<String>,
    looks: usize,
}

struct FakeLot {
    fake: Fake,
    others: bool,
    metrics: Arc<Metrics>,
}

struct FakeParking {
    fake: Fake,
    metrics: Arc<Metrics>,
}

struct FakeReceipt(Fake);

fn gigs() -> ProjectId {
    ProjectId::try_new("gigs").unwrap()
}

impl State {
    fn of(&mut self, others: bool) -> &mut VecDeque<(Bytes, Timestamp)> {
        if others { &mut self.others } else { &mut self.project }
    }
}

impl Receipt for FakeReceipt {
    async fn settle(self, verdict: Verdict, _: Bytes) -> Verdict {
        let end = match &verdict {
            Verdict::Dead(dead) => format!("{}: {}", dead.reason.as_str(), dead.cause.detail),
            other => other.outcome().to_owned(),
        };
        lock(&self.0.0).ended.push(end);
        verdict
    }

    fn give_back(self) {}
}

impl Parking for FakeParking {
    type Receipt = FakeReceipt;
    type Lot = FakeLot;

    async fn lots(&self) -> Result<Vec<ProjectId>, NotNow> {
        Ok(vec![gigs()])
    }

    fn has_lot(&self, _: &ProjectId) -> bool {
        true
    }

    async fn open(&self, whose: Whose<'_>) -> Result<FakeLot, NotNow> {
        Ok(FakeLot { fake: self.fake.clone(), others: whose == Whose::Others, metrics: Arc::clone(&self.metrics) })
    }

    async fn close(&self) {}
}

impl Lot for FakeLot {
    type Receipt = FakeReceipt;

    async fn take(&mut self) -> Result<Option<Oldest<FakeReceipt>>, NotNow> {
        let mut state = lock(&self.fake.0);
        let taken = state.of(self.others).pop_front();
        let left = state.of(self.others).len() as u64;
        let Some((body, since)) = taken else { return Ok(None) };
        let received = std::time::Instant::now();
        let message = Message {
            body,
            attempt: Attempt::FIRST,
            content_type: None,
            content_encoding: None,
            header_bytes: 0,
            replayed: 0,
            queue: "lot".into(),
            routing_key: "gigs.t".into(),
            received,
            deadline: received + HOUR,
            trace: Trace::default(),
            unreadable: Default::default(),
            waited: Duration::ZERO,
            next_delay: Some(HOUR),
            lane: 0,
            given_up: None,
        };
        let token = Unsettled::new(FakeReceipt(self.fake.clone()), Arc::clone(&self.metrics));
        Ok(Some(Oldest { delivery: Delivery { message, token }, since: Some(since), left }))
    }

    async fn take_overdue(&mut self, limit: Timestamp) -> Result<Look<FakeReceipt>, NotNow> {
        let first = {
            let mut state = lock(&self.fake.0);
            state.looks += 1;
            state.of(self.others).front().map(|(_, since)| *since)
        };
        match first {
            None => Ok(Look::Empty),
            Some(since) if since > limit => Ok(Look::Stays(Some(since))),
            Some(_) => Ok(self.take().await?.map_or(Look::Empty, |oldest| Look::Overdue(Box::new(oldest)))),
        }
    }

    async fn count(&mut self) -> Result<u64, NotNow> {
        Ok(lock(&self.fake.0).of(self.others).len() as u64)
    }
}

/// Lots at work, with what is needed to look at them.
struct Working {
    fake: Fake,
    pool: Arc<Pool<FakeSink>>,
    began: Timestamp,
    stop: Stop,
    task: tokio::task::JoinHandle<()>,
}

impl Working {
    /// Two events are parked, an hour apart, the first one now.
    async fn begin(others: bool) -> Self {
        let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()));
        let (stop, board) = (Stop::default(), Arc::new(Board::new(Arc::clone(&metrics))));
        health.broker.send_replace(Broker::Connected { since: SystemTime::now() });
        board.show(Paused::new());
        let handler = Handler {
            sink: Arc::new(FakeSink::answering([accepted()])),
            halt: Arc::new(Halt::new(Arc::clone(&metrics), Arc::clone(&health))),
            destinations: Destinations::new(288, Arc::clone(&metrics)),
            announcements: Announcements::default(),
            pacer: Pacer::new(0, 288, 1, Arc::clone(&metrics)),
            projects: ProjectCounts::new([], &metrics),
            board,
            max_payload_bytes: 500,
            metrics: Arc::clone(&metrics),
            stop: stop.clone(),
        };
        let pool = Arc::new(Pool::new(handler, health, Recorder::off()));
        let (began, at) = (Timestamp::now(), Instant::now());
        let fake = Fake::default();
        for (n, since) in [(1, began), (2, began + SignedDuration::from_hours(1))] {
            let body = format!(r#"{{"id":"evt_{n}","project":"gigs","type":"t","data":{{}}}}"#);
            lock(&fake.0).of(others).push_back((body.into(), since));
        }
        let age = MaxAge::new(MAX, move || began + SignedDuration::try_from(at.elapsed()).unwrap());
        let parking = FakeParking { fake: fake.clone(), metrics };
        let lots = Lots::new(parking, Arc::clone(&pool), 8, age, Jitter::seeded(1));
        Self { fake, pool, began, stop, task: tokio::spawn(lots.run()) }
    }

    fn ended(&self) -> Vec<String> {
        lock(&self.fake.0).ended.clone()
    }

    /// The reasons for which events are parked, with how long the oldest has been so, in whole hours.
    fn oldest(&self) -> Vec<(&'static str, i64)> {
        let age = |reason: &ParkReason| {
            self.pool.handler.metrics.parked_oldest_age.with_label_values(&[reason.as_str()]).get() / 3_600
        };
        ParkReason::ALL.iter().map(|reason| (reason.as_str(), age(reason))).filter(|(_, hours)| *hours > 0).collect()
    }

    async fn end(self) {
        self.stop.requested.cancel();
        self.task.await.unwrap();
        self.pool.tasks.close();
        self.pool.tasks.wait().await;
    }

    /// Waits out a day and an hour: each event is given up when its time has come, not before, and without a call.
    async fn are_given_up_in_time(self, reason: &'static str) {
        tokio::time::sleep(MAX - A_LITTLE).await;
        assert_eq!((self.ended(), self.oldest()), (vec![], vec![(reason, 23)]));
        tokio::time::sleep(2 * A_LITTLE).await;
        let gone = |since: Timestamp| format!("exhausted: parked since {since}, longer than parking.max_age allows");
        let first = gone(self.began);
        assert_eq!((self.ended(), self.oldest()), (vec![first.clone()], vec![(reason, 23)]));
        tokio::time::sleep(HOUR).await;
        let second = gone(self.began + SignedDuration::from_hours(1));
        assert_eq!((self.ended(), self.oldest()), (vec![first, second], vec![]));
        assert!(self.pool.handler.sink.calls().is_empty(), "no attempt is spent");
        let looks = lock(&self.fake.0).looks;
        assert!(looks < 1_100, "{looks} looks in 25 hours");
        self.end().await;
    }
}

async fn halt(working: &Working) {
    let handler = &working.pool.handler;
    let pass = handler.halt.pass(Standing::Ordinary, Instant::now() + HOUR, &working.stop).await.unwrap();
    pass.unusable(HaltReason::Auth, &cause(401), None);
    assert_eq!(handler.halt.demand(), Demand::Nothing);
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_is_given_up_while_its_project_is_paused() {
    let working = Working::begin(false).await;
    let pause = Pause { since: working.began, identity: "local".into(), claimed: None, reason: None };
    working.pool.handler.board.show(Paused::from([(gigs(), pause)]));
    working.are_given_up_in_time("paused").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_is_given_up_while_its_destination_waits() {
    let working = Working::begin(false).await;
    let admitted = working.pool.handler.destinations.admit(&gigs()).unwrap();
    admitted.hold_off("asked for quiet", ParkReason::CircuitOpen, 3 * MAX);
    working.are_given_up_in_time("circuit_open").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_overdue_is_given_up_while_everything_is_halted() {
    for (others, reason) in [(false, "over_limit"), (true, "provisioning")] {
        let working = Working::begin(others).await;
        halt(&working).await;
        working.are_given_up_in_time(reason).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_overdue_before_the_process_began_is_given_up_and_the_rest_is_sent() {
    for others in [false, true] {
        let working = Working::begin(others).await;
        lock(&working.fake.0).of(others)[0].1 -= SignedDuration::from_hours(25);
        tokio::time::sleep(A_LITTLE).await;
        let ended = working.ended();
        let first = working.began - SignedDuration::from_hours(25);
        assert_eq!(
            ended,
            [format!("exhausted: parked since {first}, longer than parking.max_age allows"), "delivered".to_owned()]
        );
        assert_eq!(working.pool.handler.sink.calls(), ["gigs"]);
        working.end().await;
    }
}
