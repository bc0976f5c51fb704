//! What operators changed, newest first.

use super::{guarded, query::Params, unread};
use crate::http::problem::Problem;
use crate::{
    operate::audit::{Audit, AuditLine, AuditQuery},
    process::secret::SecretList,
};
use axum::{
    Json, Router,
    extract::{RawQuery, State},
    routing::get,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// `/api/v1/audit`; needs the peer's address (`ConnectInfo`).
pub fn router<A: Audit>(audit: Arc<A>, tokens: SecretList) -> Router {
    guarded(Router::new().route("/api/v1/audit", get(list::<A>)).with_state(audit), tokens)
}

async fn list<A: Audit>(State(audit): State<Arc<A>>, RawQuery(query): RawQuery) -> Result<Json<Value>, Problem> {
    let params = Params::read(query.as_deref(), &["project", "cursor", "limit"])?;
    let query = AuditQuery {
        project: params.ident("project")?.cloned(),
        before: params.number("cursor")?,
        limit: params.limit()?,
    };
    let page = audit.changes(&query).await.map_err(|error| unread(&error))?;
    let changes: Vec<_> = page.changes.iter().map(line).collect();
    Ok(Json(json!({"changes": changes, "next": page.next.map(|next| next.to_string())})))
}

fn line(line: &AuditLine) -> Value {
    let ended = line.ended.as_ref();
    json!({
        "at": line.at,
        "who": {"identity": line.identity, "claimed": line.claimed},
        "action": line.action,
        "project": line.project,
        "target": line.target,
        "detail": line.detail,
        "outcome": ended.map(|end| &end.outcome),
        "ended_at": ended.map(|end| end.at),
        "outcome_detail": ended.and_then(|end| end.detail.as_ref()),
    })
}
