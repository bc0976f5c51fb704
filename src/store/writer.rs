//! The one task that writes: takes what has come in, a few times a second, and holds on to it while the store is away.

use super::{
    gaps,
    insert::{Batch, Wrote},
    location::Location,
    open::{OpenError, Pools, open},
    read::Reader,
    retention::{self, Bound},
    row_id::{RowIds, renumbered},
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
/// The same of what exceeds `journal.max_bytes`: 20,000 rows, more than come meanwhile, or the store would fill up.
const PORTIONS_BEYOND: usize = 40;
/// Longest farewell to a connection.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The settings of the journal: `journal.*`.
#[derive(Debug, Clone)]
pub struct Settings {
    pub url: Secret,
    pub retention: Duration,
    /// Bytes of entries, about; the oldest go beyond it.
    pub max_bytes: u64,
}

/// Writes until the last recorder is gone.
#[derive(Debug)]
pub struct Writer {
    settings: Settings,
    inbox: Inbox,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    pools: watch::Sender<Option<Pools>>,
    row_ids: RowIds,
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
        let mut row_ids = RowIds::new();
        let id = row_ids.next(Timestamp::now());
        let reader = Reader::new(readers, Arc::clone(&inbox.losses));
        health.journal.send_replace(Journal::Opening);
        let (batch, tries, ended) = (Batch::default(), 0, false);
        (Self { settings, inbox, metrics, health, pools, row_ids, id, batch, tries, ended }, reader)
    }

    pub async fn run(mut self) {
        let mut wait = WAITS[0];
        while !self.ended || !self.batch.is_empty() {
            let generation = self.settings.url.generation();
            let location = Location::of(&self.settings.url.current()).map_err(OpenError::Url);
            let opened = match &location {
                Ok(location) => open(location).await.map(|opened| (opened, location)),
                Err(_) => Err(OpenError::Url("names no store".to_owned())),
            };
            let failed = match opened {
                Ok(((mut connection, pools), location)) => {
                    let started = Instant::now();
                    self.pools.send_replace(Some(pools.clone()));
                    let ended = self.write(&mut connection, location, generation).await;
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
        location: &Location,
        generation: crate::process::secret::Generation,
    ) -> Result<(), sqlx::Error> {
        if matches!(location, Location::File(_)) {
            answered(gaps::end_others(connection, self.id, Timestamp::now())).await?;
        }
        self.beat(connection).await?;
        self.metrics.journal_open.set(1);
        self.health.journal.send_replace(Journal::Open { since: SystemTime::now() });
        tracing::info!(journal.location = %location, "journal opened");
        let (mut beaten, mut forgotten, mut summed) = (Instant::now(), None::<Instant>, None::<Instant>);
        let (mut bound, mut full) = (Bound::new(self.settings.max_bytes), false);
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
            let gone = answered(bound.keep(connection, PORTIONS_BEYOND)).await?;
            self.metrics.journal_bytes.set(i64::try_from(bound.bytes()).unwrap_or(i64::MAX));
            if gone > 0 && !std::mem::replace(&mut full, true) {
                tracing::info!(
                    journal.bytes = bound.bytes(),
                    "journal is full: its oldest entries go before journal.retention"
                );
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
                Ok(entry) => self.batch.add(self.row_ids.next(entry.at), entry),
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
                    tracing::error!(%error, journal.entries = self.batch.len(), "journal lost a batch: the store refused it again and again");
                    self.give_up();
                }
                return Err(error);
            }
            self.tries = 0;
            self.metrics.journal_entries.inc_by(self.batch.len() as u64);
            self.batch = Batch::default();
        }
        if let Some(gap) = self.inbox.losses.take() {
            let row_id = self.row_ids.next(Timestamp::now());
            if let Err(error) = answered(gaps::write(connection, row_id, &gap)).await {
                self.inbox.losses.put_back(gap);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes the batch, with other row ids if another process took some of these.
    async fn write_batch(&mut self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        for _ in 0..TRIES {
            let tried = self.tries > 0;
            match answered(self.batch.write(connection, tried)).await? {
                Wrote::All => return Ok(()),
                Wrote::Collided => {
                    let own = self.row_ids.renew();
                    self.batch.rows.iter_mut().for_each(|(row_id, _)| *row_id = renumbered(*row_id, own));
                }
            }
        }
        Err(sqlx::Error::Protocol("other processes took its row ids".to_owned()))
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
            tracing::warn!(error = detail, "journal has no store for now, delivery goes on without it");
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
