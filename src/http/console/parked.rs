//! Parked events by project, and the forms that release them or give them up: asked once more, with the number of events.

use super::{
    components::{Level, ago, count, done, number, project_link, sign},
    form::{Fields, project, wrong},
    page::{NavItem, Refused, page, sentence},
    state::ParkedPages,
};
use crate::{
    event::ProjectId,
    http::{
        api::parked::{away, not_made},
        problem::Problem,
    },
    operate::{
        audit::Audit,
        describe,
        parked::{Action, Lot, MOST_AT_ONCE, PARKED_AGAIN, ParkedEvents, Selection},
        sanitize::Plain,
    },
};
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Where the forms go.
const ACTION: &str = "/parked";

/// `GET /parked`.
pub(super) async fn list<P: ParkedEvents, A: Audit>(
    State(pages): State<Arc<ParkedPages<P, A>>>,
) -> Result<Response, Refused> {
    let lots = pages.operations.lots().await.map_err(|error| away(&error))?;
    let content = html! {
        h1 { "Parked events" }
        p.lead { "Events that may not be sent now. hookbro sends them by itself once the pause, the outage or the limit is over." }
        @if lots.is_empty() { p.empty { "No event is parked." } }
        @else { (table(&lots, &pages.forms.proof(ACTION))) }
    };
    Ok(page("Parked events", NavItem::Parked, None, &content).into_response())
}

fn table(lots: &[Lot], proof: &Markup) -> Markup {
    let why = |lot: &Lot| lot.reason.map(|reason| describe::of_reason(reason.as_str()).unwrap_or(reason.as_str()));
    html! {
        table.cards {
            caption.away { "Projects with parked events, most of them first" }
            thead { tr {
                th scope="col" { "Project" }
                th scope="col" { "Events" }
                th scope="col" { "Oldest" }
                th scope="col" { "Why" }
                th scope="col" { "What to do" }
            } }
            tbody { @for lot in lots { tr {
                td data-name="Project" { @match &lot.project {
                    Some(project) => (project_link(&Plain::new(project.as_str()))),
                    None => span.faint { "several new projects" },
                } }
                td data-name="Events" { (number(lot.events)) }
                td data-name="Oldest" { @match lot.since { Some(since) => (ago(since)), None => span.faint { "–" } } }
                td.why data-name="Why" { @match why(lot) { Some(why) => (why), None => span.faint { "–" } } }
                td data-name="What to do" { @match &lot.project {
                    Some(project) => form.bar method="post" action=(ACTION) {
                        (proof)
                        input type="hidden" name="project" value=(project);
                        button name="work" value="release" aria-label={"Release events of " (project)} { "Release…" }
                        button name="work" value="give-up" aria-label={"Give up events of " (project)} { "Give up…" }
                    },
                    None => span.faint { "see " code { "hookbro parked" } },
                } }
            } } }
        }
    }
}

/// What a form wants done, and to what.
struct Wanted {
    action: Action,
    project: ProjectId,
    limit: u64,
    confirmed: bool,
}

/// `POST /parked`.
pub(super) async fn submit<P: ParkedEvents, A: Audit>(
    State(pages): State<Arc<ParkedPages<P, A>>>,
    request: Request,
) -> Result<Response, Refused> {
    let (actor, fields) = pages.forms.read(ACTION, &pages.tokens, request).await?;
    let Wanted { action, project, limit, confirmed } = wanted(&fields)?;
    let selection = Selection { projects: vec![project.clone()], limit: Some(limit) };
    if !confirmed {
        let events = pages.operations.count(&selection).await.map_err(|error| away(&error))?;
        let asked = ask(action, &project, events, &pages.forms.proof(ACTION));
        return Ok(page("Confirm", NavItem::Parked, None, &asked).into_response());
    }
    let events = pages.operations.make(actor, action, selection, Arc::default()).await.map_err(not_made)?;
    let said = html! {
        p.lead { (count(events, "event", "events")) " of " strong { (project) } " " (if events == 1 { "was" } else { "were" }) " " (action.past()) "." }
        @if action == Action::Release { p { (sentence(PARKED_AGAIN)) } }
    };
    Ok(done(&said, ACTION, "Back to parked events"))
}

fn wanted(fields: &Fields) -> Result<Wanted, Problem> {
    let action = match fields.get("work") {
        Some("release") => Action::Release,
        Some("give-up") => Action::GiveUp,
        _ => return Err(wrong("form", "does not say what to do")),
    };
    let limit = match fields.get("limit") {
        None => MOST_AT_ONCE,
        Some(text) => {
            let given = text.parse().ok().filter(|limit| (1..=MOST_AT_ONCE).contains(limit));
            given.ok_or_else(|| wrong("number", format!("must be from 1 to {MOST_AT_ONCE}")))?
        }
    };
    let confirmed = fields.get("confirm").is_some();
    Ok(Wanted { action, project: project(fields.get("project").unwrap_or_default())?, limit, confirmed })
}

/// The question before it is done.
fn ask(action: Action, project: &ProjectId, events: u64, proof: &Markup) -> Markup {
    let (verb, work) = match action {
        Action::Release => ("Release", "release"),
        Action::GiveUp => ("Give up", "give-up"),
    };
    let most = events.max(1);
    html! {
        h1 { (verb) " parked events of " (project) "?" }
        @match action {
            Action::Release => p.lead { "hookbro tries them now, as new events are, with a full set of retries. " (sentence(PARKED_AGAIN)) },
            Action::GiveUp => p.lead { "They become dead letters, which you can replay or discard. Their customers do not receive them until you replay them." },
        }
        form.ask method="post" action=(ACTION) {
            (proof)
            input type="hidden" name="project" value=(project);
            input type="hidden" name="confirm" value="yes";
            div.field {
                label for="limit" { "How many, oldest first (" (number(events)) " can be moved at once)" }
                input #limit name="limit" type="number" min="1" max=(most) value=(most) required;
            }
            div.bar {
                button class=(if action == Action::Release { "strong" } else { "danger" }) name="work" value=(work) { (verb) }
                a href=(ACTION) { "Cancel" }
            }
        }
        @if events == 0 { p.note.watch { (sign(Level::Watch)) "No event of this project is parked any more." } }
    }
}
