//! Pausing and resuming a project, and which ones are paused.

use super::{
    super::{
        change::{Made, NotMade, change},
        problem::Problem,
    },
    asked, guarded, unread,
};
use crate::{
    domain::ProjectId,
    ports::{
        audit::{Actor, Audit, Change},
        pauses::{MOST_PAUSED, Pause, PauseStore, Pauses},
        secret::SecretList,
        timeline::Unread,
    },
};
use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    routing::{get, post},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest reason, in characters: a line to read.
const MAX_REASON: usize = 200;

/// What is needed to change pauses.
#[derive(Debug)]
pub struct Pausing<P, A> {
    pub pauses: Arc<Pauses<P>>,
    pub audit: Arc<A>,
    pub tokens: SecretList,
}

/// `/api/v1/paused`, and what pauses and resumes; needs the peer's address (`ConnectInfo`).
pub fn router<P: PauseStore, A: Audit>(pausing: Pausing<P, A>) -> Router {
    let tokens = pausing.tokens.clone();
    let router = Router::new()
        .route("/api/v1/paused", get(list::<P, A>))
        .route("/api/v1/projects/{project}/pause", post(pause::<P, A>))
        .route("/api/v1/projects/{project}/resume", post(resume::<P, A>))
        .with_state(Arc::new(pausing));
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
    let paused = pausing.pauses.refresh().await.map_err(|error| unread(&error))?;
    let lines: Vec<_> = paused.iter().map(|(project, pause)| line(project, pause)).collect();
    Ok(Json(json!({"paused": lines})))
}

async fn pause<P: PauseStore, A: Audit>(
    State(pausing): State<Arc<Pausing<P, A>>>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (project, actor, reason) = read(&pausing.tokens, project, request).await?;
    let known = pausing.pauses.board().known().borrow().clone().unwrap_or_default();
    if known.len() >= MOST_PAUSED && !known.contains_key(&project) {
        let detail = format!("{MOST_PAUSED} projects are paused already; resume some first");
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let wanted = Pause {
        // As exact as it is kept, so that it is known again.
        since: Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap_or_default(),
        identity: actor.identity.to_string(),
        claimed: actor.claimed().map(str::to_owned),
        reason: reason.clone(),
    };
    let (pauses, of) = (Arc::clone(&pausing.pauses), project.clone());
    let make = async move {
        let stands = pauses.pause(&of, &wanted).await?;
        let said = if stands == wanted { "paused" } else { "it was paused already" };
        Ok(Made { value: stands, said: said.to_owned() })
    };
    let stands = made(&pausing.audit, noted(actor, "project.pause", &project, reason), make).await?;
    Ok(Json(line(&project, &stands)))
}

async fn resume<P: PauseStore, A: Audit>(
    State(pausing): State<Arc<Pausing<P, A>>>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (project, actor, reason) = read(&pausing.tokens, project, request).await?;
    let (pauses, of) = (Arc::clone(&pausing.pauses), project.clone());
    let make = async move {
        pauses.resume(&of).await?;
        Ok(Made { value: (), said: "resumed".to_owned() })
    };
    made(&pausing.audit, noted(actor, "project.resume", &project, reason), make).await?;
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
    let wrong = |reason: &String| reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control);
    if reason.as_ref().is_some_and(wrong) {
        let detail = format!("`reason` must have at most {MAX_REASON} characters and no control characters");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with("field", "reason"));
    }
    Ok((project, actor, reason.filter(|reason| !reason.is_empty())))
}

fn noted(actor: Actor, action: &'static str, project: &ProjectId, reason: Option<String>) -> Change {
    Change { actor, action, project: Some(project.to_string()), target: None, detail: reason }
}

async fn made<A: Audit, T: Send + 'static>(
    audit: &Arc<A>,
    noted: Change,
    make: impl Future<Output = Result<Made<T>, Unread>> + Send + 'static,
) -> Result<T, Problem> {
    change(audit, noted, make).await.map_err(|not_made| match not_made {
        NotMade::Unwritten(why) => asked::unwritten(why),
        NotMade::Failed(why) => unread(&why),
        NotMade::Broken => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of hookbro ended it midway"),
    })
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
