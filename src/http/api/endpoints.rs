//! A project's endpoints in Svix: shown, tested, recovered; messages resent; links to the portal.

use super::{
    asked::{self, Claimed},
    query::{Query, refuse},
    refusals::{Changing, Guarded},
    routing::{guarded, route},
};
use crate::{
    event::{EndpointId, EventId, EventType, InvalidIdent, ProjectId},
    operate::{
        api_types::{
            EndpointPage, Nothing, Portal, PortalAsked, RecoverAsked, Recovering, ResendAsked, Resent, TestAsked,
            Tested,
        },
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
    extract::{Path, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use std::{sync::Arc, time::Duration};

/// When to ask Svix again.
const AWAY_RETRY: Duration = Duration::from_secs(10);
/// Endpoints of one answer. Svix's customers have a handful each.
const MOST: usize = 500;

struct Endpoints<H, A> {
    operations: Arc<endpoints::Operations<H, A>>,
    tokens: SecretList,
}

type Shared<H, A> = State<Arc<Endpoints<H, A>>>;

/// What is asked of Svix by project; needs the peer's address (`ConnectInfo`).
pub fn router<H: EndpointAdmin, A: Audit>(operations: Arc<endpoints::Operations<H, A>>, tokens: SecretList) -> Router {
    let state = Arc::new(Endpoints { operations, tokens: tokens.clone() });
    let routes = route(Router::new(), __path_list, list::<H, A>);
    let routes = route(routes, __path_test, test::<H, A>);
    let routes = route(routes, __path_recover, recover::<H, A>);
    let routes = route(routes, __path_portal, portal::<H, A>);
    guarded(route(routes, __path_resend, resend::<H, A>).with_state(state), tokens)
}

fn checked<T>(name: &str, text: String, check: fn(String) -> Result<T, InvalidIdent>) -> Result<T, Problem> {
    check(text).map_err(|why| refuse(name, &why.to_string()))
}

/// Where a project's messages are delivered, newest first, with their event-type filter.
#[utoipa::path(
    get,
    path = "/api/v1/projects/{project}/endpoints",
    operation_id = "listEndpoints",
    params(
        ("project" = String, Path, description = "Project id.", pattern = "^(?!app_)[a-zA-Z0-9_-]{1,256}$"),
    ),
    responses(
        (status = 200, description = "Found.", body = EndpointPage),
        (status = 400, description = "A parameter is wrong."),
        Guarded,
        (status = 404, description = "Svix knows no such project, endpoint, event type or message."),
        (status = 422, description = "Svix refuses."),
        (status = 503, description = "Svix or the journal is away; see `Retry-After`.")
    )
)]
async fn list<H: EndpointAdmin, A: Audit>(
    State(state): Shared<H, A>,
    Path(project): Path<String>,
    _: Query<Nothing>,
) -> Result<Json<EndpointPage>, Problem> {
    let project = checked("project", project, ProjectId::try_new)?;
    let mut endpoints = state.operations.endpoints(&project).await.map_err(failed)?;
    let truncated = endpoints.len() > MOST;
    endpoints.truncate(MOST);
    let endpoints = endpoints.into_iter().map(Into::into).collect();
    Ok(Json(EndpointPage { endpoints, truncated }))
}

/// Sends an example of an event type to one endpoint.
///
/// Svix takes it from the type's schema; `svix.ping`, the default, is always there.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{project}/endpoints/{endpoint}/test",
    operation_id = "testEndpoint",
    params(
        ("project" = String, Path, description = "Project id.", pattern = "^(?!app_)[a-zA-Z0-9_-]{1,256}$"),
        ("endpoint" = String, Path, description = "Id or uid of an endpoint.", pattern = "^[a-zA-Z0-9_-]{1,256}$"),
        Claimed,
    ),
    request_body = TestAsked,
    responses(
        (status = 200, description = "Sent.", body = Tested),
        (status = 400, description = "Not JSON, a wrong identifier in the path, or a name that cannot be claimed."),
        Changing,
        (status = 404, description = "Svix knows no such project, endpoint, event type or message."),
        (status = 422, description = "JSON, but not what can be asked; or Svix refuses it."),
        (status = 503, description = "Svix or the journal is away; see `Retry-After`.")
    )
)]
async fn test<H: EndpointAdmin, A: Audit>(
    State(state): Shared<H, A>,
    Path((project, endpoint)): Path<(String, String)>,
    request: Request,
) -> Result<Json<Tested>, Problem> {
    let (actor, asked) = asked::read::<TestAsked>(&state.tokens, request).await?;
    let endpoint = checked("endpoint", endpoint, EndpointId::try_new)?;
    let kind = field("type", asked.r#type.unwrap_or_else(|| PING.to_owned()), EventType::try_new)?;
    let message = state.order(actor, project, Order::Test { endpoint, kind: kind.clone() }).await?;
    Ok(Json(Tested { message_id: message.unwrap_or_default().into(), r#type: kind.as_str().into() }))
}

/// Has everything delivered again that failed at an endpoint since then.
///
/// One attempt for each message, without retries; 14 days back at most.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{project}/endpoints/{endpoint}/recover",
    operation_id = "recoverEndpoint",
    params(
        ("project" = String, Path, description = "Project id.", pattern = "^(?!app_)[a-zA-Z0-9_-]{1,256}$"),
        ("endpoint" = String, Path, description = "Id or uid of an endpoint.", pattern = "^[a-zA-Z0-9_-]{1,256}$"),
        Claimed,
    ),
    request_body = RecoverAsked,
    responses(
        (status = 202, description = "Begun by Svix.", body = Recovering),
        (status = 400, description = "Not JSON, a wrong identifier in the path, or a name that cannot be claimed."),
        Changing,
        (status = 404, description = "Svix knows no such project, endpoint, event type or message."),
        (status = 422, description = "JSON, but not what can be asked; or Svix refuses it."),
        (status = 503, description = "Svix or the journal is away; see `Retry-After`.")
    )
)]
async fn recover<H: EndpointAdmin, A: Audit>(
    State(state): Shared<H, A>,
    Path((project, endpoint)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (actor, RecoverAsked { since }) = asked::read::<RecoverAsked>(&state.tokens, request).await?;
    let endpoint = checked("endpoint", endpoint, EndpointId::try_new)?;
    let task = state.order(actor, project, Order::Recover { endpoint, since }).await?;
    Ok((StatusCode::ACCEPTED, Json(Recovering { task_id: task.unwrap_or_default().into() })).into_response())
}

/// Has one message delivered again to one endpoint.
///
/// One attempt, without retries. The event must have reached Svix; a dead one is replayed instead.
#[utoipa::path(
    post,
    path = "/api/v1/events/{id}/resend",
    operation_id = "resendEvent",
    params(
        ("id" = String, Path, description = "Event id.", pattern = "^(?!msg_)[a-zA-Z0-9_-]{1,256}$"),
        Claimed,
    ),
    request_body = ResendAsked,
    responses(
        (status = 202, description = "Begun by Svix.", body = Resent),
        (status = 400, description = "Not JSON, a wrong identifier in the path, or a name that cannot be claimed."),
        Changing,
        (status = 404, description = "Svix knows no such project, endpoint, event type or message."),
        (status = 422, description = "JSON, but not what can be asked; or Svix refuses it."),
        (status = 503, description = "Svix or the journal is away; see `Retry-After`.")
    )
)]
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
    Ok((StatusCode::ACCEPTED, Json(Resent { id: id.into() })).into_response())
}

