//! Dead events: looked at, replayed, discarded. What changes something only says how many it would be about, until told to.

use super::{
    asked, guarded,
    query::{Params, refuse},
};
use crate::{http::problem::Problem, operate::change::NotMade};
use crate::{
    operate::{
        audit::Audit,
        dead_letters::{
            self, Action, DeadLetterFilter, DeadLetters, DeadLettersError, FilterError, Job, REPEATS, Refused, redacted,
        },
    },
    process::secret::SecretList,
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
    desk: Arc<dead_letters::Operations<D, A>>,
    tokens: SecretList,
}

/// `/api/v1/dead`; needs the peer's address (`ConnectInfo`).
pub fn router<D: DeadLetters, A: Audit>(desk: Arc<dead_letters::Operations<D, A>>, tokens: SecretList) -> Router {
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

async fn list<D: DeadLetters, A: Audit>(
    State(dead): State<Arc<Dead<D, A>>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    let given = DeadLetterFilter::KEYS.iter().filter_map(|key| Some((key, params.text(key)?)));
    let filter = DeadLetterFilter::parse(given).map_err(|FilterError { key, why }| refuse(&key, &why))?;
    let (skip, limit) = (params.place("cursor")?, params.limit()?);
    let page = dead.desk.page(filter, skip, limit).await.map_err(refused)?;
    let seen = skip.saturating_add(page.letters.len() as u64);
    let next = (seen < page.total && !page.letters.is_empty()).then(|| seen.to_string());
    let events: Vec<_> = page.letters.iter().map(|letter| letter.record()).collect();
    Ok(Json(json!({"events": events, "total": page.total, "next": next})))
}

async fn one<D: DeadLetters, A: Audit>(
    State(dead): State<Arc<Dead<D, A>>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    Params::read(query.as_deref(), &[])?;
    if id.len() > MAX_ID || id.chars().any(char::is_control) {
        return Err(refuse("id", "must have at most 256 bytes and no control characters"));
    }
    let found = dead.desk.details(id).await.map_err(refused)?;
    if found.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no dead event has this id"));
    }
    let redaction = dead.desk.redaction();
    let events = found.into_iter().map(|mut whole| {
        // A publisher may have put into headers what is hidden in bodies.
        redaction.value(&mut whole.properties);
        let mut record = redacted(&whole.letter, redaction);
        record["properties"] = whole.properties;
        record
    });
    Ok(Json(json!({"events": events.collect::<Vec<_>>()})))
}

async fn job<D: DeadLetters, A: Audit>(
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
        "action": job.action.as_str(),
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

impl Filter {
    /// Whoever selects nothing must not be understood to mean everything.
    fn pairs(self) -> Result<Vec<(&'static str, String)>, String> {
        let statuses = self.status.map(|all| all.iter().map(f64::to_string).collect());
        let mut pairs = Vec::new();
        for (key, values) in [
            ("id", self.id),
            ("project", self.project),
            ("type", self.r#type),
            ("reason", self.reason),
            ("status", statuses),
            ("since", self.since.map(|at| vec![at.to_string()])),
            ("until", self.until.map(|at| vec![at.to_string()])),
        ] {
            if values.as_ref().is_some_and(Vec::is_empty) {
                return Err(format!("`filter.{key}` is empty; leave it out for any"));
            }
            pairs.extend(values.into_iter().flatten().map(|value| (key, value)));
        }
        Ok(pairs)
    }
}

impl Asked {
    fn filter(self) -> Result<DeadLetterFilter, Problem> {
        let wrong = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
        let filter = match (self.filter, self.all) {
            (None, true) => return Ok(DeadLetterFilter::default()),
            (Some(filter), false) => filter,
            (Some(_), true) => return Err(wrong("give a `filter` or `\"all\": true`, not both".to_owned())),
            (None, false) => return Err(wrong("give a `filter`, or `\"all\": true` for every dead event".to_owned())),
        };
        let filter = DeadLetterFilter::parse(filter.pairs().map_err(wrong)?)
            .map_err(|FilterError { key, why }| wrong(format!("`filter.{key}` {why}")))?;
        match filter.is_all() {
            true => Err(wrong("the filter excludes nothing; give `\"all\": true` for every dead event".to_owned())),
            false => Ok(filter),
        }
    }
}

async fn replay<D: DeadLetters, A: Audit>(State(dead): State<Arc<Dead<D, A>>>, request: Request) -> Response {
    deal(&dead, Action::Replay, request).await.unwrap_or_else(Problem::into_response)
}

async fn discard<D: DeadLetters, A: Audit>(State(dead): State<Arc<Dead<D, A>>>, request: Request) -> Response {
    deal(&dead, Action::Discard, request).await.unwrap_or_else(Problem::into_response)
}

async fn deal<D: DeadLetters, A: Audit>(
    dead: &Dead<D, A>,
    work: Action,
    request: Request,
) -> Result<Response, Problem> {
    let (actor, asked) = asked::read::<Asked>(&dead.tokens, request).await?;
    let confirmed = asked.confirm;
    let filter = asked.filter()?;
    let note = (work == Action::Replay).then_some(REPEATS);
    if !confirmed {
        let would = dead.desk.count(filter).await.map_err(refused)?;
        let told = json!({"action": work.as_str(), "confirmed": false, "events": would, "file": null, "note": note});
        return Ok(Json(told).into_response());
    }
    match dead.desk.make_or_leave(actor, work, filter).await.map_err(refused)? {
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
        Refused::DeadLetters(error) | Refused::NotMade(NotMade::Failed(error)) => match &error {
            DeadLettersError::TooMany { .. } => Problem::new(StatusCode::CONFLICT, error.to_string()),
            DeadLettersError::Away(_)
            | DeadLettersError::Locked(_)
            | DeadLettersError::Slow
            | DeadLettersError::File(_)
            | DeadLettersError::Midway { .. } => unavailable(error.to_string()).retry_after(BUSY_RETRY),
        },
        Refused::NotMade(NotMade::Unwritten(unwritten)) => asked::unwritten(unwritten),
        Refused::NotMade(NotMade::Broken) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of hookbro ended it; see its log")
        }
    }
}
