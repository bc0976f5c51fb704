//! Events as pages, and one event's timeline: its deliveries, its next retry, and Svix's side of it.

use super::{
    query::{Query, refuse},
    refusals::{Guarded, unread},
    state::Api,
};
use crate::http::problem::Problem;
use crate::{
    event::{EventId, ProjectId},
    operate::{
        api_types::{EventPage, EventQuery, Gap, Ident, Line, OneEventQuery, Retry, State as Known, Story, Svix},
        timeline::{self, EventLine, EventStory, MessageView, Timeline},
    },
};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use jiff::Timestamp;
use std::sync::Arc;

/// Events, newest first, each once by its latest delivery.
///
/// A page may be short, even empty, although `next` says where to go on: a bounded number of deliveries is read each
/// time.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    operation_id = "listEvents",
    params(EventQuery),
    responses(
        (status = 200, description = "Found.", body = EventPage),
        (status = 400, description = "A parameter is wrong."),
        Guarded,
        (status = 503, description = "The journal is off, away or slow.")
    )
)]
pub(super) async fn list<T: Timeline, M: MessageView>(
    State(api): State<Arc<Api<T, M>>>,
    Query(asked): Query<EventQuery>,
) -> Result<Json<EventPage>, Problem> {
    find(&api, asked).await.map(Json)
}

/// The same for whoever is in this process.
pub(in crate::http) async fn find<T: Timeline, M: MessageView>(
    api: &Api<T, M>,
    asked: EventQuery,
) -> Result<EventPage, Problem> {
    let word = |ident: Option<Ident>| ident.map(|ident| ident.0);
    let query = timeline::EventQuery {
        id: word(asked.id),
        project: word(asked.project),
        kind: word(asked.kind),
        outcome: asked.outcome.map(|outcome| outcome.0),
        since: asked.since.map(|since| since.0),
        until: asked.until.map(|until| until.0),
        before: asked.cursor.map(|cursor| cursor.0),
        limit: asked.limit.0,
    };
    let page = api.timeline.events(&query).await.map_err(|error| unread(&error))?;
    let now = Timestamp::now();
    let oldest = page.events.last().map(|line| line.last.at);
    let from = query.since.or(oldest).unwrap_or(now);
    let gaps = gaps(&api.timeline, from, query.until.unwrap_or(now)).await?;
    let events = page.events.into_iter().map(line).collect();
    Ok(EventPage { events, next: page.next.map(|next| next.to_string()), gaps })
}

/// One event's timeline.
#[utoipa::path(
    get,
    path = "/api/v1/events/{id}",
    operation_id = "getEvent",
    params(("id" = Ident, Path, description = "Event id."), OneEventQuery),
    responses(
        (status = 200, description = "Found.", body = Story),
        (status = 400, description = "A parameter is wrong."),
        Guarded,
        (status = 404, description = "Unknown."),
        (status = 503, description = "The journal is off, away or slow.")
    )
)]
pub(super) async fn one<T: Timeline, M: MessageView>(
    State(api): State<Arc<Api<T, M>>>,
    Path(id): Path<String>,
    Query(asked): Query<OneEventQuery>,
) -> Result<Json<Story>, Problem> {
    story(&api, id, asked).await.map(Json)
}

/// The same for whoever is in this process.
pub(in crate::http) async fn story<T: Timeline, M: MessageView>(
    api: &Api<T, M>,
    id: String,
    asked: OneEventQuery,
) -> Result<Story, Problem> {
    let event = EventId::try_new(id.clone()).map_err(|why| refuse("id", &why.to_string()))?;
    let project = asked.project.as_ref().map(|project| project.0.as_str());
    let mut stories = api.timeline.stories(&id, project).await.map_err(|error| unread(&error))?.into_iter();
    let unknown = || Problem::new(StatusCode::NOT_FOUND, "the journal knows no event of this id");
    let story = stories.next().ok_or_else(unknown)?;
    let (Some(first), Some(last)) = (story.attempts.first(), story.attempts.last()) else { return Err(unknown()) };
    let next_retry = last.next_at.map(|due_at| {
        let due_in = due_at.duration_since(Timestamp::now()).as_secs_f64();
        Retry { attempt: last.attempt + 1, rung: last.attempt, due_at, due_in_seconds: due_in.max(0.0) }
    });
    let (gaps, svix) = tokio::join!(gaps(&api.timeline, first.at, Timestamp::now()), svix(api, &story, &event));
    Ok(Story {
        id: id.into(),
        outcome: last.outcome.clone(),
        reason: last.reason.clone(),
        project: story.project,
        kind: story.kind,
        attempts: story.attempts,
        truncated: story.truncated,
        next_retry,
        svix,
        gaps: gaps?,
        other_projects: stories.map(|other| other.project).collect(),
    })
}

async fn gaps(timeline: &impl Timeline, from: Timestamp, until: Timestamp) -> Result<Vec<Gap>, Problem> {
    let gaps = timeline.gaps(from, until).await.map_err(|error| unread(&error))?;
    Ok(gaps.iter().map(Into::into).collect())
}

/// Svix's side, or why it is not known.
async fn svix<T: Timeline, M: MessageView>(api: &Api<T, M>, story: &EventStory, event: &EventId) -> Svix {
    let project = story.project.as_ref().and_then(|project| ProjectId::try_new(project.as_written().to_owned()).ok());
    let Some(project) = project else { return Svix::absent("the event's project is not known") };
    match api.messages.message(&project, event).await {
        Ok(Some(side)) => Svix {
            state: Known::Known,
            reason: side.missing.map(Into::into),
            message: Some(side.message),
            endpoints: side.endpoints,
            attempts: side.attempts,
            truncated: side.truncated,
            undispatched: side.undispatched.map(Into::into),
        },
        Ok(None) => Svix::absent("Svix has no such message"),
        Err(why) => Svix::absent(&why),
    }
}

fn line(line: EventLine) -> Line {
    let EventLine { project, id, kind, last, .. } = line;
    Line { id, project, kind, outcome: last.outcome.clone(), last }
}
