//! Writing a batch: entries, sums and last errors in one transaction.

use super::{
    schema::Kind,
    tally::{self, Tallies, project_name},
};
use crate::pipeline::journal::Entry;
use sqlx::{Any, AnyConnection, Arguments as _, Connection as _, any::AnyArguments, error::BoxDynError};
use std::{collections::BTreeMap, fmt::Write as _, sync::OnceLock, time::Duration};

/// Rows of one statement: the usual one is prepared once, and the rest of a batch goes singly.
const ROWS: usize = 64;
const COLUMNS: usize = 17;

/// What became of a batch that the store took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrote {
    All,
    /// Nothing is written: some of its row ids are another process's.
    Collided,
}

/// Entries with their row ids, made before the first try, so that a second one writes the same.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub rows: Vec<(i64, Entry)>,
    tallies: Tallies,
}

impl Batch {
    pub fn add(&mut self, row_id: i64, entry: Entry) {
        tally::add(&mut self.tallies, &entry);
        self.rows.push((row_id, entry));
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes all or nothing. Written before, as it may be once it was `tried`, it writes nothing again.
    pub async fn write(&self, connection: &mut AnyConnection, tried: bool) -> Result<Wrote, sqlx::Error> {
        let mut transaction = connection.begin().await?;
        let mut written = 0;
        let (many, one) = statements(Kind::of(&transaction));
        let mut chunks = self.rows.chunks_exact(ROWS);
        for chunk in &mut chunks {
            written += insert(&mut transaction, many, chunk).await?;
        }
        for row in chunks.remainder() {
            written += insert(&mut transaction, one, std::slice::from_ref(row)).await?;
        }
        // Row ids that were taken belong to another process, unless all are our own of a commit that was not confirmed.
        let there_already = tried && written == 0;
        if written < self.rows.len() as u64 && !there_already {
            transaction.rollback().await?;
            return Ok(Wrote::Collided);
        }
        // A commit that was not confirmed has happened all the same: the sums must not be added twice.
        if written > 0 {
            for ((project, hour, what), amount) in &self.tallies {
                sqlx::query(
                    "INSERT INTO tallies (project, hour, what, amount) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (project, hour, what) DO UPDATE SET amount = tallies.amount + excluded.amount",
                )
                .bind(project.as_str())
                .bind(*hour)
                .bind(what.as_str())
                .bind(*amount)
                .execute(&mut *transaction)
                .await?;
            }
            self.write_projects(&mut transaction).await?;
        }
        transaction.commit().await?;
        Ok(Wrote::All)
    }

    async fn write_projects(&self, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
        let mut seen: BTreeMap<&str, (&Entry, Option<&Entry>)> = BTreeMap::new();
        for (_, entry) in &self.rows {
            let error = matches!(entry.outcome, "retried" | "dead").then_some(entry);
            let last = seen.entry(project_name(entry)).or_insert((entry, None));
            *last = (entry, error.or(last.1));
        }
        for (project, (last, error)) in seen {
            sqlx::query(
                "INSERT INTO projects (project, seen_us) VALUES ($1, $2) \
                 ON CONFLICT (project) DO UPDATE SET seen_us = excluded.seen_us",
            )
            .bind(project)
            .bind(last.at.as_microsecond())
            .execute(&mut *connection)
            .await?;
            let Some(error) = error else { continue };
            sqlx::query(
                "UPDATE projects SET error_us = $2, error_event = $3, error_outcome = $4, error_reason = $5, \
                 error_status = $6, error_detail = $7 WHERE project = $1",
            )
            .bind(project)
            .bind(error.at.as_microsecond())
            .bind(error.event.as_ref().map(|event| event.as_str()))
            .bind(error.outcome)
            .bind(error.reason)
            .bind(error.status.map(i64::from))
            .bind(error.detail.as_deref())
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

/// The statement for [`ROWS`] rows, and the one for a single row.
fn statements(kind: Kind) -> &'static (String, String) {
    static SQLITE: OnceLock<(String, String)> = OnceLock::new();
    static POSTGRES: OnceLock<(String, String)> = OnceLock::new();
    let statements = match kind {
        Kind::Sqlite => &SQLITE,
        Kind::Postgres => &POSTGRES,
    };
    statements.get_or_init(|| (statement(kind, ROWS), statement(kind, 1)))
}

fn statement(kind: Kind, rows: usize) -> String {
    let mut sql = "INSERT INTO attempts (id, project, event, kind, queue, routing_key, attempt, outcome, remarkable, \
                   reason, status, latency_us, calls, in_hand_us, message, detail, next_us) VALUES "
        .to_owned();
    for row in 0..rows {
        for column in 0..COLUMNS {
            sql += match (row, column) {
                (0, 0) => "(",
                (_, 0) => "), (",
                _ => ", ",
            };
            match kind {
                // A number would be a name to SQLite, and sqlx looks each one up, among all of them: 19 µs an entry.
                Kind::Sqlite => sql.push('?'),
                Kind::Postgres => {
                    let _infallible = write!(sql, "${}", row * COLUMNS + column + 1);
                }
            }
        }
    }
    sql + ") ON CONFLICT (id) DO NOTHING"
}

async fn insert(connection: &mut AnyConnection, sql: &'static str, rows: &[(i64, Entry)]) -> Result<u64, sqlx::Error> {
    let mut arguments = AnyArguments::default();
    arguments.reserve(rows.len() * COLUMNS, 0);
    for (row_id, entry) in rows {
        bind(&mut arguments, *row_id, entry).map_err(sqlx::Error::Encode)?;
    }
    Ok(sqlx::query_with::<Any, _>(sql, arguments).execute(connection).await?.rows_affected())
}

fn bind(arguments: &mut AnyArguments, row_id: i64, entry: &Entry) -> Result<(), BoxDynError> {
    let micros = |time: Duration| i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    arguments.add(row_id)?;
    arguments.add(entry.project.as_ref().map(|project| project.as_str()))?;
    arguments.add(entry.event.as_ref().map(|event| event.as_str()))?;
    arguments.add(entry.kind.as_ref().map(|kind| kind.as_str()))?;
    arguments.add(&*entry.queue)?;
    arguments.add(entry.routing_key.as_deref())?;
    arguments.add(i64::from(entry.attempt.get()))?;
    arguments.add(entry.outcome)?;
    arguments.add(i64::from(entry.outcome != "delivered"))?;
    arguments.add(entry.reason)?;
    arguments.add(entry.status.map(i64::from))?;
    arguments.add(entry.latency.map(micros))?;
    arguments.add(i64::from(entry.calls))?;
    arguments.add(micros(entry.processing))?;
    arguments.add(entry.message.as_deref())?;
    arguments.add(entry.detail.as_deref())?;
    arguments.add(entry.next_after.map(|wait| entry.at.as_microsecond().saturating_add(micros(wait))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::Attempt,
        store::{location::Location, open::open},
    };
    use jiff::Timestamp;

    fn batch(row_ids: &[i64]) -> Batch {
        let mut batch = Batch::default();
        for row_id in row_ids {
            let entry = Entry {
                at: Timestamp::now(),
                project: None,
                event: None,
                kind: None,
                queue: "q".into(),
                routing_key: None,
                attempt: Attempt::from_rung(0),
                outcome: "delivered",
                reason: None,
                status: None,
                latency: None,
                calls: 1,
                processing: Duration::ZERO,
                message: None,
                detail: None,
                next_after: None,
            };
            batch.add(*row_id, entry);
        }
        batch
    }

    #[tokio::test]
    async fn row_ids_of_another_process_are_not_taken_for_a_commit_that_was_not_confirmed() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, _pool) = open(&Location::File(folder.path().join("j"))).await.unwrap();
        for (row_ids, tried, expected, rows) in [
            (&[1, 2][..], false, Wrote::All, 2),
            (&[1, 2], true, Wrote::All, 2),
            (&[1, 2], false, Wrote::Collided, 2),
            (&[2, 3], false, Wrote::Collided, 2),
            (&[2, 3], true, Wrote::Collided, 2),
            (&[3, 4], true, Wrote::All, 4),
        ] {
            assert_eq!(batch(row_ids).write(&mut connection, tried).await.unwrap(), expected, "{row_ids:?} {tried}");
            for sql in ["SELECT COUNT(*) FROM attempts", "SELECT SUM(amount) FROM tallies"] {
                let there: i64 = sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap();
                assert_eq!(there, rows, "{sql} after {row_ids:?} {tried}");
            }
        }
    }
}
