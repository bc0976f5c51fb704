//! Pausing and resuming a project, and which ones are paused.

use super::{
    asked::{self, Claimed},
    refusals::{ChangingProject, Guarded, unread},
    routing::{guarded, route},
};
use crate::{
    http::problem::Problem,
    operate::{
        api_types::{Ident, NamedPause, Order, PausedList, Resumed},
        audit::Audit,
        project_pauses::{self, MAX_REASON, PauseError},
    },
    pipeline::pauses::{MOST_PAUSED, PauseStore},
    process::secret::SecretList,
};
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
};
use std::sync::Arc;

/// What is needed to change pauses.
#[derive(Debug)]
struct Pausing<P, A> {
    operations: Arc<project_pauses::Operations<P, A>>,
    tokens: SecretList,
}

/// `/api/v1/paused`, and what pauses and resumes; needs the peer's address (`ConnectInfo`).
pub fn router<P: PauseStore, A: Audit>(
    operations: Arc<project_pauses::Operations<P, A>>,
    tokens: SecretList,
) -> Router {
    let state = Arc::new(Pausing { operations, tokens: tokens.clone() });
    let router = route(Router::new(), __path_list, list::<P, A>);
    let router = route(router, __path_pause, pause::<P, A>);
    guarded(route(router, __path_resume, resume::<P, A>).with_state(state), tokens)
}

/// The paused projects, those without any traffic too.
#[utoipa::path(
    get,
    path = "/api/v1/paused",
    operation_id = "listPaused",
    responses(
        (status = 200, description = "Found.", body = PausedList),
        Guarded,
        (status = 503, description = "The broker is away or slow.")
    )
)]
async fn list<P: PauseStore, A: Audit>(State(pausing): State<Arc<Pausing<P, A>>>) -> Result<Json<PausedList>, Problem> {
    let paused = pausing.operations.paused().await.map_err(|error| unread(&error))?;
    Ok(Json(PausedList { paused: paused.iter().map(|(project, pause)| NamedPause::of(project, pause)).collect() }))
}

/// Pauses a project.
///
/// Its events are parked, without an attempt, until it is resumed; other projects go on. Other replicas follow within two
/// seconds. If the project is paused already, that pause stays as it is, and the answer shows it. Written to the audit first; a
/// caller may name itself in `x-hookbro-user`.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{project}/pause",
    operation_id = "pauseProject",
    params(("project" = Ident, Path, description = "Project id."), Claimed),
    request_body = Order,
    responses(
        (status = 200, description = "Done.", body = NamedPause),
        ChangingProject,
        (status = 409, description = "1,000 projects are paused already."),
        (status = 503, description = "The journal is off or away: nothing was changed. Or the broker is away or slow: nothing was changed, or it is not known.")
    )
)]
async fn pause<P: PauseStore, A: Audit>(
    State(pausing): State<Arc<Pausing<P, A>>>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Json<NamedPause>, Problem> {
    let (project, actor, Order { reason }) = asked::of_project(&pausing.tokens, project, request).await?;
    let pause = pausing.operations.pause(actor, &project, reason).await.map_err(undone)?;
    Ok(Json(NamedPause::of(&project, &pause)))
}

/// Resumes a project.
///
/// Its parked events start again with attempt 1, in their order. Resuming what is not paused changes nothing. Written to the audit
/// first; a caller may name itself in `x-hookbro-user`.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{project}/resume",
    operation_id = "resumeProject",
    params(("project" = Ident, Path, description = "Project id."), Claimed),
    request_body = Order,
    responses(
        (status = 200, description = "Done.", body = Resumed),
        ChangingProject,
        (status = 503, description = "The journal is off or away: nothing was changed. Or the broker is away or slow: nothing was changed, or it is not known.")
    )
)]
async fn resume<P: PauseStore, A: Audit>(
    State(pausing): State<Arc<Pausing<P, A>>>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Json<Resumed>, Problem> {
    let (project, actor, Order { reason }) = asked::of_project(&pausing.tokens, project, request).await?;
    pausing.operations.resume(actor, &project, reason).await.map_err(undone)?;
    Ok(Json(Resumed { project: project.as_str().into(), paused: () }))
}

pub(in crate::http) fn undone(undone: PauseError) -> Problem {
    match undone {
        PauseError::Reason => {
            let detail = format!("`reason` must have at most {MAX_REASON} characters and no control characters");
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("field", "reason")
        }
        PauseError::Full => {
            let detail = format!("{MOST_PAUSED} projects are paused already; resume some first");
            Problem::new(StatusCode::CONFLICT, detail)
        }
        PauseError::NotMade(why) => asked::not_made(why, |error| unread(&error)),
    }
}
