//! The pauses of projects: read whole, written one at a time on the audit's connection, at once and on disk before anybody
//! hears that it is written.

use super::read::Reader;
use crate::{
    event::ProjectId,
    operate::timeline::Unread,
    pipeline::pauses::{MOST_PAUSED, Pause, PauseStore, Paused},
};
use jiff::Timestamp;
use sqlx::{Any, AnyPool, Row as _, any::AnyArguments, query::Query};
use std::time::Duration;

/// Longest change, its wait for the connection included: an operator waits for it.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);

/// The table of pauses, beside the journal.
#[derive(Debug, Clone)]
pub struct PauseTable {
    reader: Reader,
}

impl PauseTable {
    /// In the store that `reader` reads.
    pub fn beside(reader: &Reader) -> Self {
        Self { reader: reader.clone() }
    }

    async fn change<'q>(&self, change: Query<'q, Any, AnyArguments>) -> Result<(), Unread> {
        let pools = self.reader.pools()?;
        match tokio::time::timeout(CHANGE_TIMEOUT, change.execute(&pools.audit)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%error, "pause not changed: the journal's store failed");
                Err(Unread::Away)
            }
            Err(_) => Err(Unread::Slow),
        }
    }
}

impl PauseStore for PauseTable {
    async fn all(&self) -> Result<Paused, Unread> {
        self.reader.read(async |pool| all(pool).await).await
    }

    async fn pause(&self, project: &ProjectId, pause: &Pause) -> Result<(), Unread> {
        let change = sqlx::query(
            "INSERT INTO pauses (project, since_us, identity, claimed, reason) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (project) DO NOTHING",
        )
        .bind(project.as_str())
        .bind(pause.since.as_microsecond())
        .bind(pause.identity.as_str())
        .bind(pause.claimed.as_deref())
        .bind(pause.reason.as_deref());
        self.change(change).await
    }

    async fn resume(&self, project: &ProjectId) -> Result<(), Unread> {
        self.change(sqlx::query("DELETE FROM pauses WHERE project = $1").bind(project.as_str())).await
    }
}

async fn all(pool: &AnyPool) -> Result<Paused, sqlx::Error> {
    let sql = "SELECT project, since_us, identity, claimed, reason FROM pauses ORDER BY since_us, project LIMIT $1";
    let most = i64::try_from(MOST_PAUSED).unwrap_or(i64::MAX);
    let mut paused = Paused::new();
    for row in sqlx::query(sql).bind(most).fetch_all(pool).await? {
        // Only this file writes the table. A row of another origin that names no project pauses none.
        let Ok(project) = ProjectId::try_new(row.try_get::<String, _>("project")?) else { continue };
        let pause = Pause {
            since: Timestamp::from_microsecond(row.try_get("since_us")?).unwrap_or_default(),
            identity: row.try_get("identity")?,
            claimed: row.try_get("claimed")?,
            reason: row.try_get("reason")?,
        };
        paused.insert(project, pause);
    }
    Ok(paused)
}
