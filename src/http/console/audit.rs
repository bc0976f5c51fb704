//! Who changed what, newest first.

use super::{
    components::{Level, badge, time, who},
    list_query::ListQuery,
    page::{NavItem, Refused, page},
    state::Changes,
};
use crate::{
    http::api::unread,
    operate::{
        audit::{Audit, AuditLine, AuditQuery},
        dead_letters::DeadLetters,
        sanitize::Plain,
    },
};
use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Changes of a page.
const PAGE: usize = 50;

/// `GET /audit`.
pub(super) async fn list<D: DeadLetters, A: Audit>(
    State(changes): State<Arc<Changes<D, A>>>,
    RawQuery(query): RawQuery,
) -> Result<Response, Refused> {
    let list_query = ListQuery::read(query.as_deref());
    let before = list_query.cursor()?;
    let query = AuditQuery { project: list_query.get("project").map(str::to_owned), before, limit: PAGE };
    let found = changes.audit.changes(&query).await.map_err(|error| unread(&error))?;
    let content = html! {
        h1 { "Changes" }
        p.lead { "Every change that operators made: who, what, when and how it ended." }
        form.filter action="/audit" {
            (list_query.line("project", "Project", "any"))
            div.field.do { button { "Show" } a href="/audit" { "Clear" } }
        }
        @if found.changes.is_empty() { p.empty { "No changes." } }
        @else { (table(&found.changes)) }
        @if let Some(next) = found.next {
            p.next { a.button href=(list_query.after("/audit", &next.to_string())) rel="next" { "Older changes" } }
        }
    };
    Ok(page("Changes", NavItem::Audit, None, &content).into_response())
}

fn table(lines: &[AuditLine]) -> Markup {
    let shown =
        |text: &Option<String>| text.as_deref().map_or_else(|| "–".to_owned(), |text| Plain::new(text).to_string());
    html! {
        table.cards {
            caption.away { "Changes, newest first" }
            thead { tr {
                th scope="col" { "When" }
                th scope="col" { "Who" }
                th scope="col" { "What" }
                th scope="col" { "Project" }
                th scope="col" { "To what" }
                th scope="col" { "How it ended" }
            } }
            tbody { @for line in lines { tr {
                td data-name="When" { (time(line.at)) }
                td data-name="Who" { (who(&line.identity, line.claimed.as_deref())) }
                td data-name="What" { code { (Plain::new(&line.action)) } }
                td data-name="Project" { (shown(&line.project)) }
                td.why data-name="To what" { (shown(&line.target.clone().or_else(|| line.detail.clone()))) }
                td data-name="Ended" { @match &line.ended {
                    None => (badge(Level::Watch, "unknown")),
                    Some(end) => {
                        (badge(if end.outcome == "done" { Level::Good } else { Level::Bad }, &end.outcome))
                        @if let Some(detail) = &end.detail { " " span.faint { (Plain::new(detail)) } }
                    },
                } }
            } } }
        }
    }
}
