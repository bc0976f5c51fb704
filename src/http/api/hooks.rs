//! A project's endpoints in Svix: shown, tested, recovered; messages resent; links to the portal.

use super::{
    asked, guarded,
    query::{Params, refuse},
};
use crate::{
    event::{EndpointId, EventId, EventType, InvalidIdent, ProjectId},
    operate::{
        audit::{Actor, Audit},
        endpoint_admin::{EndpointAdmin, EndpointAdminError, NO_PORTAL, PING},
    },
    process::secret::SecretList,
};
use crate::{
    http::problem::Problem,
    operate::{
        change::NotMade,
        endpoints::{self, Answer, Order},
    },
};
use axum::{
    Json, Router,
    extract::{Path, RawQuery, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// When to ask Svix again.
const AWAY_RETRY: Duration = Duration::from_secs(10);
/// Endpoints of one answer. Svix's customers have a handful each.
const MOST: usize = 500;

struct Endpoints<H, A> {
    desk: Arc<endpoints::Operations<H, A>>,
    tokens: SecretList,
}

type Shared<H, A> = State<Arc<Endpoints<H, A>>>;

/// What is asked of Svix by project; needs the peer's address (`ConnectInfo`).
pub fn router<H: EndpointAdmin, A: Audit>(desk: Arc<endpoints::Operations<H, A>>, tokens: SecretList) -> Router {
    let state = Arc::new(Endpoints { desk, tokens: tokens.clone() });
    let routes = Router::new()
        .route("/api/v1/projects/{project}/endpoints", get(list::<H, A>))
        .route("/api/v1/projects/{project}/endpoints/{endpoint}/test", post(test::<H, A>))
        .route("/api/v1/projects/{project}/endpoints/{endpoint}/recover", post(recover::<H, A>))
        .route("/api/v1/projects/{project}/portal", post(portal::<H, A>))
        .route("/api/v1/events/{id}/resend", post(resend::<H, A>));
    guarded(routes.with_state(state), tokens)
}

fn checked<T>(name: &str, text: String, check: fn(String) -> Result<T, InvalidIdent>) -> Result<T, Problem> {
    check(text).map_err(|why| refuse(name, &why.to_string()))
}

async fn list<H: EndpointAdmin, A: Audit>(
    State(state): Shared<H, A>,
    Path(project): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    Params::read(query.as_deref(), &[])?;
    let project = checked("project", project, ProjectId::try_new)?;
    let mut endpoints = state.desk.endpoints(&project).await.map_err(failed)?;
    let truncated = endpoints.len() > MOST;
    endpoints.truncate(MOST);
    Ok(Json(json!({"endpoints": endpoints, "truncated": truncated})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestAsked {
    /// Any with an example in its schema; without one, that which every Svix has.
    r#type: Option<String>,
}

async fn test<H: EndpointAdmin, A: Audit>(
    State(state): Shared<H, A>,
    Path((project, endpoint)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    let (actor, asked) = asked::read::<TestAsked>(&state.tokens, request).await?;
    let endpoint = checked("endpoint", endpoint, EndpointId::try_new)?;
    let kind = field("type", asked.r#type.unwrap_or_else(|| PING.to_owned()), EventType::try_new)?;
    let told = state.order(actor, project, Order::Test { endpoint, kind: kind.clone() }).await?;
    Ok(Json(json!({"message_id": told, "type": kind.as_str()})))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecoverAsked {
    since: Timestamp,
}

async fn recover<H: EndpointAdmin, A: Audit>(
    State(state): Shared<H, A>,
    Path((project, endpoint)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (actor, RecoverAsked { since }) = asked::read::<RecoverAsked>(&state.tokens, request).await?;
    let endpoint = checked("endpoint", endpoint, EndpointId::try_new)?;
    let task = state.order(actor, project, Order::Recover { endpoint, since }).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"task_id": task}))).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ResendAsked {
    project: String,
    endpoint: String,
}

async fn resend<H: EndpointAdmin, A: Audit>(
    State(state): Shared<H, A>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (actor, asked) = asked::read::<ResendAsked>(&state.tokens, request).await?;
    let event = checked("id", id.clone(), EventId::try_new)?;
    let project = field("project", asked.project, ProjectId::try_new)?;
    let endpoint = field("endpoint", asked.endpoint, EndpointId::try_new)?;
    state.order(actor, project.to_string(), Order::Resend { event, endpoint }).await?;
    Ok((StatusCode::ACCEPTED, Json(json!({"id": id}))).into_response())
}

/// Nothing can be said about a link; an empty object keeps the content type that other sites cannot send.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortalAsked {}

async fn portal<H: EndpointAdmin, A: Audit>(
    State(state): Shared<H, A>,
    Path(project): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let (actor, PortalAsked {}) = asked::read::<PortalAsked>(&state.tokens, request).await?;
    let link = state.order(actor, project, Order::Portal).await?;
    let none = link.as_deref() == Some(NO_PORTAL);
    let note = none.then_some("this Svix is the open-source server, which has no customer portal");
    // A secret: no cache may have it.
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({"url": link, "note": note}))).into_response())
}

impl<H: EndpointAdmin, A: Audit> Endpoints<H, A> {
    async fn order(&self, actor: Actor, project: String, order: Order) -> Result<Answer, Problem> {
        let project = checked("project", project, ProjectId::try_new)?;
        self.desk.order(actor, &project, order).await.map_err(not_made)
    }
}

pub(in crate::http) fn not_made(not_made: NotMade<EndpointAdminError>) -> Problem {
    match not_made {
        NotMade::Failed(error) => failed(error),
        NotMade::Unwritten(unwritten) => asked::unwritten(unwritten),
        NotMade::Broken => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of hookbro ended it; see its log"),
    }
}

/// An identifier in a body: what reads and is none is 422.
fn field<T>(name: &str, text: String, check: fn(String) -> Result<T, InvalidIdent>) -> Result<T, Problem> {
    check(text).map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("`{name}` {why}")))
}

pub(in crate::http) fn failed(error: EndpointAdminError) -> Problem {
    match error {
        EndpointAdminError::Missing(detail) => Problem::new(StatusCode::NOT_FOUND, detail),
        EndpointAdminError::Refused(detail) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail),
        EndpointAdminError::Away(detail) | EndpointAdminError::Access(detail) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(AWAY_RETRY)
        }
    }
}
