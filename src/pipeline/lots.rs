//! Gives parked events back: a worker for each lot takes its events, oldest first, as its destination, the halt and the
//! operators allow.
//!
//! A worker asks the destination for leave before it takes an event, so that no event is moved that may not go.

use super::{
    backoff::{Backoff, Jitter},
    consume::Pool,
    destinations::Admitted,
    handler::Handler,
    parking::{Lot, NotNow, Oldest, Parking, Whose},
    sink::Sink,
};
use crate::{
    event::{ParkReason, ProjectId},
    observe::health::Broker,
};
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::task::TaskTracker;

/// How often the list of lots is read again: another process may have made one and ended.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// How often an empty lot is asked again, for the same reason. What this process parks is announced.
const EMPTY_EVERY: Duration = Duration::from_secs(30);
/// How often a lot that waits is counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);
/// Events of projects without a lot of their own that are taken in one round, and the first and longest wait after a round that
/// did not make them fewer: each costs a copy.
const MOST_IN_A_ROUND: u64 = 1_000;
const ROUND_EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How often all lots are added up, however many events are parked meanwhile.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// This part of the deliveries that all lots may have, as its divisor, is left to others by each: one cannot keep the others
/// from theirs, and alone has nearly all.
const LEFT_TO_OTHERS: usize = 8;

/// What all workers of a process share.
pub struct Lots<K, S> {
    parking: K,
    pool: Arc<Pool<S>>,
    /// Deliveries from lots that may be unsettled at once.
    room: Arc<Semaphore>,
    room_of_one: usize,
    jitter: Jitter,
    known: Mutex<HashMap<ProjectId, Arc<Known>>>,
    /// Events of projects without a lot of their own.
    others: AtomicU64,
}

/// One lot, as its worker shows it.
struct Known {
    /// An event was parked there.
    parked: Notify,
    contents: Mutex<Contents>,
}

/// What is in one lot.
#[derive(Clone, Copy)]
struct Contents {
    events: u64,
    reason: ParkReason,
}

impl<K: Parking, S: Sink> Lots<K, S> {
    /// `room`: deliveries from lots that may be unsettled at once.
    pub fn new(parking: K, pool: Arc<Pool<S>>, room: usize, jitter: Jitter) -> Arc<Self> {
        let (all, one) = (Arc::new(Semaphore::new(room.max(1))), (room - room / LEFT_TO_OTHERS).max(1));
        Arc::new(Self {
            parking,
            pool,
            room: all,
            room_of_one: one,
            jitter,
            known: Mutex::default(),
            others: AtomicU64::new(0),
        })
    }

    /// Until the process stops. Reads the list of lots at once, for what processes before this one have left.
    pub async fn run(self: Arc<Self>) {
        let workers = TaskTracker::new();
        let stop = &self.pool.handler.stop.requested;
        stop.run_until_cancelled(async { tokio::join!(self.begin_workers(&workers), self.work_others()) }).await;
        workers.close();
        workers.wait().await;
    }

