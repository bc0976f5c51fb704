//! Projects: what each did of late, and one in full.

use super::{
    components::{Level, badge, event_link, event_table, number, project_link, query, time},
    events,
    page::{NavItem, Refused, page},
    pauses,
    state::Console,
};
use crate::{
    event::ProjectId,
    http::{
        api::{projects, query::read},
        problem::Problem,
    },
    operate::{
        api_types::{LastError, Project, ProjectPage},
        describe,
        sanitize::Plain,
        timeline::{MessageView, Timeline},
    },
    pipeline::pauses::Paused,
};
use axum::{
    extract::{Path, RawQuery, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use maud::{Markup, html};
use std::sync::Arc;

/// Pages of projects that are read to find the worst, of 200 each.
const PAGES: usize = 5;
/// Of which so many are shown.
const WORST: usize = 6;

async fn ask<T: Timeline, M: MessageView>(console: &Console<T, M>, query: String) -> Result<ProjectPage, Refused> {
    Ok(projects::find(&console.api, read(Some(&query))?).await?)
}

async fn named<T: Timeline, M: MessageView>(console: &Console<T, M>, name: &str) -> Result<Option<Project>, Refused> {
    Ok(ask(console, query(&[("project", Some(name))])).await?.projects.into_iter().next())
}

/// Whether the journal knows this project.
pub(super) async fn known<T: Timeline, M: MessageView>(console: &Console<T, M>, name: &str) -> Result<bool, Refused> {
    if ProjectId::try_new(name.to_owned()).is_err() {
        return Ok(false);
    }
    Ok(named(console, name).await?.is_some() || !events::of_project(console, name, None).await?.events.is_empty())
}

/// `GET /projects`.
pub(super) async fn list<T: Timeline, M: MessageView>(
    State(console): State<Arc<Console<T, M>>>,
    RawQuery(asked): RawQuery,
) -> Result<Response, Refused> {
    let found = ask(&console, asked.unwrap_or_default()).await?;
    let paused = console.api.board.paused();
    let content = html! {
        h1 { "Projects" }
        p.lead { "Deliveries of each project since " (time(found.since)) ". Latencies are those of Svix's answers." }
        (pauses::all(&paused, pauses::ALL))
        @if found.projects.is_empty() { p.empty { "The journal has no events in this time." } }
        @else { (table("Projects by name", &found.projects, &paused)) }
        @if let Some(next) = &found.next {
            p.next { a.button href={"/projects?cursor=" (next)} rel="next" { "More projects" } }
        }
    };
    Ok(page("Projects", NavItem::Projects, None, &content).into_response())
}

/// `GET /projects/{project}`.
pub(super) async fn one<T: Timeline, M: MessageView>(
    State(console): State<Arc<Console<T, M>>>,
    Path(name): Path<String>,
) -> Result<Response, Refused> {
    let project = ProjectId::try_new(name)
        .map_err(|why| Problem::new(StatusCode::BAD_REQUEST, format!("this is no project: its name {why}")))?;
    let name = project.as_str();
    let (line, latest, dead) = tokio::join!(
        named(&console, name),
        events::of_project(&console, name, None),
        events::of_project(&console, name, Some("dead"))
    );
    let (line, latest, dead) = (line?, latest?.events, dead?.events);
    let paused = console.api.board.paused();
    let pause = paused.get(&project);
    if line.is_none() && latest.is_empty() && pause.is_none() {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("the journal knows no project called {name}")).into());
    }
    let content = html! {
        h1 { "Project " span.id { (name) } }
        p.lead {
            "Its events go to the Svix application " code { (console.api.messages.destination(&project)) } "."
        }
        p { a.button href={"/projects/" (name) "/endpoints"} { "Endpoints" } }
        (pauses::state(&project, pause, &console.forms))
        @match &line { Some(line) => (figures(line)), None => p.empty { "No events in the last 24 hours." } }
        @if !dead.is_empty() {
            section aria-labelledby="dead" {
                h2 #dead { "Latest dead letters" }
                (event_table("Dead letters, newest first", &dead))
            }
        }
        section aria-labelledby="latest" {
            h2 #latest { "Latest events" }
            (event_table("Events, newest first", &latest))
            p.next { a.button href={"/events?project=" (name)} { "All events of this project" } }
        }
    };
    Ok(page(name, NavItem::Projects, None, &content).into_response())
}

