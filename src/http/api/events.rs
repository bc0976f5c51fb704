//! Events as pages, and one event's timeline: its deliveries, its next retry, and Svix's side of it.

use super::{
    Api,
    query::{Params, refuse},
    unread,
};
use crate::http::problem::Problem;
use crate::{
    event::{EventId, ProjectId, Verdict},
    operate::timeline::{EventLine, EventQuery, EventStory, MessageView, Timeline},
};
use axum::{
    Json,
    extract::{Path, RawQuery, State},
    http::StatusCode,
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::sync::Arc;

const LIST: [&str; 8] = ["id", "project", "type", "outcome", "since", "until", "cursor", "limit"];

/// `GET /api/v1/events`.
pub(in crate::http) async fn list<T: Timeline, M: MessageView>(
    State(api): State<Arc<Api<T, M>>>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let params = Params::read(query.as_deref(), &LIST)?;
    let query = EventQuery {
        id: params.ident("id")?.cloned(),
        project: params.ident("project")?.cloned(),
        kind: params.ident("type")?.cloned(),
        outcome: params.word("outcome", &Verdict::OUTCOMES)?,
        since: params.time("since")?,
        until: params.time("until")?,
        before: params.number("cursor")?,
        limit: params.limit()?,
    };
    let page = api.timeline.events(&query).await.map_err(|error| unread(&error))?;
    let now = Timestamp::now();
    let oldest = page.events.last().map(|line| line.last.at);
    let from = query.since.or(oldest).unwrap_or(now);
    let gaps = gaps(&api.timeline, from, query.until.unwrap_or(now)).await?;
    let events: Vec<_> = page.events.iter().map(line).collect();
    Ok(Json(json!({"events": events, "next": page.next.map(|next| next.to_string()), "gaps": gaps})))
}

/// `GET /api/v1/events/{id}`.
pub(in crate::http) async fn one<T: Timeline, M: MessageView>(
    State(api): State<Arc<Api<T, M>>>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, Problem> {
    let params = Params::read(query.as_deref(), &["project"])?;
    let event = EventId::try_new(id.clone()).map_err(|why| refuse("id", &why.to_string()))?;
    let project = params.ident("project")?.map(String::as_str);
    let stories = api.timeline.stories(&id, project).await.map_err(|error| unread(&error))?;
    let Some(story) = stories.first() else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "the journal knows no event of this id"));
    };
    let (Some(first), Some(last)) = (story.attempts.first(), story.attempts.last()) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "the journal knows no event of this id"));
    };
    let next_retry = last.next_at.map(|due| {
        let due_in = due.duration_since(Timestamp::now()).as_secs_f64();
        json!({"attempt": last.attempt + 1, "rung": last.attempt, "due_at": due, "due_in_seconds": due_in.max(0.0)})
    });
    let others: Vec<_> = stories.iter().skip(1).map(|other| other.project.clone()).collect();
    let (gaps, svix) = tokio::join!(gaps(&api.timeline, first.at, Timestamp::now()), svix(&api, story, &event));
    Ok(Json(json!({
        "id": id,
        "project": story.project,
        "type": story.kind,
        "outcome": last.outcome,
        "reason": last.reason,
        "attempts": story.attempts,
        "truncated": story.truncated,
        "next_retry": next_retry,
        "svix": svix,
        "gaps": gaps?,
        // The same id may stand for other events in other projects: ask with `?project=`.
        "other_projects": others,
    })))
}

async fn gaps(timeline: &impl Timeline, from: Timestamp, until: Timestamp) -> Result<Vec<Value>, Problem> {
    let gaps = timeline.gaps(from, until).await.map_err(|error| unread(&error))?;
    Ok(gaps.iter().map(|gap| json!({"from": gap.from, "until": gap.until, "lost": gap.lost})).collect())
}

/// Svix's side, or why it is not told.
async fn svix<T: Timeline, M: MessageView>(api: &Api<T, M>, story: &EventStory, event: &EventId) -> Value {
    let absent = |why: &str| json!({"state": "absent", "reason": why});
    let project = story.project.clone().and_then(|project| ProjectId::try_new(project).ok());
    let Some(project) = project else { return absent("the event's project is not known") };
    match api.messages.message(api.routes.destination(&project).app(), event).await {
        Ok(Some(side)) => json!({
            "state": "known",
            "message": side.message,
            "endpoints": side.endpoints,
            "attempts": side.attempts,
            "truncated": side.truncated,
            "undispatched": side.undispatched,
            "reason": side.missing,
        }),
        Ok(None) => absent("Svix has no such message"),
        Err(why) => absent(&why),
    }
}

fn line(line: &EventLine) -> Value {
    json!({
        "id": line.id,
        "project": line.project,
        "type": line.kind,
        "outcome": line.last.outcome,
        "last": line.last,
    })
}
