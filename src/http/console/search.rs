//! The search box: takes an event id, a project or a type, and goes where that is shown.

use super::{
    events,
    page::{NavItem, Refused, page},
    projects,
    state::Console,
};
use crate::{
    event::EventId,
    operate::timeline::{MessageView, Timeline},
};
use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::html;
use std::sync::Arc;
use url::form_urlencoded;

/// Longest text that is searched: identifiers have at most 256 bytes.
const MAX: usize = 256;

/// `GET /find?q=`.
pub(super) async fn find<T: Timeline, M: MessageView>(
    State(console): State<Arc<Console<T, M>>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let query = query.unwrap_or_default();
    let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "q");
    let text = given.map(|(_, value)| value.trim().to_owned()).unwrap_or_default();
    if text.is_empty() {
        return Ok(Redirect::to("/").into_response());
    }
    let legal = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if text.len() <= MAX && legal(&text) {
        let known =
            console.api.timeline.stories(&text, None).await.map_err(|error| crate::http::api::unread(&error))?;
        if !known.is_empty() && EventId::try_new(text.clone()).is_ok() {
            return Ok(Redirect::to(&format!("/events/{text}")).into_response());
        }
        if projects::known(&console, &text).await? {
            return Ok(Redirect::to(&format!("/projects/{text}")).into_response());
        }
        if events::has_type(&console, &text).await? {
            return Ok(Redirect::to(&format!("/events?type={text}")).into_response());
        }
    }
    let shown: String = text.chars().take(MAX).collect();
    let content = html! {
        h1 { "Nothing found" }
        p.lead { "The journal has no event, project or type called " code { (shown) } "." }
        ul {
            li { "It has not been delivered yet: it may be in the work queue, which the overview counts." }
            li { "It is older than the journal keeps events (" code { "journal.retention" } "), or falls in a gap of the journal." }
            li { "It has another id. Letter case matters." }
        }
        p { a href="/events" { "See the latest events" } }
    };
    Ok((StatusCode::NOT_FOUND, page("Nothing found", NavItem::Elsewhere, None, &content)).into_response())
}
