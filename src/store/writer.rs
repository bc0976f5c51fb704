//! The one task that writes: takes what has come in, a few times a second, and holds on to it while the store is away.

use super::{
    gaps,
    insert::{Batch, Wrote},
    open::{OpenError, Pools, open},
    place::Place,
    read::Reader,
    retention,
};
use crate::{
    observe::{
        health::{Health, Journal},
        metrics::Metrics,
    },
    pipeline::journal::Inbox,
    process::secret::Secret,
};
use jiff::Timestamp;
use sqlx::{AnyConnection, Connection as _};
use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::watch;

/// How long entries gather. Larger batches touch fewer pages per entry; nobody notices half a second.
const GATHER: Duration = Duration::from_millis(500);
/// Most entries of one transaction.
const MAX_BATCH: usize = 8_192;
/// Longest wait for the store, a batch's at most; what takes longer is tried again on another connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// Waits before the store is tried again, doubling.
const WAITS: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// A batch that fails so often on fresh connections is refused for what is in it, and counted as lost.
const TRIES: u32 = 6;
/// Retention of everything that is not a row per delivery.
const SUMS_EVERY: Duration = Duration::from_secs(600);
const RETENTION_EVERY: Duration = Duration::from_secs(5);
/// Portions of old entries that go at once: 2,500 rows for at most 8,192 that come, several times a second while overdue.
const PORTIONS: usize = 5;
/// Longest farewell to a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What the journal must be told: `journal.*`.
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Secret,
    pub retention: Duration,
}

/// Places of one process: time first, then a number of its own.
#[derive(Debug)]
pub(super) struct Places {
    last_us: i64,
    own: i64,
}

/// Bits below the microseconds.
const OWN_BITS: u32 = 12;
const OWN_MASK: i64 = (1 << OWN_BITS) - 1;

fn own() -> i64 {
    i64::from(rand::random::<u16>()) & OWN_MASK
}

/// The same moment's place of the process with this number.
fn place_of(place: i64, own: i64) -> i64 {
    (place & !OWN_MASK) | own
}

/// The first place of a moment.
pub(super) fn place_at(at: Timestamp) -> i64 {
    at.as_microsecond().saturating_mul(1 << OWN_BITS)
}

/// The moment of a place.
pub(super) fn time_of(place: i64) -> Timestamp {
    Timestamp::from_microsecond(place >> OWN_BITS).unwrap_or_default()
}

impl Places {
    pub(super) fn new() -> Self {
        Self { last_us: 0, own: own() }
    }

    /// Another number of its own, for when a second process has the same.
    pub(super) fn renew(&mut self) -> i64 {
        self.own = own();
        self.own
    }

    /// Later than every other, even if the clock steps back.
    pub(super) fn next(&mut self, at: Timestamp) -> i64 {
        self.last_us = at.as_microsecond().max(self.last_us + 1);
        (self.last_us << OWN_BITS) | self.own
    }
}

/// Writes until the last recorder is gone.
#[derive(Debug)]
pub struct Writer {
    settings: Settings,
    inbox: Inbox,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    pools: watch::Sender<Option<Pools>>,
    places: Places,
    /// Its row among the writers.
    id: i64,
    batch: Batch,
    tries: u32,
    /// Nothing more will come.
    ended: bool,
}

impl Writer {
    /// The task to run, and the end that reads.
    pub fn new(settings: Settings, inbox: Inbox, metrics: Arc<Metrics>, health: Arc<Health>) -> (Self, Reader) {
        let (pools, readers) = watch::channel(None);
        let mut places = Places::new();
        let id = places.next(Timestamp::now());
        let reader = Reader::new(readers, Arc::clone(&inbox.losses));
        health.journal.send_replace(Journal::Opening);
        let (batch, tries, ended) = (Batch::default(), 0, false);
        (Self { settings, inbox, metrics, health, pools, places, id, batch, tries, ended }, reader)
    }

