//! What is missing: stretches that were counted as lost, and the unwritten last moments of processes that died.

use crate::pipeline::journal::Gap;
use jiff::Timestamp;
use sqlx::{AnyConnection, AnyPool, Row as _};
use std::time::Duration;

/// A writer without a heartbeat for this long is dead; it writes one every [`BEAT_EVERY`].
const DEAD_AFTER: Duration = Duration::from_secs(60);
pub(super) const BEAT_EVERY: Duration = Duration::from_secs(15);
/// Most gaps of one answer, latest first.
const MOST: i64 = 100;

/// Writes down a stretch that was counted as lost.
pub(super) async fn write(connection: &mut AnyConnection, row_id: i64, gap: &Gap) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO gaps (id, from_us, until_us, lost) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING")
        .bind(row_id)
        .bind(gap.from.as_microsecond())
        .bind(gap.until.unwrap_or(gap.from).as_microsecond())
        .bind(gap.lost.and_then(|lost| i64::try_from(lost).ok()).unwrap_or_default())
        .execute(connection)
        .await?;
    Ok(())
}

/// Says that the writer `id` lives and has written all that it had.
pub(super) async fn beat(connection: &mut AnyConnection, id: i64, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO writers (id, seen_us) VALUES ($1, $2) \
         ON CONFLICT (id) DO UPDATE SET seen_us = excluded.seen_us, ended_us = NULL",
    )
    .bind(id)
    .bind(now.as_microsecond())
    .execute(&mut *connection)
    .await?;
    let dead = now.as_microsecond() - i64::try_from(DEAD_AFTER.as_micros()).unwrap_or(i64::MAX);
    sqlx::query("UPDATE writers SET ended_us = $1 WHERE ended_us IS NULL AND seen_us < $2")
        .bind(now.as_microsecond())
        .bind(dead)
        .execute(connection)
        .await?;
    Ok(())
}

/// A file has one writer: any other that is listed when a new one starts has died.
pub(super) async fn end_others(connection: &mut AnyConnection, id: i64, now: Timestamp) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE writers SET ended_us = $2 WHERE ended_us IS NULL AND id <> $1")
        .bind(id)
        .bind(now.as_microsecond())
        .execute(connection)
        .await?;
    Ok(())
}

/// The writer `id` has ended well.
pub(super) async fn farewell(connection: &mut AnyConnection, id: i64) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM writers WHERE id = $1").bind(id).execute(connection).await?;
    Ok(())
}

/// What is missing between two times.
pub(super) async fn between(pool: &AnyPool, from: Timestamp, until: Timestamp) -> Result<Vec<Gap>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT from_us, until_us, lost FROM gaps WHERE until_us >= $1 AND from_us <= $2 \
         UNION ALL \
         SELECT seen_us AS from_us, ended_us AS until_us, NULL AS lost FROM writers \
         WHERE ended_us IS NOT NULL AND ended_us >= $1 AND seen_us <= $2 \
         ORDER BY 1 DESC LIMIT $3",
    )
    .bind(from.as_microsecond())
    .bind(until.as_microsecond())
    .bind(MOST)
    .fetch_all(pool)
    .await?;
    let time = |us: i64| Timestamp::from_microsecond(us).unwrap_or_default();
    rows.into_iter()
        .map(|row| {
            Ok(Gap {
                from: time(row.try_get(0)?),
                until: Some(time(row.try_get(1)?)),
                lost: row.try_get::<Option<i64>, _>(2)?.and_then(|lost| u64::try_from(lost).ok()),
            })
        })
        .collect()
}