/// A link that logs its bearer into Svix's customer portal.
///
/// A secret: it is neither logged nor written down.
#[utoipa::path(
    post,
    path = "/api/v1/projects/{project}/portal",
    operation_id = "linkPortal",
    params(
        ("project" = String, Path, description = "Project id.", pattern = "^(?!app_)[a-zA-Z0-9_-]{1,256}$"),
        Claimed,
    ),
    request_body = PortalAsked,
    responses(
        (status = 200, description = "Made.", body = Portal),
        (status = 400, description = "Not JSON, a wrong identifier in the path, or a name that cannot be claimed."),
        Changing,
        (status = 404, description = "Svix knows no such project, endpoint, event type or message."),
        (status = 422, description = "JSON, but not what can be asked; or Svix refuses it."),
        (status = 503, description = "Svix or the journal is away; see `Retry-After`.")
    )
)]
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
    Ok((
        [(header::CACHE_CONTROL, "no-store")],
        Json(Portal { url: link.unwrap_or_default(), note: note.map(Into::into) }),
    )
        .into_response())
}

impl<H: EndpointAdmin, A: Audit> Endpoints<H, A> {
    async fn order(&self, actor: Actor, project: String, order: Order) -> Result<Answer, Problem> {
        let project = checked("project", project, ProjectId::try_new)?;
        self.operations.order(actor, &project, order).await.map_err(not_made)
    }
}

pub(in crate::http) fn not_made(not_made: NotMade<EndpointAdminError>) -> Problem {
    asked::not_made(not_made, failed)
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
