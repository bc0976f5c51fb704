//! Forgetting: what is older than `journal.retention`, and the oldest beyond `journal.max_bytes`, goes in small portions, between
//! batches and never instead of one.

use super::{row_id::row_id_at, schema::Kind};
use jiff::Timestamp;
use sqlx::AnyConnection;
use std::time::Duration;

/// Rows of one deletion, each a transaction of its own: some 10 ms, so that neither a batch nor another replica waits.
const PORTION: i64 = 500;
/// What an entry takes in PostgreSQL with its indexes, in bytes: 466 measured with 100,000 of `tests/it/journal_size.rs`.
const POSTGRES_ROW: u64 = 500;
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

/// Bytes that the entries take, about: a SQLite file's pages that are in use, or PostgreSQL's count of rows. Its tables do not
/// shrink, and how much of them is free shows only after a vacuum.
async fn size(connection: &mut AnyConnection) -> Result<u64, sqlx::Error> {
    let sql = match Kind::of(connection) {
        Kind::Sqlite => {
            "SELECT (pages.page_count - free.freelist_count) * each.page_size \
             FROM pragma_page_count() AS pages, pragma_freelist_count() AS free, pragma_page_size() AS each"
        }
        Kind::Postgres => "SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'attempts'::regclass",
    };
    let number: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    let each = if Kind::of(connection) == Kind::Sqlite { 1 } else { POSTGRES_ROW };
    Ok(number.unsigned_abs().saturating_mul(each))
}

/// What was done about the size.
pub(super) struct Fitted {
    /// Bytes of all entries at the last look, about.
    pub bytes: u64,
    /// Entries deleted.
    pub gone: u64,
    /// More are to go.
    pub more: bool,
}

/// Deletes up to `portions` portions of the oldest entries, as long as all take more than `max_bytes`.
pub(super) async fn forget_beyond(
    connection: &mut AnyConnection,
    max_bytes: u64,
    portions: usize,
) -> Result<Fitted, sqlx::Error> {
    let mut fitted = Fitted { bytes: size(connection).await?, gone: 0, more: false };
    for _ in 0..portions {
        if fitted.bytes <= max_bytes {
            return Ok(fitted);
        }
        let gone = sqlx::query("DELETE FROM attempts WHERE id IN (SELECT id FROM attempts ORDER BY id LIMIT $1)")
            .bind(PORTION)
            .execute(&mut *connection)
            .await?;
        if gone.rows_affected() == 0 {
            // What is left is no entry: sums, the audit.
            return Ok(fitted);
        }
        fitted.gone += gone.rows_affected();
        fitted.bytes = size(connection).await?;
    }
    Ok(Fitted { more: fitted.bytes > max_bytes, ..fitted })
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