    /// Takes events of projects without a lot of their own, for ever.
    async fn work_others(&self) {
        let mut backoff = Backoff::with(self.jitter.of("others"));
        loop {
            self.ready().await;
            let Err(error) = self.rounds_of_others(&mut backoff).await;
            let wait = backoff.next_wait();
            tracing::warn!(%error, wait_ms = wait.as_millis(), "parked events of projects without a queue of their own cannot be taken; trying again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Round by round takes all that lies there and sees who may go; the rest comes back by being parked again.
    async fn rounds_of_others(&self, backoff: &mut Backoff) -> Result<Infallible, NotNow> {
        let mut lot = self.parking.open(Whose::Others).await?;
        let room = Arc::new(Semaphore::new(self.room_of_one));
        let mut wait = ROUND_EVERY.0;
        loop {
            let events = lot.count().await?;
            self.others.store(events, Ordering::Relaxed);
            for _ in 0..events.min(MOST_IN_A_ROUND) {
                self.pool.handler.halt.until_wanted().await;
                let one = Arc::clone(&room).acquire_owned().await.ok();
                let all = Arc::clone(&self.room).acquire_owned().await.ok();
                let Some(Oldest { delivery, .. }) = lot.take().await? else { break };
                self.pool.begin(delivery, None, Places { _one: one, _all: all });
            }
            // Neither is ever closed.
            drop(room.acquire_many(u32::try_from(self.room_of_one).unwrap_or(u32::MAX)).await);
            backoff.reset();
            let left = lot.count().await?;
            self.others.store(left, Ordering::Relaxed);
            if left == 0 || left < events {
                wait = ROUND_EVERY.0;
            }
            if left == 0 || left >= events {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(ROUND_EVERY.1);
            }
        }
    }

    /// Begins a worker for each lot that is listed or announced, for ever.
    async fn begin_workers(self: &Arc<Self>, workers: &TaskTracker) {
        let mut backoff = Backoff::with(self.jitter.of("list"));
        let (mut list_at, mut shown) = (Instant::now(), Instant::now());
        loop {
            self.ready().await;
            let listing = async move {
                tokio::time::sleep_until(list_at).await;
                self.parking.lots().await
            };
            let mut listing = std::pin::pin!(listing);
            // What is announced does not wait for the list, which another process may be reading.
            let listed = loop {
                tokio::select! {
                    biased;
                    listed = &mut listing => break listed,
                    () = self.pool.handler.announcements.next() => {
                        let parked = self.pool.handler.announcements.take();
                        // The rounds of all others find the rest.
                        for project in parked.into_iter().filter(|project| self.parking.has_lot(project)) {
                            self.worker(&project, workers).parked.notify_one();
                        }
                    }
                    () = tokio::time::sleep(COUNT_EVERY) => {}
                }
                if shown.elapsed() >= SHOW_EVERY {
                    self.show();
                    shown = Instant::now();
                }
            };
            let wait = match listed {
                Ok(lots) => {
                    backoff.reset();
                    for project in lots {
                        self.worker(&project, workers);
                    }
                    LIST_EVERY
                }
                Err(error) => {
                    let wait = backoff.next_wait();
                    tracing::warn!(%error, wait_ms = wait.as_millis(), "the list of parked events cannot be read now; trying again");
                    wait
                }
            };
            list_at = Instant::now() + wait;
        }
    }

    /// Says goodbye, once every delivery is settled.
    pub async fn close(&self) {
        self.parking.close().await;
    }

    /// Waits for pauses that are known, and a broker with the topology in place.
    async fn ready(&self) {
        let (mut known, mut broker) = (self.pool.handler.board.known(), self.pool.health.broker.subscribe());
        // Both senders live as long as the process.
        let _ = known.wait_for(Option::is_some).await;
        let _ = broker.wait_for(|broker| matches!(broker, Broker::Connected { .. })).await;
    }

    /// The lot of `project`, with a worker begun if it had none.
    fn worker(self: &Arc<Self>, project: &ProjectId, workers: &TaskTracker) -> Arc<Known> {
        let mut known = self.known();
        if let Some(lot) = known.get(project) {
            return Arc::clone(lot);
        }
        let lot = Arc::new(Known {
            parked: Notify::new(),
            contents: Mutex::new(Contents { events: 0, reason: ParkReason::OverLimit }),
        });
        known.insert(project.clone(), Arc::clone(&lot));
        let worker = Worker { of: Arc::clone(self), project: project.clone(), lot: Arc::clone(&lot) };
        let stop = self.pool.handler.stop.requested.clone();
        workers.spawn(async move { stop.run_until_cancelled(worker.run()).await });
        lot
    }

    /// Shows how many events are parked, and why.
    fn show(&self) {
        let mut sum = HashMap::new();
        for lot in self.known().values() {
            let Contents { events, reason } = *lock(&lot.contents);
            *sum.entry(reason).or_insert(0) += events;
        }
        *sum.entry(ParkReason::Provisioning).or_insert(0) += self.others.load(Ordering::Relaxed);
        let metrics = &self.pool.handler.metrics;
        for reason in ParkReason::ALL {
            let events: u64 = sum.get(&reason).copied().unwrap_or(0);
            metrics.events_parked.with_label_values(&[reason.as_str()]).set(i64::try_from(events).unwrap_or(i64::MAX));
        }
        self.pool.health.parked.send_replace(sum.into_values().sum());
        let circuits = &self.pool.health.circuits;
        // To find them, all destinations are read.
        if metrics.circuits_open.get() > 0 || !circuits.borrow().is_empty() {
            circuits.send_replace(self.pool.handler.destinations.open());
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<ProjectId, Arc<Known>>> {
        lock(&self.known)
    }
}

/// Works one lot.
struct Worker<K, S> {
    of: Arc<Lots<K, S>>,
    project: ProjectId,
    lot: Arc<Known>,
}

impl<K: Parking, S: Sink> Worker<K, S> {
    /// For ever.
    async fn run(self) {
        let mut backoff = Backoff::with(self.of.jitter.of(&self.project));
        loop {
            let Err(error) = self.work(&mut backoff).await;
            let wait = backoff.next_wait();
            let project = self.project.as_str();
            tracing::warn!(project, %error, wait_ms = wait.as_millis(), "parked events of the project cannot be taken; trying again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes events, and waits where the lot is empty. Ends with an error only.
    async fn work(&self, backoff: &mut Backoff) -> Result<Infallible, NotNow> {
        let mut lot = self.of.parking.open(Whose::Project(&self.project)).await?;
        let room = Arc::new(Semaphore::new(self.of.room_of_one));
        loop {
            let parked = self.lot.parked.notified();
            if self.count(&mut lot).await? > 0 {
                self.empty(&mut lot, &room).await?;
                continue;
            }
            backoff.reset();
            tokio::select! {
                biased;
                () = parked => {}
                () = tokio::time::sleep(EMPTY_EVERY) => {}
            }
        }
    }

    /// Takes events until there is none.
    async fn empty(&self, lot: &mut K::Lot, room: &Arc<Semaphore>) -> Result<(), NotNow> {
        loop {
            let May { admitted, places } = loop {
                tokio::select! {
                    biased;
                    may = self.may_go(room) => break may,
                    () = tokio::time::sleep(COUNT_EVERY) => drop(self.count(lot).await?),
                }
            };
            let Some(Oldest { delivery, left }) = lot.take().await? else { return Ok(()) };
            self.show(left);
            self.of.pool.begin(delivery, Some(admitted), places);
        }
    }

    async fn count(&self, lot: &mut K::Lot) -> Result<u64, NotNow> {
        let events = lot.count().await?;
        self.show(events);
        Ok(events)
    }

    /// Shows how many events are in the lot, and why they are.
    fn show(&self, events: u64) {
        let handler = &self.of.pool.handler;
        let paused = handler.board.is_paused(&self.project).then_some(ParkReason::Paused);
        let reason = paused.or_else(|| handler.destinations.refusal(&self.project)).unwrap_or(ParkReason::OverLimit);
        *lock(&self.lot.contents) = Contents { events, reason };
    }

    /// Waits until one more event may go: its project is not paused, nothing is halted, its destination takes one, and there is
    /// room. Holds no place while it waits for anything but a place.
    async fn may_go(&self, room: &Arc<Semaphore>) -> May {
        let Handler { board, halt, destinations, .. } = &*self.of.pool.handler;
        loop {
            board.until_resumed(&self.project).await;
            halt.until_wanted().await;
            destinations.until_chance(&self.project).await;
            // Neither is ever closed.
            let one = Arc::clone(room).acquire_owned().await.ok();
            let all = Arc::clone(&self.of.room).acquire_owned().await.ok();
            if board.is_paused(&self.project) || !halt.wants_more() {
                continue;
            }
            if let Ok(admitted) = destinations.admit(&self.project) {
                return May { admitted, places: Places { _one: one, _all: all } };
            }
        }
    }
}

/// Leave for one event of a lot, and its places.
struct May {
    admitted: Admitted,
    places: Places,
}

/// What a delivery from a lot takes up until it is settled.
struct Places {
    _one: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
