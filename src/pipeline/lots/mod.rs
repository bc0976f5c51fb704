//! Gives parked events back: a worker for each lot takes its events, oldest first, as its destination, the halt and the
//! operators allow.
//!
//! A worker asks the destination for leave before it takes an event, so that no event is moved that may not go. While it waits
//! for leave, it looks from time to time whether its oldest event is overdue, and gives up those that are.

mod others;

use crate::{
    event::{ParkReason, ProjectId},
    observe::health::Broker,
    pipeline::{
        backoff::{Backoff, Jitter},
        consume::Pool,
        destinations::Admitted,
        handler::Handler,
        max_age::MaxAge,
        parking::{Look, Lot, NotNow, Oldest, Parking, Whose},
        sink::Sink,
    },
};
use jiff::Timestamp;
use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
/// How long a lot waits for leave before it is looked at: an event that goes soon is taken anyway.
const LOOK_AFTER: Duration = COUNT_EVERY;
/// How often all lots are added up, however many events are parked meanwhile.
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// This part of the deliveries that all lots may have, as its divisor, is left to others by each: one cannot keep the others
/// from theirs, and alone has nearly all.
const LEFT_TO_OTHERS: usize = 8;

/// What all workers of a process share.
pub struct Lots<K, S> {
    parking: K,
    pool: Arc<Pool<S>>,
    max_age: MaxAge,
    /// Deliveries from lots that may be unsettled at once.
    room: Arc<Semaphore>,
    room_of_one: usize,
    jitter: Jitter,
    known: Mutex<HashMap<ProjectId, Arc<Known>>>,
    /// What is in the lot of projects without one of their own.
    others: Mutex<Contents>,
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
    /// Since when the oldest has been parked, if that is known.
    since: Option<Timestamp>,
}

impl Contents {
    const fn none(reason: ParkReason) -> Self {
        Self { events: 0, reason, since: None }
    }
}

impl<K: Parking, S: Sink> Lots<K, S> {
    /// `room`: deliveries from lots that may be unsettled at once.
    pub fn new(parking: K, pool: Arc<Pool<S>>, room: usize, max_age: MaxAge, jitter: Jitter) -> Arc<Self> {
        let longest = i64::try_from(max_age.longest().as_secs()).unwrap_or(i64::MAX);
        pool.handler.metrics.parking_max_age.set(longest);
        let (all, one) = (Arc::new(Semaphore::new(room.max(1))), (room - room / LEFT_TO_OTHERS).max(1));
        Arc::new(Self {
            parking,
            pool,
            max_age,
            room: all,
            room_of_one: one,
            jitter,
            known: Mutex::default(),
            others: Mutex::new(Contents::none(ParkReason::Provisioning)),
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
        let lot =
            Arc::new(Known { parked: Notify::new(), contents: Mutex::new(Contents::none(ParkReason::OverLimit)) });
        known.insert(project.clone(), Arc::clone(&lot));
        let worker = Worker { of: Arc::clone(self), project: project.clone(), lot: Arc::clone(&lot) };
        let stop = self.pool.handler.stop.requested.clone();
        workers.spawn(async move { stop.run_until_cancelled(worker.run()).await });
        lot
    }

    /// A place for one more delivery of a lot with this room.
    async fn places(&self, room: &Arc<Semaphore>) -> Places {
        // Neither is ever closed.
        let one = Arc::clone(room).acquire_owned().await.ok();
        let all = Arc::clone(&self.room).acquire_owned().await.ok();
        Places { _one: one, _all: all }
    }

    /// Begins an event that was taken out of a lot, or gives it up if it is overdue.
    fn begin(&self, oldest: Oldest<K::Receipt>, admitted: Option<Admitted>, places: Places) {
        let Oldest { delivery, since, .. } = oldest;
        if self.max_age.is_overdue(since) {
            self.pool.give_up(delivery, self.max_age.cause(since), places);
        } else {
            self.pool.begin(delivery, admitted, places);
        }
    }

    /// Gives up what is overdue in a lot, oldest first; answers since when the first that is not has been parked.
    async fn give_up_overdue(&self, lot: &mut K::Lot, room: &Arc<Semaphore>) -> Result<Option<Timestamp>, NotNow> {
        loop {
            let places = self.places(room).await;
            match lot.take_overdue(self.max_age.limit()).await? {
                Look::Overdue(oldest) => self.begin(*oldest, None, places),
                Look::Stays(since) => return Ok(since),
                Look::Empty => return Ok(None),
            }
        }
    }

    /// Shows how many events are parked, why, and for how long.
    fn show(&self) {
        let mut sum = HashMap::new();
        let lots: Vec<_> = self.known().values().map(|lot| *lock(&lot.contents)).collect();
        for Contents { events, reason, since } in lots.into_iter().chain([*lock(&self.others)]) {
            let (all, oldest) = sum.entry(reason).or_insert((0, Duration::ZERO));
            *all += events;
            *oldest = since.map_or(*oldest, |since| self.max_age.age(since).max(*oldest));
        }
        let metrics = &self.pool.handler.metrics;
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        for reason in ParkReason::ALL {
            let (events, oldest) = sum.get(&reason).copied().unwrap_or_default();
            metrics.events_parked.with_label_values(&[reason.as_str()]).set(whole(events));
            metrics.parked_oldest_age.with_label_values(&[reason.as_str()]).set(whole(oldest.as_secs()));
        }
        self.pool.health.parked.send_replace(sum.into_values().map(|(events, _)| events).sum());
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
        let mut look_at = Instant::now() + LOOK_AFTER;
        loop {
            let May { admitted, places } = loop {
                tokio::select! {
                    biased;
                    may = self.may_go(room) => break may,
                    () = tokio::time::sleep_until(look_at) => {
                        let since = self.of.give_up_overdue(lot, room).await?;
                        look_at = self.of.max_age.next_look(since);
                        self.show(lot.count().await?, since);
                    }
                    () = tokio::time::sleep(COUNT_EVERY) => drop(self.count(lot).await?),
                }
            };
            let Some(oldest) = lot.take().await? else { return Ok(()) };
            self.show(oldest.left, oldest.since);
            self.of.begin(oldest, Some(admitted), places);
        }
    }

    async fn count(&self, lot: &mut K::Lot) -> Result<u64, NotNow> {
        let events = lot.count().await?;
        let since = lock(&self.lot.contents).since;
        self.show(events, since);
        Ok(events)
    }

    /// Shows how many events are in the lot, why they are, and since when the oldest has been parked.
    fn show(&self, events: u64, since: Option<Timestamp>) {
        let handler = &self.of.pool.handler;
        let paused = handler.board.is_paused(&self.project).then_some(ParkReason::Paused);
        let reason = paused.or_else(|| handler.destinations.refusal(&self.project)).unwrap_or(ParkReason::OverLimit);
        *lock(&self.lot.contents) = Contents { events, reason, since: since.filter(|_| events > 0) };
    }

    /// Waits until one more event may go: its project is not paused, nothing is halted, its destination takes one, and there is
    /// room. Holds no place while it waits for anything but a place.
    async fn may_go(&self, room: &Arc<Semaphore>) -> May {
        let Handler { board, halt, destinations, .. } = &*self.of.pool.handler;
        loop {
            board.until_resumed(&self.project).await;
            halt.until_wanted().await;
            destinations.until_chance(&self.project).await;
            let places = self.of.places(room).await;
            if board.is_paused(&self.project) || !halt.wants_more() {
                continue;
            }
            if let Ok(admitted) = destinations.admit(&self.project) {
                return May { admitted, places };
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

#[cfg(test)]
#[path = "lots_tests.rs"]
mod tests;
