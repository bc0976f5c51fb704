//! Finding what was written: pages of events and the story of one. Each read is bounded in rows and in time.

use super::{
    gaps,
    open::Pools,
    projects,
    row_id::{row_id_at, time_of},
};
use crate::{
    operate::{
        api_types::Attempt,
        sanitize::Plain,
        timeline::{EventLine, EventPage, EventQuery, EventStory, ProjectPage, Timeline, Unread},
    },
    pipeline::journal::{Gap, Losses},
};
use jiff::Timestamp;
use sqlx::{Any, AnyPool, AssertSqlSafe, Row as _, any::AnyArguments, any::AnyRow, query::Query};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Longest read; a page that takes longer is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows that one page examines; where the wanted are rarer than that, the page is short and says where to go on.
const EXAMINED: usize = 5_000;
/// Deliveries of one event in one answer. A ladder has 17 rungs; an outage of days adds a few hundred.
const STORY: usize = 500;

const COLUMNS: &str = "id, project, event, kind, queue, routing_key, attempt, outcome, reason, status, latency_us, calls, \
                       in_hand_us, message, detail, next_us";

/// The reading end of a journal.
#[derive(Debug, Clone)]
pub struct Reader {
    /// [`None`]: off.
    store: Option<Store>,
}

#[derive(Debug, Clone)]
struct Store {
    pools: watch::Receiver<Option<Pools>>,
    /// What this process is losing, if it writes the journal.
    losses: Option<Arc<Losses>>,
}

impl Reader {
    pub(super) fn new(pools: watch::Receiver<Option<Pools>>, losses: Arc<Losses>) -> Self {
        Self { store: Some(Store { pools, losses: Some(losses) }) }
    }

    /// That of a store which is open, in a process that does not write the journal.
    pub(super) fn of(pools: Pools) -> Self {
        let (_, pools) = watch::channel(Some(pools));
        Self { store: Some(Store { pools, losses: None }) }
    }

    /// That of a journal which is off.
    pub fn off() -> Self {
        Self { store: None }
    }

    /// The connections to the store, while it is open.
    pub(super) fn pools(&self) -> Result<Pools, Unread> {
        let store = self.store.as_ref().ok_or(Unread::Off)?;
        store.pools.borrow().clone().ok_or(Unread::Away)
    }

    pub(super) async fn read<T>(
        &self,
        read: impl AsyncFnOnce(&AnyPool) -> Result<T, sqlx::Error>,
    ) -> Result<T, Unread> {
        let pools = self.pools()?;
        match tokio::time::timeout(READ_TIMEOUT, read(&pools.read)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::warn!(%error, "journal not read: its store failed");
                Err(Unread::Away)
            }
            Err(_) => Err(Unread::Slow),
        }
    }
}

/// A condition after the other, with its value.
#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

enum Value {
    Text(String),
    Number(i64),
}

impl Conditions {
    /// `condition` has one `?`, where the value goes.
    fn and(&mut self, condition: &str, value: Value) {
        self.values.push(value);
        self.sql.push(condition.replace('?', &format!("${}", self.values.len())));
    }

    fn text(&mut self, condition: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.and(condition, Value::Text(value.clone()));
        }
    }

    fn all(&self) -> String {
        if self.sql.is_empty() { "1 = 1".to_owned() } else { self.sql.join(" AND ") }
    }
}

/// `sql` holds names and limits of ours; what a caller asks for is among `values`.
fn bound<'q>(sql: String, values: &'q [Value]) -> Query<'q, Any, AnyArguments> {
    values.iter().fold(sqlx::query(AssertSqlSafe(sql)), |query, value| match value {
        Value::Text(text) => query.bind(text.as_str()),
        Value::Number(number) => query.bind(*number),
    })
}

async fn events(pool: &AnyPool, query: &EventQuery) -> Result<EventPage, sqlx::Error> {
    let mut narrow = Conditions::default();
    narrow.text("event = ?", query.id.as_ref());
    narrow.text("project = ?", query.project.as_ref());
    if let Some(since) = query.since {
        narrow.and("id >= ?", Value::Number(row_id_at(since)));
    }
    let ends = [query.until.map(row_id_at), query.before].into_iter().flatten().min();
    if let Some(end) = ends {
        narrow.and("id < ?", Value::Number(end));
    }
    // The words of the partial index, which covers all but the usual outcome.
    if query.outcome.is_some_and(|outcome| outcome != "delivered") {
        narrow.sql.push("remarkable = 1".to_owned());
    }
    // Without a project the type has an index of its own; with one it is looked for among the project's.
    let kind_first = query.project.is_none() && query.id.is_none();
    if kind_first {
        narrow.text("kind = ?", query.kind.as_ref());
    }
    let limit = query.limit.max(1);
    // Where rows may be passed over, many are examined; else only a few more, for those that another one followed.
    let passes_over = query.outcome.is_some() || (!kind_first && query.kind.is_some());
    let most = if passes_over { EXAMINED } else { limit * 4 + 1 };
    let sql = format!("SELECT {COLUMNS} FROM attempts WHERE {} ORDER BY id DESC LIMIT {most}", narrow.all());
    let rows = bound(sql, &narrow.values).fetch_all(pool).await?;
    let read_all = rows.len() < most;
    let mut page = EventPage::default();
    let mut last = None;
    for row in &rows {
        if page.events.len() == limit {
            page.next = last;
            return Ok(page);
        }
        let line = line(row)?;
        last = Some(line.row_id);
        let wanted = query.outcome.is_none_or(|outcome| line.last.outcome == outcome)
            && query.kind.as_ref().is_none_or(|kind| line.kind.as_ref().is_some_and(|is| is == kind.as_str()));
        if wanted && (line.id.is_none() || is_latest(pool, &line).await?) {
            page.events.push(line);
        }
    }
    page.next = if read_all { None } else { last };
    Ok(page)
}

