//! Dead letters: list, show, replay, discard. Without `confirm`, a change only answers how many dead letters it would affect.

use super::{
    asked::{self, Claimed},
    query::{Query, refuse},
    refusals::{Changing, Guarded},
    routing::{guarded, route},
};
use crate::http::problem::Problem;
use crate::{
    operate::{
        api_types::{
            DeadAsked, DeadFull, DeadJob, DeadJobAnswer, DeadPage, DeadQuery, DeadWhole, Dealt, Nothing, Phrase,
            WorkState,
        },
        audit::Audit,
        dead_letters::{
            self, Action, DeadLetterFilter, DeadLetterHead, DeadLetters, DeadLettersError, FilterError, Job, REPEATS,
            Refused, head,
        },
    },
    process::secret::SecretList,
};
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use std::{sync::Arc, time::Duration};

/// When to try again while another read or change is under way, or the broker is away.
const BUSY_RETRY: Duration = Duration::from_secs(5);
/// Longest id that is searched: nobody's is longer.
const MAX_ID: usize = 256;

struct Dead<D, A> {
    operations: Arc<dead_letters::Operations<D, A>>,
    tokens: SecretList,
}

/// `/api/v1/dead`; needs the peer's address (`ConnectInfo`).
pub fn router<D: DeadLetters, A: Audit>(operations: Arc<dead_letters::Operations<D, A>>, tokens: SecretList) -> Router {
    let state = Arc::new(Dead { operations, tokens: tokens.clone() });
    let routes = route(Router::new(), __path_list, list::<D, A>);
    let routes = route(routes, __path_job, job::<D, A>);
    let routes = route(routes, __path_replay, replay::<D, A>);
    let routes = route(routes, __path_discard, discard::<D, A>);
    guarded(route(routes, __path_one, one::<D, A>).with_state(state), tokens)
}

/// Dead letters, oldest first, without their bodies.
///
/// Each request reads the whole dead-letter queue, up to 20,000 events, and one request reads at a time. The cursor counts
/// positions: events that are taken out meanwhile move it.
#[utoipa::path(
    get,
    path = "/api/v1/dead",
    operation_id = "listDead",
    params(DeadQuery),
    responses(
        (status = 200, description = "Found.", body = DeadPage),
        (status = 400, description = "A parameter is wrong."),
        Guarded,
        (status = 409, description = "More events than a running hookbro reads; use `hookbro dead`."),
        (status = 503, description = "The broker or the journal is away, another read is under way, or it took too long; see `Retry-After`.")
    )
)]
async fn list<D: DeadLetters, A: Audit>(
    State(dead): State<Arc<Dead<D, A>>>,
    Query(asked): Query<DeadQuery>,
) -> Result<Json<DeadPage>, Problem> {
    let filter = DeadLetterFilter::parse(asked.filter()).map_err(|FilterError { key, why }| refuse(&key, &why))?;
    let skip = asked.cursor.map_or(0, |cursor| cursor.0.unsigned_abs());
    let page = dead.operations.page(filter, skip, asked.limit.0).await.map_err(refused)?;
    let seen = skip.saturating_add(page.letters.len() as u64);
    let next = (seen < page.total && !page.letters.is_empty()).then(|| seen.to_string());
    let events = page.letters.iter().map(DeadLetterHead::record).collect();
    Ok(Json(DeadPage { events, total: page.total, next }))
}

