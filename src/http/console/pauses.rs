//! Projects that are paused: since when, by whom and why; and the forms that pause and resume one.

use super::{
    components::{Level, badge, done, number, project_link, sign, time, who},
    form::{Forms, project, wrong},
    page::Refused,
    state::Pausing,
};
use crate::{
    event::ProjectId,
    http::api::pauses::undone,
    operate::{audit::Audit, project_pauses::MAX_REASON, sanitize::Plain},
    pipeline::pauses::{MOST_PAUSED, Pause, PauseStore, Paused},
};
use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use maud::{Markup, html};
use std::sync::Arc;

/// What the forms' proofs are about.
const ORDERS: &str = "/projects/pause";
/// Paused projects that the overview names; the list of projects has all of them.
pub(super) const NAMED: usize = 5;
pub(super) const ALL: usize = MOST_PAUSED;

/// `POST /projects/{project}/pause`.
pub(super) async fn order<P: PauseStore, A: Audit>(
    State(pausing): State<Arc<Pausing<P, A>>>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    let (actor, fields) = pausing.forms.read(ORDERS, &pausing.tokens, request).await?;
    let project = project(&name)?;
    let reason = fields.get("reason").map(str::to_owned);
    let said = match fields.get("work") {
        Some("pause") => {
            let pause = pausing.operations.pause(actor, &project, reason).await.map_err(undone)?;
            html! { p.lead { "Project " strong { (project) } " is paused " (because(&pause)) "." } }
        }
        Some("resume") => {
            pausing.operations.resume(actor, &project, reason).await.map_err(undone)?;
            html! { p.lead { "Project " strong { (project) } " is resumed. hookbro delivers its parked events in order." } }
        }
        _ => return Err(wrong("form", "does not say what to do").into()),
    };
    Ok(done(&said, &format!("/projects/{project}"), "Back to the project"))
}

/// Whether the project is paused, and the form that changes it.
pub(super) fn state(project: &ProjectId, pause: Option<&Pause>, forms: &Forms) -> Markup {
    let (work, button) = match pause {
        None => ("pause", "Pause this project"),
        Some(_) => ("resume", "Resume this project"),
    };
    html! {
        section aria-labelledby="pause" {
            h2 #pause { "Pause" }
            @if let Some(pause) = pause { (note(pause)) }
            @else { p.faint { "While a project is paused, its events are parked. Other projects are not affected." } }
            form.filter method="post" action={"/projects/" (project) "/pause"} {
                (forms.proof(ORDERS))
                div.field {
                    label for="reason" { "Reason (optional)" }
                    input #reason name="reason" maxlength=(MAX_REASON) autocomplete="off";
                }
                div.field.do { button name="work" value=(work) { (button) } }
            }
        }
    }
}

/// That a project is paused, where it has a page of its own or one of its events has.
pub(super) fn note(pause: &Pause) -> Markup {
    html! {
        div.note.watch {
            (sign(Level::Watch))
            div {
                p { strong { "The project is paused " (because(pause)) "." } }
                p { "Its events are parked. hookbro delivers them in order once you resume the project." }
            }
        }
    }
}

/// The same in a list.
pub(super) fn mark() -> Markup {
    badge(Level::Watch, "paused")
}

/// The paused projects, where there are any; `most` of them by name.
pub(super) fn all(paused: &Paused, most: usize) -> Markup {
    html! {
        div #paused data-live {
            @if !paused.is_empty() {
                section aria-labelledby="paused-projects" {
                    h2 #paused-projects { "Paused projects" }
                    ul { @for (project, pause) in paused.iter().take(most) {
                        li { (project_link(&Plain::new(project.as_str()))) " " (because(pause)) }
                    } }
                    @if paused.len() > most {
                        p.faint { a href="/projects" { "and " (number((paused.len() - most) as u64)) " more" } }
                    }
                }
            }
        }
    }
}

/// Since when, by whom and why.
fn because(pause: &Pause) -> Markup {
    html! {
        "since " (time(pause.since)) " by " (who(Plain::new(&pause.identity).as_str(), pause.claimed.as_deref()))
        @if let Some(reason) = &pause.reason { ": " (Plain::new(reason)) }
    }
}
