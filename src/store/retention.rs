//! Forgetting: what is older than `journal.retention`, and the oldest beyond `journal.max_bytes`, goes in small portions, between
//! batches and never instead of one.

use super::{row_id::row_id_at, schema::Kind};
use jiff::Timestamp;
use sqlx::AnyConnection;
use std::time::{Duration, Instant};

/// Rows of one deletion, each a transaction of its own: some 10 ms, so that neither a batch nor another replica waits.
const PORTION: i64 = 500;
/// What an entry takes with its indexes, in bytes: 380 and 466 measured with 100,000 of `tests/it/journal_size.rs`.
const SQLITE_ROW: u64 = 400;
const POSTGRES_ROW: u64 = 500;
/// How often the entries' size is looked at; a process writes some 10 MB meanwhile at most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// PostgreSQL adds up what a connection has changed once a second, and up to 10 s later if that rests (its `pgstat.c`).
const POSTGRES_COUNTS_AFTER: Duration = Duration::from_secs(15);
/// How long changes are kept, whatever `journal.retention` is: last year's audit asks for them.
const AUDIT_RETENTION: Duration = Duration::from_secs(400 * 86_400);

/// Deletes up to `portions` portions of what came before `cutoff`. Says whether there may be more.
pub(super) async fn forget(
    connection: &mut AnyConnection,
    cutoff: Timestamp,
    portions: usize,
) -> Result<bool, sqlx::Error> {
    for _ in 0..portions {
        let gone = sqlx::query(
            "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE id < $1 ORDER BY id LIMIT $2)",
        )
        .bind(row_id_at(cutoff))
        .bind(PORTION)
        .execute(&mut *connection)
        .await?;
        if gone.rows_affected() < PORTION.unsigned_abs() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Keeps the entries within `journal.max_bytes`. A look at their size says how many are to go; PostgreSQL counts what went only
/// seconds later, so nobody looks again before.
pub(super) struct Bound {
    max_bytes: u64,
    /// Entries that are still to go by the last look.
    owed: u64,
    /// Bytes of all entries, about.
    bytes: u64,
    look_at: Instant,
}

impl Bound {
    pub fn new(max_bytes: u64) -> Self {
        Self { max_bytes, owed: 0, bytes: 0, look_at: Instant::now() }
    }

    /// Bytes of all entries, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Deletes up to `portions` portions of the oldest entries, as long as all take more than allowed. Answers how many went.
    pub async fn keep(&mut self, connection: &mut AnyConnection, portions: usize) -> Result<u64, sqlx::Error> {
        let kind = Kind::of(connection);
        let (each, settled_after) = match kind {
            Kind::Sqlite => (SQLITE_ROW, LOOK_EVERY),
            Kind::Postgres => (POSTGRES_ROW, POSTGRES_COUNTS_AFTER),
        };
        if self.owed == 0 {
            if Instant::now() < self.look_at {
                return Ok(0);
            }
            self.bytes = size(connection, kind).await?;
            self.owed = self.bytes.saturating_sub(self.max_bytes).div_ceil(each);
            self.look_at = Instant::now() + LOOK_EVERY;
        }
        let mut gone = 0;
        for _ in 0..portions {
            if self.owed == 0 {
                break;
            }
            let portion = self.owed.min(PORTION.unsigned_abs());
            let deleted =
                sqlx::query("DELETE FROM attempts WHERE id IN (SELECT id FROM attempts ORDER BY id LIMIT $1)")
                    .bind(i64::try_from(portion).unwrap_or(PORTION))
                    .execute(&mut *connection)
                    .await?
                    .rows_affected();
            // Fewer than asked for: what is left is no entry, as sums and the audit.
            self.owed = if deleted < portion { 0 } else { self.owed - deleted };
            self.bytes = self.bytes.saturating_sub(deleted * each);
            self.look_at = Instant::now() + settled_after;
            gone += deleted;
        }
        Ok(gone)
    }
}

/// A SQLite file's pages that are in use, in bytes, or PostgreSQL's count of rows as bytes: its tables do not shrink, and how much
/// of them is free shows only after a vacuum.
async fn size(connection: &mut AnyConnection, kind: Kind) -> Result<u64, sqlx::Error> {
    let (sql, each) = match kind {
        Kind::Sqlite => (
            "SELECT (pages.page_count - free.freelist_count) * each.page_size \
             FROM pragma_page_count() AS pages, pragma_freelist_count() AS free, pragma_page_size() AS each",
            1,
        ),
        Kind::Postgres => {
            ("SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'attempts'::regclass", POSTGRES_ROW)
        }
    };
    let number: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    Ok(number.unsigned_abs().saturating_mul(each))
}

/// Deletes a portion of everything else that is older than `cutoff`. Says whether there may be more.
pub(super) async fn forget_sums(connection: &mut AnyConnection, cutoff: Timestamp) -> Result<bool, sqlx::Error> {
    let mut more = false;
    for (sql, before) in [
        (
            "DELETE FROM tallies WHERE (project, hour, what) IN \
             (SELECT project, hour, what FROM tallies WHERE hour < $1 LIMIT $2)",
            cutoff.as_second().div_euclid(3600),
        ),
        (
            "DELETE FROM projects WHERE project IN (SELECT project FROM projects WHERE seen_us < $1 LIMIT $2)",
            cutoff.as_microsecond(),
        ),
        ("DELETE FROM gaps WHERE id IN (SELECT id FROM gaps WHERE until_us < $1 LIMIT $2)", cutoff.as_microsecond()),
        (
            "DELETE FROM writers WHERE id IN (SELECT id FROM writers WHERE ended_us < $1 LIMIT $2)",
            cutoff.as_microsecond(),
        ),
        (
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < $1 ORDER BY id LIMIT $2)",
            row_id_at(Timestamp::now() - AUDIT_RETENTION),
        ),
    ] {
        let gone = sqlx::query(sql).bind(before).bind(PORTION).execute(&mut *connection).await?;
        more |= gone.rows_affected() >= PORTION.unsigned_abs();
    }
    Ok(more)
}