/// The dead letters with this id, with headers and body; what `redact.fields` names is hidden in both.
#[utoipa::path(
    get,
    path = "/api/v1/dead/{id}",
    operation_id = "getDead",
    params(("id" = Phrase, Path, description = "Event id.")),
    responses(
        (status = 200, description = "Found.", body = DeadWhole),
        (status = 400, description = "A parameter is wrong."),
        Guarded,
        (status = 404, description = "No dead letter has this id."),
        (status = 409, description = "More events than a running hookbro reads; use `hookbro dead`."),
        (status = 503, description = "The broker or the journal is away, another read is under way, or it took too long; see `Retry-After`.")
    )
)]
async fn one<D: DeadLetters, A: Audit>(
    State(dead): State<Arc<Dead<D, A>>>,
    Path(id): Path<String>,
    _: Query<Nothing>,
) -> Result<Json<DeadWhole>, Problem> {
    if id.len() > MAX_ID || id.chars().any(char::is_control) {
        return Err(refuse("id", "must have at most 256 bytes and no control characters"));
    }
    let found = dead.operations.details(id).await.map_err(refused)?;
    if found.is_empty() {
        return Err(Problem::new(StatusCode::NOT_FOUND, "no dead letter has this id"));
    }
    let redaction = dead.operations.redaction();
    let events = found.into_iter().map(|whole| {
        let mut properties = whole.properties;
        // A publisher may have put into headers what is hidden in bodies.
        redaction.value(&mut properties);
        let body = redaction.bytes(&whole.letter.body).into_owned().into();
        DeadFull { event: head(&whole.letter), body, properties }
    });
    Ok(Json(DeadWhole { events: events.collect() }))
}

/// The replay or discard that is under way in this process, or the last one that was.
#[utoipa::path(
    get,
    path = "/api/v1/dead/job",
    operation_id = "getDeadJob",
    responses(
        (status = 200, description = "Found.", body = DeadJobAnswer),
        (status = 400, description = "A parameter is wrong."),
        Guarded
    )
)]
async fn job<D: DeadLetters, A: Audit>(State(dead): State<Arc<Dead<D, A>>>, _: Query<Nothing>) -> Json<DeadJobAnswer> {
    Json(DeadJobAnswer { job: dead.operations.job().as_ref().map(shown) })
}

fn shown(job: &Job) -> DeadJob {
    let (state, ended_at, dealt, detail) = match &job.ended {
        None => (WorkState::Running, None, None, None),
        Some((at, Ok(dealt))) => (WorkState::Done, Some(*at), Some(dealt), None),
        Some((at, Err(error))) => (WorkState::Failed, Some(*at), None, Some(error.to_string().into())),
    };
    DeadJob {
        action: job.action.as_str().into(),
        state,
        who: (&job.actor).into(),
        filter: job.filter.as_str().into(),
        started_at: job.started,
        ended_at,
        examined: job.progress.examined(),
        events: dealt.map_or_else(|| job.progress.changed(), |dealt| dealt.events),
        file: dealt.and_then(|dealt| dealt.file.as_deref()).map(Into::into),
        detail,
    }
}

/// Which dead letters are selected: a filter or all, never neither.
fn selected(asked: DeadAsked) -> Result<DeadLetterFilter, Problem> {
    let wrong = |why: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    let filter = match (asked.filter, asked.all) {
        (None, true) => return Ok(DeadLetterFilter::default()),
        (Some(filter), false) => filter,
        (Some(_), true) => return Err(wrong("give a `filter` or `\"all\": true`, not both".to_owned())),
        (None, false) => return Err(wrong("give a `filter`, or `\"all\": true` for every dead letter".to_owned())),
    };
    // Whoever selects nothing must not be understood to mean everything.
    let pairs = filter.pairs().map_err(|key| wrong(format!("`filter.{key}` is empty; leave it out for any")))?;
    let filter =
        DeadLetterFilter::parse(pairs).map_err(|FilterError { key, why }| wrong(format!("`filter.{key}` {why}")))?;
    match filter.is_all() {
        true => Err(wrong("the filter excludes nothing; give `\"all\": true` for every dead letter".to_owned())),
        false => Ok(filter),
    }
}

