//! Replaying and discarding what was selected: asked once more, with the number of events, and then made.

use super::{
    components::{Level, ago, count, number, sign, who},
    form::Fields,
    page::{NavItem, Refused, page, sentence},
    state::Changes,
};
use crate::{
    http::{api::dead::refused, problem::Problem},
    operate::{
        audit::Audit,
        dead_letters::{Action, DeadLetterFilter, DeadLetters, Job, REPEATS},
        sanitize::Plain,
    },
};
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Where the forms go.
pub(super) const ACTION: &str = "/dead";
/// What has to be typed before anything is discarded.
const TYPED: &str = "discard";
/// Ids that are named again; the others are counted.
const NAMED: usize = 20;

/// What a form wants done, and to what.
struct Wanted {
    work: Action,
    filter: DeadLetterFilter,
    confirmed: bool,
}

/// `POST /dead`.
pub(super) async fn submit<D: DeadLetters, A: Audit>(
    State(changes): State<Arc<Changes<D, A>>>,
    request: Request,
) -> Result<Response, Refused> {
    let (actor, fields) = changes.forms.read(ACTION, &changes.tokens, request).await?;
    let Wanted { work, filter, confirmed } = wanted(&fields)?;
    if !confirmed {
        let events = changes.operations.count(filter.clone()).await.map_err(refused)?;
        let mistyped = fields.get("confirm").is_some();
        let asked = ask(work, &filter, events, mistyped, &fields, &changes.forms.proof(ACTION));
        return Ok(page("Confirm", NavItem::DeadLetters, None, &asked).into_response());
    }
    // What it came to is on the page, as the last change.
    changes.operations.make_or_leave(actor, work, filter).await.map_err(refused)?;
    Ok(Redirect::to(ACTION).into_response())
}

fn wanted(fields: &Fields) -> Result<Wanted, Problem> {
    let wrong = |why: &str| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why);
    let work = match fields.get("work") {
        Some("replay") => Action::Replay,
        Some("discard") => Action::Discard,
        _ => return Err(wrong("the form does not say what to do")),
    };
    let all = fields.get("all").is_some();
    // Of what was ticked, the ids; of all that fits, those that the list was asked for.
    let ids = fields.all(if all { "only" } else { "id" }).map(|id| ("id", id));
    let others = ["project", "type", "reason", "since"];
    let others = others.into_iter().flat_map(|key| fields.all(key).map(move |value| (key, value)));
    let filter = DeadLetterFilter::parse(ids.chain(others)).map_err(|error| wrong(&error.to_string()))?;
    if filter.ids.is_empty() && !all {
        return Err(wrong("nothing is selected: go back and select dead letters, or all of them"));
    }
    let confirmed = match (fields.get("confirm"), work) {
        (None, _) => false,
        (Some(_), Action::Replay) => true,
        (Some(typed), Action::Discard) => typed.eq_ignore_ascii_case(TYPED),
    };
    Ok(Wanted { work, filter, confirmed })
}

/// The question before it is done.
fn ask(
    work: Action,
    filter: &DeadLetterFilter,
    events: u64,
    mistyped: bool,
    fields: &Fields,
    proof: &Markup,
) -> Markup {
    let verb = if work == Action::Replay { "Replay" } else { "Discard" };
    html! {
        h1 { (verb) " " (count(events, "dead letter", "dead letters")) "?" }
        @match work {
            Action::Replay => p.lead { "hookbro sends each one again with a full set of retries, and removes it from this list once the broker has confirmed it. " (sentence(REPEATS)) },
            Action::Discard => p.lead { "hookbro writes them to a file on its own disk, then deletes them from the broker. They are not delivered unless you publish that file again." },
        }
        @if filter.ids.is_empty() {
            p { "Filter: " strong { (Plain::new(&filter.to_string())) } }
        } @else {
            ul { @for id in filter.ids.iter().take(NAMED) { li { span.id { (Plain::new(id)) } } } }
            @if filter.ids.len() > NAMED { p.faint { "and " (number((filter.ids.len() - NAMED) as u64)) " more" } }
        }
        form.ask method="post" action=(ACTION) {
            (proof)
            @for (name, value) in fields.0.iter().filter(|(name, _)| !matches!(name.as_str(), "proof" | "confirm")) {
                input type="hidden" name=(name) value=(value);
            }
            @match work {
                Action::Replay => input type="hidden" name="confirm" value="yes";,
                Action::Discard => div.field {
                    label for="confirm" { "Type " strong { (TYPED) } " to confirm" }
                    input #confirm name="confirm" required autocomplete="off" autocapitalize="off" aria-invalid[mistyped];
                    @if mistyped { p.note.bad role="alert" { (sign(Level::Bad)) "Nothing was discarded: the word does not match." } }
                },
            }
            div.bar {
                button class=(if work == Action::Replay { "strong" } else { "danger" }) { (verb) " " (count(events, "dead letter", "dead letters")) }
                a href="/dead" { "Cancel" }
            }
        }
    }
}

/// The change that is under way, or the last one of this process.
pub(super) fn job(job: &Job) -> Markup {
    let by = who(&job.actor.identity.to_string(), job.actor.claimed());
    let (level, said) = match (&job.ended, job.action) {
        (None, work) => {
            let (seen, done) = (number(job.progress.examined()), number(job.progress.changed()));
            (
                Level::Watch,
                format!(
                    "A {} is in progress: {seen} checked, {done} done. Reload the page to update it",
                    work.as_str()
                ),
            )
        }
        (Some((_, Ok(result))), Action::Replay) => {
            (Level::Good, format!("{} replayed", count(result.events, "dead letter", "dead letters")))
        }
        (Some((_, Ok(result))), Action::Discard) => {
            let file =
                result.file.as_deref().map(|file| format!(", written to {}", Plain::new(file))).unwrap_or_default();
            (Level::Good, format!("{} discarded{file}", count(result.events, "dead letter", "dead letters")))
        }
        (Some((_, Err(error))), work) => {
            (Level::Bad, format!("the {} failed: {}", work.as_str(), Plain::new(&error.to_string())))
        }
    };
    let when = ago(job.ended.as_ref().map_or(job.started, |(at, _)| *at));
    html! {
        div role="status" class={"note " (level.class())} {
            (sign(level))
            div {
                p { strong { (sentence(&said)) } }
                p.faint { (Plain::new(&job.filter)) " · by " (by) " · " (when) }
            }
        }
    }
}
