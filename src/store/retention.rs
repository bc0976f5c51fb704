//! Forgetting: what is older than `journal.retention` goes in small portions, between batches and never instead of one.

use super::row_id::row_id_at;
use jiff::Timestamp;
use sqlx::AnyConnection;
use std::time::Duration;

/// Rows of one deletion, each a transaction of its own: some 10 ms, so that neither a batch nor another replica waits.
const PORTION: i64 = 500;
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