    pub async fn run(mut self) {
        let mut wait = WAITS[0];
        while !self.ended || !self.batch.is_empty() {
            let generation = self.settings.url.generation();
            let place = Place::of(&self.settings.url.current()).map_err(OpenError::Url);
            let opened = match &place {
                Ok(place) => open(place).await.map(|opened| (opened, place)),
                Err(_) => Err(OpenError::Url("is no place for a journal".to_owned())),
            };
            let failed = match opened {
                Ok(((mut connection, pools), place)) => {
                    let started = Instant::now();
                    self.pools.send_replace(Some(pools.clone()));
                    let ended = self.write(&mut connection, place, generation).await;
                    self.pools.send_replace(None);
                    self.metrics.journal_open.set(0);
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, connection.close()).await;
                    let _ = tokio::time::timeout(CLOSE_TIMEOUT, pools.close()).await;
                    if started.elapsed() > WAITS[1] {
                        wait = WAITS[0];
                    }
                    match ended {
                        Ok(()) => continue,
                        Err(error) => error.to_string(),
                    }
                }
                Err(error) => error.to_string(),
            };
            self.away(failed);
            if self.ended {
                self.give_up();
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.settings.url.changed_since(generation) => {}
                () = ended(&self.inbox) => self.take(),
            }
            wait = (wait * 2).min(WAITS[1]);
        }
    }

    /// Writes over one connection until it fails, the store is another, or all is written after the end.
    async fn write(
        &mut self,
        connection: &mut AnyConnection,
        place: &Place,
        generation: crate::process::secret::Generation,
    ) -> Result<(), sqlx::Error> {
        if matches!(place, Place::File(_)) {
            answered(gaps::end_others(connection, self.id, Timestamp::now())).await?;
        }
        self.beat(connection).await?;
        self.metrics.journal_open.set(1);
        self.health.journal.send_replace(Journal::Open { since: SystemTime::now() });
        tracing::info!(place = %place, "the journal is open");
        let (mut beaten, mut forgotten, mut summed) = (Instant::now(), None::<Instant>, None::<Instant>);
        loop {
            if !self.ended {
                tokio::select! {
                    () = tokio::time::sleep(GATHER) => {}
                    () = ended(&self.inbox) => {}
                }
            }
            loop {
                self.take();
                let (full, wrote) = (self.batch.len() >= MAX_BATCH, !self.batch.is_empty());
                self.flush(connection).await?;
                if wrote || beaten.elapsed() > gaps::BEAT_EVERY {
                    self.beat(connection).await?;
                    beaten = Instant::now();
                }
                if !full {
                    break;
                }
            }
            if self.ended {
                return answered(gaps::farewell(connection, self.id)).await;
            }
            if self.settings.url.generation() != generation {
                return Ok(());
            }
            let cutoff = Timestamp::now() - self.settings.retention;
            if forgotten.is_none_or(|at| at.elapsed() > RETENTION_EVERY)
                && !answered(retention::forget(connection, cutoff, PORTIONS)).await?
            {
                forgotten = Some(Instant::now());
            }
            if summed.is_none_or(|at| at.elapsed() > SUMS_EVERY)
                && !answered(retention::forget_sums(connection, cutoff)).await?
            {
                summed = Some(Instant::now());
            }
        }
    }

    /// Moves what has come in to the batch, up to a batch's size.
    fn take(&mut self) {
        use tokio::sync::mpsc::error::TryRecvError;
        while self.batch.len() < MAX_BATCH {
            match self.inbox.entries.try_recv() {
                Ok(entry) => self.batch.add(self.places.next(entry.at), entry),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => {
                    self.ended = true;
                    return;
                }
            }
        }
    }

    async fn flush(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        if !self.batch.is_empty() {
            if let Err(error) = self.write_batch(connection).await {
                self.tries += 1;
                if self.tries >= TRIES {
                    tracing::error!(%error, entries = self.batch.len(), "the journal refuses a batch; it is lost");
                    self.give_up();
                }
                return Err(error);
            }
            self.tries = 0;
            self.metrics.journal_entries.inc_by(self.batch.len() as u64);
            self.batch = Batch::default();
        }
        if let Some(gap) = self.inbox.losses.take() {
            let place = self.places.next(Timestamp::now());
            if let Err(error) = answered(gaps::write(connection, place, &gap)).await {
                self.inbox.losses.put_back(gap);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the batch, at other places if another process took some of these.
    async fn write_batch(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        for _ in 0..TRIES {
            let tried = self.tries > 0;
            match answered(self.batch.write(connection, tried)).await? {
                Wrote::All => return Ok(()),
                Wrote::Collided => {
                    let own = self.places.renew();
                    self.batch.rows.iter_mut().for_each(|(place, _)| *place = place_of(*place, own));
                }
            }
        }
        Err(sqlx::Error::Protocol("other processes hold its places".to_owned()))
    }

    async fn beat(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        answered(gaps::beat(connection, self.id, Timestamp::now())).await
    }

    /// Counts the batch as lost.
    fn give_up(&mut self) {
        if let (Some((_, first)), Some((_, last))) = (self.batch.rows.first(), self.batch.rows.last()) {
            self.inbox.losses.count(first.at, last.at, self.batch.len() as u64);
        }
        self.batch = Batch::default();
        self.tries = 0;
    }

    fn away(&self, detail: String) {
        let since = match &*self.health.journal.borrow() {
            Journal::Away { since, .. } => Some(*since),
            _ => None,
        };
        if since.is_none() {
            tracing::warn!(error = detail, "the journal is away; delivery goes on without it");
        }
        self.health.journal.send_replace(Journal::Away { detail, since: since.unwrap_or_else(SystemTime::now) });
    }
}

/// What the store answers, which it must within [`WRITE_TIMEOUT`]: a peer that froze does not even say that it is away.
async fn answered<T>(asked: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = |_| {
        let message = format!("no answer within {WRITE_TIMEOUT:?}");
        Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, message)))
    };
    tokio::time::timeout(WRITE_TIMEOUT, asked).await.unwrap_or_else(late)
}

/// Waits until every recorder is gone. What they left is still to be taken.
async fn ended(inbox: &Inbox) {
    while !inbox.entries.is_closed() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_store_that_never_answers_is_away() {
        let asked = Instant::now();
        let error = answered(std::future::pending::<Result<(), _>>()).await.unwrap_err();
        assert_eq!(error.to_string(), "error communicating with database: no answer within 20s");
        assert!(asked.elapsed() < WRITE_TIMEOUT, "on a clock that was moved");
    }
}
