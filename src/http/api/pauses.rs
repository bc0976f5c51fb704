//! Pausing and resuming a project, and which ones are paused.

use super::{asked, guarded, unread};
use crate::{
    event::ProjectId,
    operate::audit::{Actor, Audit},
    pipeline::pauses::{MOST_PAUSED, Pause, PauseStore},
    process::secret::SecretList,
};
use crate::{
    http::problem::Problem,
    operate::{
        change::NotMade,
        project_pauses::{self, MAX_REASON, PauseError},
    },
};
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is needed to change pauses.
#[derive(Debug)]
struct Pausing<P, A> {
    desk: Arc<project_pauses::Operations<P, A>>,
    tokens: SecretList,
}

/// `/api/v1/paused`, and what pauses and resumes; needs the peer's address (`ConnectInfo`).
pub fn router<P: PauseStore, A: Audit>(desk: Arc<project_pauses::Operations<P, A>>, tokens: SecretList) -> Router {
    let router = Router::new()
        .route("/api/v1/paused", get(list::<P, A>))
        .route("/api/v1/projects/{project}/pause", post(pause::<P, A>))
        .route("/api/v1/projects/{project}/resume", post(resume::<P, A>))
        .with_state(Arc::new(Pausing { desk, tokens: tokens.clone() }));
    guarded(router, tokens)
}

/// What either order may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default)]
    reason: Option<String>,
}

async fn list<P: PauseStore, A: Audit>(State(pausing): State<Arc<Pausing<P, A>>>) -> Result<Json<Value>, Problem> {
    let paused = pausing.desk.paused().await.map_err(|error| unread(&error))?;
    let lines: Vec<_> = paused.iter().map(|(project, pause)| line(project, pause)).collect();
    Ok(Json(json!({"paused": lines})))
}

async fn pause<P: PauseStore, A: Audit>(
    State(pausing): State<Arc<Pausing<P, A>>>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (project, actor, reason) = read(&pausing.tokens, project, request).await?;
    let stands = pausing.desk.pause(actor, &project, reason).await.map_err(undone)?;
    Ok(Json(line(&project, &stands)))
}

async fn resume<P: PauseStore, A: Audit>(
    State(pausing): State<Arc<Pausing<P, A>>>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (project, actor, reason) = read(&pausing.tokens, project, request).await?;
    pausing.desk.resume(actor, &project, reason).await.map_err(undone)?;
    Ok(Json(json!({"project": project.as_str(), "paused": null})))
}

/// Which project, who, and why.
async fn read(
    tokens: &SecretList,
    project: String,
    request: Request,
) -> Result<(ProjectId, Actor, Option<String>), Problem> {
    let project = ProjectId::try_new(project)
        .map_err(|why| Problem::new(StatusCode::NOT_FOUND, format!("no project is called so: its name {why}")))?;
    let (actor, Order { reason }) = asked::read::<Order>(tokens, request).await?;
    Ok((project, actor, reason))
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
        PauseError::NotMade(NotMade::Unwritten(why)) => asked::unwritten(why),
        PauseError::NotMade(NotMade::Failed(why)) => unread(&why),
        PauseError::NotMade(NotMade::Broken) => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of hookbro ended it midway")
        }
    }
}

fn line(project: &ProjectId, pause: &Pause) -> Value {
    let mut line = shown(pause);
    line["project"] = project.as_str().into();
    line
}

/// A pause, as it stands beside its project.
pub(super) fn shown(pause: &Pause) -> Value {
    let who = json!({"identity": pause.identity, "claimed": pause.claimed});
    json!({"since": pause.since, "who": who, "reason": pause.reason})
}
