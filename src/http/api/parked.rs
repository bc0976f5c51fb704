//! Parked events by project: list, release, give up. Without `confirm`, a change only answers how many events it would affect.

use super::{
    asked::{self, Claimed},
    refusals::{ChangingProject, Guarded},
    routing::{guarded, route},
};
use crate::{
    http::problem::Problem,
    operate::{
        api_types::{Ident, MovedParked, ParkedAsked, ParkedPage},
        audit::Audit,
        change::NotMade,
        parked::{self, Action, Lot, MOST_AT_ONCE, PARKED_AGAIN, ParkedError, ParkedEvents, Selection},
        sanitize::Plain,
    },
    process::secret::SecretList,
};
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
};
use std::{sync::Arc, time::Duration};

/// When to try again while the broker is away.
const AWAY_RETRY: Duration = Duration::from_secs(5);

struct Parked<P, A> {
    operations: Arc<parked::Operations<P, A>>,
    tokens: SecretList,
}

/// `/api/v1/parked`, and what moves parked events; needs the peer's address (`ConnectInfo`).
pub fn router<P: ParkedEvents, A: Audit>(operations: Arc<parked::Operations<P, A>>, tokens: SecretList) -> Router {
    let state = Arc::new(Parked { operations, tokens: tokens.clone() });
    let routes = route(Router::new(), __path_list, list::<P, A>);
    let routes = route(routes, __path_release, release::<P, A>);
    guarded(route(routes, __path_give_up, give_up::<P, A>).with_state(state), tokens)
}

/// The projects that have parked events, those with most of them first.
#[utoipa::path(
    get,
    path = "/api/v1/parked",
    operation_id = "listParked",
    responses(
        (status = 200, description = "Found.", body = ParkedPage),
        Guarded,
        (status = 503, description = "The broker is away, or another request or process reads parked events.")
    )
)]
async fn list<P: ParkedEvents, A: Audit>(State(parked): State<Arc<Parked<P, A>>>) -> Result<Json<ParkedPage>, Problem> {
    let lots = parked.operations.lots().await.map_err(|error| away(&error))?;
    Ok(Json(ParkedPage { parked: lots.iter().map(Lot::record).collect() }))
}

/// Tries parked events of a project now, as new events are, from the first attempt on.
///
/// Without `confirm`, the answer only says how many it would be. The broker confirms each one in the work queue before it leaves.
/// Events whose project is paused, or whose application still fails, are parked again. At most 10,000 at once, oldest first.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{project}/parked/release",
    operation_id = "releaseParked",
    params(("project" = Ident, Path, description = "Project id."), Claimed),
    request_body = ParkedAsked,
    responses(
        (status = 200, description = "Made, or without `confirm` only counted.", body = MovedParked),
        ChangingProject,
        (status = 503, description = "The broker or the journal is away; the detail says how many events were moved.")
    )
)]
async fn release<P: ParkedEvents, A: Audit>(
    State(parked): State<Arc<Parked<P, A>>>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Json<MovedParked>, Problem> {
    make(&parked, Action::Release, project, request).await
}

/// Makes dead letters of parked events of a project, `exhausted`.
///
/// Without `confirm`, the answer only says how many it would be. The broker confirms each one in the dead-letter queue before it
/// leaves; there it can be replayed or discarded. At most 10,000 at once, oldest first.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{project}/parked/give-up",
    operation_id = "giveUpParked",
    params(("project" = Ident, Path, description = "Project id."), Claimed),
    request_body = ParkedAsked,
    responses(
        (status = 200, description = "Made, or without `confirm` only counted.", body = MovedParked),
        ChangingProject,
        (status = 503, description = "The broker or the journal is away; the detail says how many events were moved.")
    )
)]
async fn give_up<P: ParkedEvents, A: Audit>(
    State(parked): State<Arc<Parked<P, A>>>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Json<MovedParked>, Problem> {
    make(&parked, Action::GiveUp, project, request).await
}

async fn make<P: ParkedEvents, A: Audit>(
    parked: &Parked<P, A>,
    action: Action,
    project: String,
    request: Request,
) -> Result<Json<MovedParked>, Problem> {
    let (project, actor, asked) = asked::of_project(&parked.tokens, project, request).await?;
    let ParkedAsked { limit, confirm } = asked;
    let selection = Selection { projects: vec![project.clone()], limit: Some(at_most(limit)?) };
    let events = match confirm {
        false => parked.operations.count(&selection).await.map_err(|error| away(&error))?,
        true => parked.operations.make(actor, action, selection, Arc::default()).await.map_err(not_made)?,
    };
    let project = Plain::new(project.as_str());
    let note = (action == Action::Release).then(|| PARKED_AGAIN.into());
    Ok(Json(MovedParked { project, confirmed: confirm, events, note }))
}

/// JSON knows no whole numbers: 7.0 is one.
fn at_most(limit: Option<f64>) -> Result<u64, Problem> {
    let Some(limit) = limit else { return Ok(MOST_AT_ONCE) };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number out of range becomes its end"
    )]
    let whole = limit as u64;
    if limit.fract() == 0.0 && (1..=MOST_AT_ONCE).contains(&whole) {
        return Ok(whole);
    }
    let detail = format!("`limit` must be a whole number from 1 to {MOST_AT_ONCE}");
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("field", "limit"))
}

pub(in crate::http) fn away(error: &ParkedError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).retry_after(AWAY_RETRY)
}

pub(in crate::http) fn not_made(not_made: NotMade<ParkedError>) -> Problem {
    asked::not_made(not_made, |error| away(&error))
}
