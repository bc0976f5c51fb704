//! What projects did, from the sums by hour.

use super::tally::{bucket_of, percentile};
use crate::operate::{
    api_types::{LastError, Project},
    sanitize::Plain,
    timeline::ProjectPage,
};
use jiff::Timestamp;
use sqlx::{AnyPool, Row as _, any::AnyRow};
use std::collections::BTreeMap;

pub(super) async fn page(
    pool: &AnyPool,
    named: Option<&str>,
    since: Timestamp,
    after: Option<&str>,
    limit: usize,
) -> Result<ProjectPage, sqlx::Error> {
    let limit = limit.max(1);
    let rows = sqlx::query(
        "SELECT project, seen_us, error_us, error_event, error_outcome, error_reason, error_status, error_detail \
         FROM projects WHERE project >= $1 AND ($2 = 0 OR project > $1) AND ($3 = 0 OR project = $1) \
         ORDER BY project LIMIT $4",
    )
    .bind(named.or(after).unwrap_or_default())
    .bind(i64::from(named.is_none() && after.is_some()))
    .bind(i64::from(named.is_some()))
    .bind(i64::try_from(limit + 1).unwrap_or(i64::MAX))
    .fetch_all(pool)
    .await?;
    let more = rows.len() > limit;
    let names = rows.iter().take(limit).map(|row| row.try_get("project")).collect::<Result<Vec<String>, _>>()?;
    let mut sums: BTreeMap<String, BTreeMap<String, i64>> = BTreeMap::new();
    if let (Some(first), Some(last)) = (names.first(), names.last()) {
        let summed = sqlx::query(
            "SELECT project, what, CAST(SUM(amount) AS BIGINT) AS amount FROM tallies \
             WHERE project >= $1 AND project <= $2 AND hour >= $3 GROUP BY project, what",
        )
        .bind(first.as_str())
        .bind(last.as_str())
        .bind(since.as_second().div_euclid(3600))
        .fetch_all(pool)
        .await?;
        for row in summed {
            sums.entry(row.try_get("project")?).or_default().insert(row.try_get("what")?, row.try_get("amount")?);
        }
    }
    let projects = rows.iter().take(limit).map(|row| line(row, &sums)).collect::<Result<_, _>>()?;
    Ok(ProjectPage { projects, next: if more { names.last().cloned() } else { None } })
}

fn line(row: &AnyRow, sums: &BTreeMap<String, BTreeMap<String, i64>>) -> Result<Project, sqlx::Error> {
    let text = |column| row.try_get::<Option<String>, _>(column).map(|text| text.map(Plain::from));
    let time = |us: i64| Timestamp::from_microsecond(us).ok();
    let name: String = row.try_get("project")?;
    let nothing = BTreeMap::new();
    let sums = sums.get(&name).unwrap_or(&nothing);
    let of = |what: &str| sums.get(what).copied().unwrap_or_default();
    let buckets: BTreeMap<u32, i64> =
        sums.iter().filter_map(|(what, amount)| Some((bucket_of(what)?, *amount))).collect();
    let (accepted, dead) = (of("delivered") + of("duplicate"), of("dead"));
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 events")]
    let success_rate = (accepted + dead > 0).then(|| accepted as f64 / (accepted + dead) as f64);
    let last_error = match row.try_get::<Option<i64>, _>("error_us")?.and_then(time) {
        Some(at) => Some(LastError {
            at,
            id: text("error_event")?,
            outcome: text("error_outcome")?.unwrap_or_default(),
            reason: text("error_reason")?,
            status: row.try_get("error_status")?,
            detail: text("error_detail")?,
        }),
        None => None,
    };
    Ok(Project {
        project: Some(name).filter(|name| !name.is_empty()).map(Plain::from),
        delivered: of("delivered"),
        duplicate: of("duplicate"),
        retried: of("retried"),
        dead,
        released: of("released"),
        success_rate,
        p50_ms: percentile(&buckets, 0.5),
        p99_ms: percentile(&buckets, 0.99),
        last_seen: time(row.try_get("seen_us")?),
        last_error,
        // Known to whoever holds the board of pauses.
        paused: None,
    })
}