/// Sends dead letters again, as first attempts.
///
/// Without `confirm`, the answer only says how many it would be. The broker confirms each one before it leaves the dead-letter
/// queue. The replay goes on if the client disconnects. An event that Svix accepted before is refused there as a repeat.
#[utoipa::path(
    post,
    path = "/api/v1/dead/replay",
    operation_id = "replayDead",
    params(Claimed),
    request_body = DeadAsked,
    responses(
        (status = 200, description = "Made, or without `confirm` only counted.", body = Dealt),
        (status = 202, description = "It takes longer, and goes on alone.", body = DeadJobAnswer),
        (status = 400, description = "Not JSON, or a name that cannot be claimed."),
        Changing,
        (status = 409, description = "More events than a running hookbro reads; use `hookbro dead`."),
        (status = 422, description = "JSON, but not what can be asked; names the field."),
        (status = 503, description = "The broker or the journal is away, another read is under way, or it took too long; see `Retry-After`.")
    )
)]
async fn replay<D: DeadLetters, A: Audit>(State(dead): State<Arc<Dead<D, A>>>, request: Request) -> Response {
    deal(&dead, Action::Replay, request).await.unwrap_or_else(Problem::into_response)
}

/// Deletes dead letters, after writing them to a file.
///
/// Without `confirm`, the answer only says how many it would be. The file is NDJSON, whole, for its owner alone, in `$STATE_DIRECTORY` or the
/// working folder of the hookbro that answers.
#[utoipa::path(
    post,
    path = "/api/v1/dead/discard",
    operation_id = "discardDead",
    params(Claimed),
    request_body = DeadAsked,
    responses(
        (status = 200, description = "Made, or without `confirm` only counted.", body = Dealt),
        (status = 202, description = "It takes longer, and goes on alone.", body = DeadJobAnswer),
        (status = 400, description = "Not JSON, or a name that cannot be claimed."),
        Changing,
        (status = 409, description = "More events than a running hookbro reads; use `hookbro dead`."),
        (status = 422, description = "JSON, but not what can be asked; names the field."),
        (status = 503, description = "The broker or the journal is away, another read is under way, or it took too long; see `Retry-After`.")
    )
)]
async fn discard<D: DeadLetters, A: Audit>(State(dead): State<Arc<Dead<D, A>>>, request: Request) -> Response {
    deal(&dead, Action::Discard, request).await.unwrap_or_else(Problem::into_response)
}

async fn deal<D: DeadLetters, A: Audit>(
    dead: &Dead<D, A>,
    action: Action,
    request: Request,
) -> Result<Response, Problem> {
    let (actor, asked) = asked::read::<DeadAsked>(&dead.tokens, request).await?;
    let confirmed = asked.confirm;
    let filter = selected(asked)?;
    let answer = |events, file: Option<String>| Dealt {
        action: action.as_str().into(),
        confirmed,
        events,
        file: file.map(Into::into),
        note: (action == Action::Replay).then(|| REPEATS.into()),
    };
    if !confirmed {
        return Ok(Json(answer(dead.operations.count(filter).await.map_err(refused)?, None)).into_response());
    }
    match dead.operations.make_or_leave(actor, action, filter).await.map_err(refused)? {
        Some(dealt) => Ok(Json(answer(dealt.events, dealt.file)).into_response()),
        None => {
            let job = dead.operations.job().as_ref().map(shown);
            Ok((StatusCode::ACCEPTED, Json(DeadJobAnswer { job })).into_response())
        }
    }
}

pub(in crate::http) fn refused(refused: Refused) -> Problem {
    let unavailable = |detail: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
    let failed = |error: &DeadLettersError| match error {
        DeadLettersError::TooMany { .. } => Problem::new(StatusCode::CONFLICT, error.to_string()),
        DeadLettersError::Away(_)
        | DeadLettersError::Locked(_)
        | DeadLettersError::Slow
        | DeadLettersError::File(_)
        | DeadLettersError::Midway { .. } => unavailable(error.to_string()).retry_after(BUSY_RETRY),
    };
    match refused {
        Refused::Busy => {
            let detail = "another request is reading the dead letters; see /api/v1/dead/job, and try again";
            unavailable(detail.to_owned()).retry_after(BUSY_RETRY)
        }
        Refused::DeadLetters(error) => failed(&error),
        Refused::NotMade(why) => asked::not_made(why, |error| failed(&error)),
    }
}