/// Whether no later delivery of the same event is known: an event is listed once, by its latest.
async fn is_latest(pool: &AnyPool, line: &EventLine) -> Result<bool, sqlx::Error> {
    let later = sqlx::query("SELECT 1 FROM attempts WHERE event = $1 AND id > $2 AND project = $3 LIMIT 1")
        .bind(line.id.as_ref().map(Plain::as_written))
        .bind(line.row_id)
        .bind(line.project.as_ref().map(Plain::as_written))
        .fetch_optional(pool)
        .await?;
    Ok(later.is_none())
}

async fn stories(pool: &AnyPool, id: &str, project: Option<&str>) -> Result<Vec<EventStory>, sqlx::Error> {
    let project_too = if project.is_some() { " AND project = $2" } else { "" };
    let sql =
        format!("SELECT {COLUMNS} FROM attempts WHERE event = $1{project_too} ORDER BY id DESC LIMIT {}", STORY + 1);
    let mut query = sqlx::query(AssertSqlSafe(sql)).bind(id);
    if let Some(project) = project {
        query = query.bind(project);
    }
    let rows = query.fetch_all(pool).await?;
    let truncated = rows.len() > STORY;
    let mut by_project: BTreeMap<Option<String>, EventStory> = BTreeMap::new();
    for row in rows.iter().take(STORY).rev() {
        let line = line(row)?;
        let story = by_project
            .entry(line.project.as_ref().map(|project| project.as_written().to_owned()))
            .or_insert(EventStory { project: line.project, kind: None, attempts: Vec::new(), truncated });
        story.kind = line.kind.or(story.kind.take());
        story.attempts.push(line.last);
    }
    let mut stories: Vec<_> = by_project.into_values().collect();
    stories.sort_by_key(|story| story.attempts.last().map(|last| std::cmp::Reverse(last.at)));
    Ok(stories)
}

fn line(row: &AnyRow) -> Result<EventLine, sqlx::Error> {
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 microseconds")]
    let millis = |us: i64| us as f64 / 1e3;
    let text = |column| row.try_get::<Option<String>, _>(column).map(|text| text.map(Plain::from));
    let row_id: i64 = row.try_get("id")?;
    let next: Option<i64> = row.try_get("next_us")?;
    Ok(EventLine {
        row_id,
        project: text("project")?,
        id: text("event")?,
        kind: text("kind")?,
        last: Attempt {
            at: time_of(row_id),
            attempt: row.try_get("attempt")?,
            outcome: row.try_get::<String, _>("outcome")?.into(),
            status: row.try_get("status")?,
            reason: text("reason")?,
            detail: text("detail")?,
            latency_ms: row.try_get::<Option<i64>, _>("latency_us")?.map(millis),
            processing_ms: millis(row.try_get("in_hand_us")?),
            calls: row.try_get("calls")?,
            queue: row.try_get::<String, _>("queue")?.into(),
            routing_key: text("routing_key")?,
            message_id: text("message")?,
            next_at: next.and_then(|us| Timestamp::from_microsecond(us).ok()),
        },
    })
}

impl Timeline for Reader {
    async fn events(&self, query: &EventQuery) -> Result<EventPage, Unread> {
        self.read(async |pool| events(pool, query).await).await
    }

    async fn stories(&self, id: &str, project: Option<&str>) -> Result<Vec<EventStory>, Unread> {
        self.read(async |pool| stories(pool, id, project).await).await
    }

    async fn projects(
        &self,
        named: Option<&str>,
        since: Timestamp,
        after: Option<&str>,
        limit: usize,
    ) -> Result<ProjectPage, Unread> {
        self.read(async |pool| projects::page(pool, named, since, after, limit).await).await
    }

    async fn gaps(&self, from: Timestamp, until: Timestamp) -> Result<Vec<Gap>, Unread> {
        let written = self.read(async |pool| gaps::between(pool, from, until).await).await?;
        // What is being lost at this very moment is not written down yet.
        let current = self.store.as_ref().and_then(|store| store.losses.as_ref()?.current());
        let current = current.filter(|gap| gap.from <= until && gap.until.is_none_or(|end| end >= from));
        Ok(current.into_iter().chain(written).collect())
    }
}
