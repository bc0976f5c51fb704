//! What operators changed, newest first.

use super::{
    query::Query,
    refusals::{Guarded, unread},
    routing::{guarded, route},
};
use crate::http::problem::Problem;
use crate::{
    operate::{
        api_types::{self, AuditPage},
        audit::{Audit, AuditQuery},
    },
    process::secret::SecretList,
};
use axum::{Json, Router, extract::State};
use std::sync::Arc;

/// `/api/v1/audit`; needs the peer's address (`ConnectInfo`).
pub fn router<A: Audit>(audit: Arc<A>, tokens: SecretList) -> Router {
    guarded(route(Router::new(), __path_list, list::<A>).with_state(audit), tokens)
}

/// What operators changed, newest first.
///
/// A change is written down before it is made, and its ending when it has ended. `outcome` is null while it is under way, and
/// stays so if the process ended midway. Kept for 400 days.
#[utoipa::path(
    get,
    path = "/api/v1/audit",
    operation_id = "listChanges",
    params(api_types::AuditQuery),
    responses(
        (status = 200, description = "Found.", body = AuditPage),
        (status = 400, description = "A parameter is wrong."),
        Guarded,
        (status = 503, description = "The journal is off, away or slow.")
    )
)]
async fn list<A: Audit>(
    State(audit): State<Arc<A>>,
    Query(asked): Query<api_types::AuditQuery>,
) -> Result<Json<AuditPage>, Problem> {
    let query = AuditQuery {
        project: asked.project.map(|project| project.0),
        before: asked.cursor.map(|cursor| cursor.0),
        limit: asked.limit.0,
    };
    let page = audit.changes(&query).await.map_err(|error| unread(&error))?;
    let changes = page.changes.into_iter().map(Into::into).collect();
    Ok(Json(AuditPage { changes, next: page.next.map(|next| next.to_string()) }))
}
