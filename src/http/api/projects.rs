//! Projects with what they did of late.

use super::{
    query::Query,
    refusals::{Guarded, unread},
    state::Api,
};
use crate::http::problem::Problem;
use crate::operate::{
    api_types::{ProjectPage, ProjectQuery},
    timeline::{MessageView, Timeline},
};
use axum::{Json, extract::State};
use jiff::Timestamp;
use std::{sync::Arc, time::Duration};

/// What is summed where nothing is asked: a day.
const DAY: Duration = Duration::from_secs(86_400);

/// Projects by name with what they did.
#[utoipa::path(
    get,
    path = "/api/v1/projects",
    operation_id = "listProjects",
    params(ProjectQuery),
    responses(
        (status = 200, description = "Found.", body = ProjectPage),
        (status = 400, description = "A parameter is wrong."),
        Guarded,
        (status = 503, description = "The journal is off, away or slow.")
    )
)]
pub(super) async fn list<T: Timeline, M: MessageView>(
    State(api): State<Arc<Api<T, M>>>,
    Query(asked): Query<ProjectQuery>,
) -> Result<Json<ProjectPage>, Problem> {
    find(&api, asked).await.map(Json)
}

/// The same for whoever is in this process.
pub(in crate::http) async fn find<T: Timeline, M: MessageView>(
    api: &Api<T, M>,
    asked: ProjectQuery,
) -> Result<ProjectPage, Problem> {
    let since = asked.since.map_or_else(|| Timestamp::now() - DAY, |since| since.0);
    let [named, after] = [&asked.project, &asked.cursor].map(|name| name.as_ref().map(|name| name.0.as_str()));
    let page = api.timeline.projects(named, since, after, asked.limit.0).await.map_err(|error| unread(&error))?;
    let (mut projects, paused) = (page.projects, api.board.paused());
    for line in &mut projects {
        let pause = line.project.as_ref().and_then(|name| paused.iter().find(|(project, _)| *name == project.as_str()));
        line.paused = pause.map(|(_, pause)| pause.into());
    }
    Ok(ProjectPage { since, projects, next: page.next })
}
