//! Dead events: looked at, replayed, discarded. What changes something only says how many it would be about, until told to.

use super::{
    asked, guarded,
    query::{Params, refuse},
};
use crate::{
    event::DeadReason,
    operate::{
        audit::Audit,
        dead::{DeadError, DeadEvents, REPEATS, redacted},
        dead_event::DeadFilter,
    },
    process::secret::SecretList,
};
use crate::{
    http::problem::Problem,
    operate::{
        change::NotMade,
        desk::{Desk, Job, Refused, Work},
    },
};
use axum::{
    Json, Router,
    extract::{Path, RawQuery, Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// When to come again while another look or change is under way, or the broker is away.
const BUSY_RETRY: Duration = Duration::from_secs(5);
/// Longest id that is looked for: nobody's is longer.
const MAX_ID: usize = 256;

struct Dead<D, A> {
    desk: Arc<Desk<D, A>>,
    tokens: SecretList,
}

/// `/api/v1/dead`; needs the peer's address (`ConnectInfo`).
pub fn router<D: DeadEvents, A: Audit>(desk: Arc<Desk<D, A>>, tokens: SecretList) -> Router {
    let state = Arc::new(Dead { desk, tokens: tokens.clone() });
    let routes = Router::new()
        .route("/api/v1/dead", get(list::<D, A>))
        .route("/api/v1/dead/job", get(job::<D, A>))
        .route("/api/v1/dead/replay", post(replay::<D, A>))
        .route("/api/v1/dead/discard", post(discard::<D, A>))
        .route("/api/v1/dead/{id}", get(one::<D, A>));
    guarded(routes.with_state(state), tokens)
}

const LIST: [&str; 9] = ["id", "project", "type", "reason", "status", "since", "until", "cursor", "limit"];

async fn list<D: DeadEvents, A: Audit>(
    State(dead): State<Arc<Dead<D, A>>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    let text = |name: &str| params.text(name).cloned().into_iter().collect::<Vec<_>>();
    let words = DeadReason::ALL.map(DeadReason::as_str);
    let word = params.word("reason", &words)?;
    let filter = DeadFilter {
        ids: text("id"),
        projects: text("project"),
        kinds: text("type"),
        reasons: DeadReason::ALL.into_iter().filter(|reason| word == Some(reason.as_str())).collect(),
        statuses: params.status("status")?.into_iter().collect(),
        since: params.time("since")?,
        until: params.time("until")?,
    };
    let (skip, limit) = (params.place("cursor")?, params.limit()?);
    let page = dead.desk.page(filter, skip, limit).await.map_err(refused)?;
    let seen = skip.saturating_add(page.events.len() as u64);
    let next = (seen < page.total && !page.events.is_empty()).then(|| seen.to_string());
    let events: Vec<_> = page.events.iter().map(|line| line.record()).collect();
    Ok(Json(json!({"events": events, "total": page.total, "next": next})))
}

async fn one<D: DeadEvents, A: Audit>(
    State(dead): State<Arc<Dead<D, A>>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    Params::read(query.as_deref(), &[])?;
    if id.len() > MAX_ID || id.chars().any(char::is_control) {
        return Err(refuse("id", "must have at most 256 bytes and no control characters"));
    }
    let found = dead.desk.whole(id).await.map_err(refused)?;
    if found.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no dead event has this id"));
    }
    let redaction = dead.desk.redaction();
    let events = found.into_iter().map(|mut whole| {
        // A publisher may have put into headers what is hidden in bodies.
        redaction.value(&mut whole.properties);
        let mut record = redacted(&whole.event, redaction);
        record["properties"] = whole.properties;
        record
    });
    Ok(Json(json!({"events": events.collect::<Vec<_>>()})))
}

async fn job<D: DeadEvents, A: Audit>(
    State(dead): State<Arc<Dead<D, A>>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    Params::read(query.as_deref(), &[])?;
    Ok(Json(json!({"job": dead.desk.job().as_ref().map(shown)})))
}

fn shown(job: &Job) -> Value {
    let (state, ended_at, dealt, detail) = match &job.ended {
        None => ("running", None, None, None),
        Some((at, Ok(dealt))) => ("done", Some(*at), Some(dealt), None),
        Some((at, Err(error))) => ("failed", Some(*at), None, Some(error.to_string())),
    };
    json!({
        "action": job.work.as_str(),
        "state": state,
        "who": {"identity": job.actor.identity.to_string(), "claimed": job.actor.claimed()},
        "filter": job.filter,
        "started_at": job.started,
        "ended_at": ended_at,
        "looked_at": job.progress.looked_at(),
        "events": dealt.map_or_else(|| job.progress.changed(), |dealt| dealt.events),
        "file": dealt.and_then(|dealt| dealt.file.as_ref()),
        "detail": detail,
    })
}

/// What a change is about: a filter or all, never neither.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    filter: Option<Filter>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    confirm: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    id: Option<Vec<String>>,
    project: Option<Vec<String>>,
    r#type: Option<Vec<String>>,
    reason: Option<Vec<String>>,
    /// JSON knows no whole numbers: 422.0 is one.
    status: Option<Vec<f64>>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Asked {
    fn filter(self) -> Result<DeadFilter, Problem> {
        let wrong = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
        let filter = match (self.filter, self.all) {
            (None, true) => return Ok(DeadFilter::default()),
            (Some(filter), false) => filter,
            (Some(_), true) => return Err(wrong("give a `filter` or `\"all\": true`, not both".to_owned())),
            (None, false) => return Err(wrong("give a `filter`, or `\"all\": true` for every dead event".to_owned())),
        };
        // Whoever selects nothing must not be understood to mean everything.
        let some = |name: &str, words: Option<Vec<String>>| match words {
            Some(words) if words.is_empty() => Err(wrong(format!("`filter.{name}` is empty; leave it out for any"))),
            words => Ok(words.unwrap_or_default()),
        };
        let reason = |word: String| {
            let known = DeadReason::ALL.into_iter().find(|reason| reason.as_str() == word);
            let words = DeadReason::ALL.map(DeadReason::as_str).join(", ");
            known.ok_or_else(|| wrong(format!("`filter.reason` must be one of {words}")))
        };
        let filter = DeadFilter {
            ids: some("id", filter.id)?,
            projects: some("project", filter.project)?,
            kinds: some("type", filter.r#type)?,
            reasons: some("reason", filter.reason)?.into_iter().map(reason).collect::<Result<_, _>>()?,
            statuses: statuses(filter.status).map_err(wrong)?,
            since: filter.since,
            until: filter.until,
        };
        match filter.is_all() {
            true => Err(wrong("the filter excludes nothing; give `\"all\": true` for every dead event".to_owned())),
            false => Ok(filter),
        }
    }
}

fn statuses(given: Option<Vec<f64>>) -> Result<Vec<i64>, String> {
    let Some(given) = given else { return Ok(Vec::new()) };
    let known = |status: f64| (100..=599_i32).find(|known| f64::from(*known) == status).map(i64::from);
    let statuses: Option<Vec<_>> = given.into_iter().map(known).collect();
    let refused = || "`filter.status` must be one or more numbers from 100 to 599; leave it out for any".to_owned();
    statuses.filter(|statuses| !statuses.is_empty()).ok_or_else(refused)
}

async fn replay<D: DeadEvents, A: Audit>(State(dead): State<Arc<Dead<D, A>>>, request: Request) -> Response {
    deal(&dead, Work::Replay, request).await.unwrap_or_else(Problem::into_response)
}

async fn discard<D: DeadEvents, A: Audit>(State(dead): State<Arc<Dead<D, A>>>, request: Request) -> Response {
    deal(&dead, Work::Discard, request).await.unwrap_or_else(Problem::into_response)
}

async fn deal<D: DeadEvents, A: Audit>(dead: &Dead<D, A>, work: Work, request: Request) -> Result<Response, Problem> {
    let (actor, asked) = asked::read::<Asked>(&dead.tokens, request).await?;
    let confirmed = asked.confirm;
    let filter = asked.filter()?;
    let note = (work == Work::Replay).then_some(REPEATS);
    if !confirmed {
        let would = dead.desk.count(filter).await.map_err(refused)?;
        let told = json!({"action": work.as_str(), "confirmed": false, "events": would, "file": null, "note": note});
        return Ok(Json(told).into_response());
    }
    match dead.desk.work(actor, work, filter).await.map_err(refused)? {
        Some(dealt) => {
            let told = json!({
                "action": work.as_str(),
                "confirmed": true,
                "events": dealt.events,
                "file": dealt.file,
                "note": note,
            });
            Ok(Json(told).into_response())
        }
        None => {
            let job = dead.desk.job().as_ref().map(shown);
            Ok((StatusCode::ACCEPTED, Json(json!({"job": job}))).into_response())
        }
    }
}

pub(in crate::http) fn refused(refused: Refused) -> Problem {
    let unavailable = |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    match refused {
        Refused::Busy => {
            let detail = "dead events are being looked through; see /api/v1/dead/job, and come again";
            unavailable(detail.to_owned()).retry_after(BUSY_RETRY)
        }
        Refused::Dead(error) | Refused::NotMade(NotMade::Failed(error)) => match &error {
            DeadError::TooMany { .. } => Problem::new(StatusCode::CONFLICT, error.to_string()),
            DeadError::Away(_)
            | DeadError::Locked(_)
            | DeadError::Slow
            | DeadError::File(_)
            | DeadError::Midway { .. } => unavailable(error.to_string()).retry_after(BUSY_RETRY),
        },
        Refused::NotMade(NotMade::Unwritten(unwritten)) => asked::unwritten(unwritten),
        Refused::NotMade(NotMade::Broken) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of hookbro ended it; see its log")
        }
    }
}
