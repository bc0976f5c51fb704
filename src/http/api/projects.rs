//! Projects with what they did of late.

use super::{Api, pauses, query::Params, unread};
use crate::http::problem::Problem;
use crate::operate::timeline::{MessageView, ProjectLine, Timeline};
use axum::{
    Json,
    extract::{RawQuery, State},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// What is summed where nothing is asked: a day.
const DAY: Duration = Duration::from_secs(86_400);

/// `GET /api/v1/projects`.
pub(in crate::http) async fn list<T: Timeline, M: MessageView>(
    State(api): State<Arc<Api<T, M>>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let params = Params::read(query.as_deref(), &["project", "since", "cursor", "limit"])?;
    let since = params.time("since")?.unwrap_or_else(|| Timestamp::now() - DAY);
    let (named, after) = (params.ident("project")?.map(String::as_str), params.ident("cursor")?.map(String::as_str));
    let page = api.timeline.projects(named, since, after, params.limit()?).await.map_err(|error| unread(&error))?;
    let paused = api.board.paused();
    let shown = |line: &ProjectLine| {
        let pause =
            line.project.as_deref().and_then(|name| paused.iter().find(|(project, _)| project.as_str() == name));
        let mut shown = json!(line);
        shown["paused"] = pause.map_or(Value::Null, |(_, pause)| pauses::shown(pause));
        shown
    };
    let projects: Vec<_> = page.projects.iter().map(shown).collect();
    Ok(Json(json!({"since": since, "projects": projects, "next": page.next})))
}