/// Those with most events given up, then tried again.
pub(super) async fn worst<T: Timeline, M: MessageView>(console: &Console<T, M>) -> Result<Markup, Refused> {
    let mut found: Vec<Project> = Vec::new();
    let mut cursor: Option<String> = None;
    for _ in 0..PAGES {
        let page = ask(console, query(&[("limit", Some("200")), ("cursor", cursor.as_deref())])).await?;
        found.extend(page.projects);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let all = found.len();
    found.retain(|project| project.dead > 0 || project.retried > 0);
    let (ill, well) = (found.len(), all - found.len());
    found.sort_by_key(|project| std::cmp::Reverse((project.dead, project.retried)));
    found.truncate(WORST);
    Ok(html! {
        @match (all, ill) {
            (0, _) => p.empty { "No project had events in the last 24 hours." },
            (_, 0) => p.empty { "None: all " (number(all as u64)) " projects with events in the last 24 hours have no problems." },
            _ => {
                (table("Projects with the most problems in the last 24 hours", &found, &console.api.board.paused()))
                p.faint { (number(ill as u64)) " with problems, " (number(well as u64)) " without." }
            },
        }
        p.next { a.button href="/projects" { "All projects" } }
    })
}

fn level(project: &Project) -> Level {
    match (project.dead, project.retried) {
        (1.., _) => Level::Bad,
        (_, 1..) => Level::Watch,
        _ => Level::Good,
    }
}

fn table(caption: &str, projects: &[Project], paused: &Paused) -> Markup {
    let is_paused =
        |project: &Plain| ProjectId::try_new(project.to_string()).is_ok_and(|project| paused.contains_key(&project));
    html! {
        table.cards.figures {
            caption.away { (caption) }
            thead { tr {
                th scope="col" { "Project" }
                th scope="col" { "Success" }
                th.n scope="col" { "Accepted" }
                th.n scope="col" { "Retried" }
                th.n scope="col" { "Dead letters" }
                th.n scope="col" { "p50" }
                th.n scope="col" { "p99" }
                th scope="col" { "Last error" }
            } }
            tbody { @for project in projects { tr {
                th scope="row" data-name="Project" {
                    (name(project.project.as_ref()))
                    @if project.project.as_ref().is_some_and(is_paused) { " " (pauses::mark()) }
                 }
                td data-name="Success" { (badge(level(project), &rate(project))) }
                td.n data-name="Accepted" { (whole(project.delivered + project.duplicate)) }
                td.n data-name="Retried" { (whole(project.retried)) }
                td.n data-name="Dead letters" { (whole(project.dead)) }
                td.n data-name="p50" { (latency(project.p50_ms)) }
                td.n data-name="p99" { (latency(project.p99_ms)) }
                td.why data-name="Last error" { (last_error(project.last_error.as_ref())) }
            } } }
        }
    }
}

fn figures(project: &Project) -> Markup {
    let of_outcomes = [
        ("delivered", project.delivered),
        ("duplicate", project.duplicate),
        ("retried", project.retried),
        ("dead", project.dead),
        ("released", project.released),
    ];
    html! {
        dl.counters aria-label="The last 24 hours" {
            div.group {
                dt.over { "Last 24 hours" }
                div { dt { "success" } dd { (badge(level(project), &rate(project))) } }
                @for (name, n) in of_outcomes { div { dt { (name) } dd { (whole(n)) } } }
            }
            div.group {
                dt.over { "Svix's answers" }
                div { dt { "p50" } dd { (latency(project.p50_ms)) } }
                div { dt { "p99" } dd { (latency(project.p99_ms)) } }
            }
        }
        @if let Some(error) = &project.last_error {
            p.note.watch { strong { "Last error " } (last_error(Some(error))) }
        }
    }
}

fn name(project: Option<&Plain>) -> Markup {
    html! { @match project { Some(project) => (project_link(project)), None => span.faint { "not readable" } } }
}

fn rate(project: &Project) -> String {
    // Cut, not rounded: 100 % is said where nothing failed.
    project.success_rate.map_or_else(|| "–".to_owned(), |rate| format!("{} %", (rate * 1000.0).floor() / 10.0))
}

fn whole(n: i64) -> String {
    number(u64::try_from(n).unwrap_or(0))
}

fn latency(ms: Option<f64>) -> String {
    match ms {
        None => "–".to_owned(),
        Some(ms) if ms < 10.0 => format!("{ms:.1} ms"),
        Some(ms) if ms < 10_000.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{:.1} s", ms / 1000.0),
    }
}

fn last_error(error: Option<&LastError>) -> Markup {
    html! {
        @match error {
            None => span.faint { "none" },
            Some(error) => {
                (time(error.at)) " "
                @if let Some(id) = &error.id { (event_link(id, None)) " " }
                span { (describe::because(error.reason.as_ref(), error.detail.as_ref()).unwrap_or_else(|| error.outcome.to_string())) }
            },
        }
    }
}
