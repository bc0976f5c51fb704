//! The audit: a row before a change is made, another when it has ended. Written at once, on a connection of its own beside
//! the journal's writer, and on disk before anybody hears that it is written.

use super::{
    location::Location,
    open::{OpenError, open},
    read::Reader,
    row_id::{RowIds, time_of},
};
use crate::operate::{
    audit::{Audit, AuditEnd, AuditEntry, AuditLine, AuditPage, AuditQuery, Change, Ending, MAX_DETAIL, Unwritten},
    timeline::Unread,
};
use jiff::Timestamp;
use sqlx::{AnyPool, AssertSqlSafe, Connection as _, Row as _, any::AnyRow};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Longest wait for one row, a connection included: an operator waits for it, and a change behind it.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait of a command for its store: its operator waits for it, and may go on without.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Row ids that are tried: a second process has one of them once in a million years of changes.
const TRIES: usize = 4;

/// Where changes are written down, beside the journal.
#[derive(Debug)]
pub struct AuditLog {
    reader: Reader,
    row_ids: Mutex<RowIds>,
}

/// A row, of a change or of an ending.
#[derive(Default)]
struct Row<'r> {
    ends: Option<i64>,
    identity: Option<String>,
    claimed: Option<&'r str>,
    action: Option<&'r str>,
    project: Option<&'r str>,
    target: Option<&'r str>,
    outcome: Option<&'r str>,
    detail: Option<String>,
}

impl AuditLog {
    /// In the store that `reader` reads.
    pub fn beside(reader: &Reader) -> Self {
        Self { reader: reader.clone(), row_ids: Mutex::new(RowIds::new()) }
    }

    /// In the store at `url`, for a process that does not write the journal; another one may. A file at the default path
    /// must exist already: outside hookbro's own folder nobody would ever look into it.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        let location = Location::of(url).map_err(OpenError::Url)?;
        if let Location::File(path) = &location
            && url.is_empty()
            && !path.exists()
        {
            return Err(OpenError::Missing);
        }
        let (writer, pools) =
            tokio::time::timeout(OPEN_TIMEOUT, open(&location)).await.unwrap_or(Err(OpenError::Slow))?;
        // It has brought the schema up to date; rows go over the audit's own.
        writer.close().await?;
        Ok(Self::beside(&Reader::of(pools)))
    }

    /// Closes the connections of a log that [`AuditLog::open`] made.
    pub async fn close(&self) {
        if let Ok(pools) = self.reader.pools() {
            pools.close().await;
        }
    }

    async fn write(&self, row: Row<'_>) -> Result<i64, Unwritten> {
        let pool = self.reader.pools().map_err(|unread| match unread {
            Unread::Off => Unwritten::Off,
            Unread::Away | Unread::Slow => Unwritten::Away,
        })?;
        match tokio::time::timeout(WRITE_TIMEOUT, self.insert(&pool.audit, &row)).await {
            Ok(Ok(Some(row_id))) => Ok(row_id),
            Ok(Ok(None)) => {
                tracing::warn!("audit row not written: other processes took its row ids");
                Err(Unwritten::Away)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "audit row not written: the journal's store failed");
                Err(Unwritten::Away)
            }
            Err(_) => Err(Unwritten::Slow),
        }
    }

    async fn insert(&self, pool: &AnyPool, row: &Row<'_>) -> Result<Option<i64>, sqlx::Error> {
        for _ in 0..TRIES {
            let row_id = self.next_row_id();
            let written = sqlx::query(
                "INSERT INTO audit (id, ends, identity, claimed, action, project, target, outcome, detail) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING",
            )
            .bind(row_id)
            .bind(row.ends)
            .bind(row.identity.as_deref())
            .bind(row.claimed)
            .bind(row.action)
            .bind(row.project)
            .bind(row.target)
            .bind(row.outcome)
            .bind(row.detail.as_deref())
            .execute(pool)
            .await?;
            if written.rows_affected() > 0 {
                return Ok(Some(row_id));
            }
            self.row_ids.lock().unwrap_or_else(PoisonError::into_inner).renew();
        }
        Ok(None)
    }

    fn next_row_id(&self) -> i64 {
        self.row_ids.lock().unwrap_or_else(PoisonError::into_inner).next(Timestamp::now())
    }
}

/// One line, as long as it may be.
fn shortened(detail: &str) -> String {
    detail.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_DETAIL).collect()
}

async fn page(pool: &AnyPool, query: &AuditQuery) -> Result<AuditPage, sqlx::Error> {
    let limit = query.limit.max(1);
    let project = if query.project.is_some() { " AND a.project = $2" } else { "" };
    // An ending lies behind its change, and is looked up for the rows of one page alone.
    let sql = format!(
        "SELECT a.id, a.identity, a.claimed, a.action, a.project, a.target, a.detail, e.id AS ended, e.outcome, \
         e.detail AS said FROM audit a LEFT JOIN audit e ON e.ends = a.id \
         WHERE a.ends IS NULL AND a.id < $1{project} ORDER BY a.id DESC LIMIT {}",
        limit + 1
    );
    let mut asked = sqlx::query(AssertSqlSafe(sql)).bind(query.before.unwrap_or(i64::MAX));
    if let Some(project) = &query.project {
        asked = asked.bind(project.as_str());
    }
    let rows = asked.fetch_all(pool).await?;
    let changes = rows.iter().take(limit).map(line).collect::<Result<Vec<_>, _>>()?;
    let next = changes.last().filter(|_| rows.len() > limit).map(|last| last.row_id);
    Ok(AuditPage { changes, next })
}

fn line(row: &AnyRow) -> Result<AuditLine, sqlx::Error> {
    let row_id: i64 = row.try_get("id")?;
    let ended = match row.try_get::<Option<i64>, _>("ended")? {
        Some(at) => Some(AuditEnd {
            at: time_of(at),
            outcome: row.try_get::<Option<_>, _>("outcome")?.unwrap_or_default(),
            detail: row.try_get("said")?,
        }),
        None => None,
    };
    Ok(AuditLine {
        row_id,
        at: time_of(row_id),
        identity: row.try_get::<Option<_>, _>("identity")?.unwrap_or_default(),
        claimed: row.try_get("claimed")?,
        action: row.try_get::<Option<_>, _>("action")?.unwrap_or_default(),
        project: row.try_get("project")?,
        target: row.try_get("target")?,
        detail: row.try_get("detail")?,
        ended,
    })
}

impl Audit for AuditLog {
    async fn begin(&self, change: &Change) -> Result<AuditEntry, Unwritten> {
        let row = Row {
            identity: Some(change.actor.identity.to_string()),
            claimed: change.actor.claimed(),
            action: Some(change.action),
            project: change.project.as_deref(),
            target: change.target.as_deref(),
            detail: change.detail.as_deref().map(shortened),
            ..Row::default()
        };
        self.write(row).await.map(AuditEntry)
    }

    async fn end(&self, entry: AuditEntry, ending: Ending, detail: &str) -> Result<(), Unwritten> {
        let (outcome, detail) = (Some(ending.as_str()), Some(shortened(detail)));
        self.write(Row { ends: Some(entry.0), outcome, detail, ..Row::default() }).await.map(drop)
    }

    async fn changes(&self, query: &AuditQuery) -> Result<AuditPage, Unread> {
        self.reader.read(async |pool| page(pool, query).await).await
    }
}
