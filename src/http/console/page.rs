//! What every page has around its content, the style, script and icon that it loads, and pages that refuse.

use crate::http::problem::Problem;
use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{Html, IntoResponse, Response},
};
use maud::{DOCTYPE, Markup, html};

/// Names that pages ask for; another release has other addresses.
const STYLE: &str = concat!("/assets/console.css?", env!("CARGO_PKG_VERSION"));
const SCRIPT: &str = concat!("/assets/console.js?", env!("CARGO_PKG_VERSION"));
const MARK: &str = concat!("/assets/mark.svg?", env!("CARGO_PKG_VERSION"));

/// A few minutes: what changes within a release, in development, should show soon.
const KEEP: &str = "private, max-age=300";

/// The item of the menu that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NavItem {
    Overview,
    Events,
    Projects,
    Parked,
    DeadLetters,
    Audit,
    Elsewhere,
}

impl NavItem {
    const MENU: [(Self, &'static str, &'static str); 6] = [
        (Self::Overview, "/", "Overview"),
        (Self::Events, "/events", "Events"),
        (Self::Projects, "/projects", "Projects"),
        (Self::Parked, "/parked", "Parked"),
        (Self::DeadLetters, "/dead", "Dead letters"),
        (Self::Audit, "/audit", "Changes"),
    ];
}

/// A page that is refreshed while it is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Live<'a> {
    /// The address that its live parts are fetched from.
    pub from: &'a str,
    pub every_seconds: u32,
}

/// A whole page. With `live`, the script replaces what has `data-live`, by id.
pub(super) fn page(title: &str, place: NavItem, live: Option<Live<'_>>, content: &Markup) -> Html<String> {
    let menu = html! {
        nav aria-label="Pages" {
            @for (each, path, name) in NavItem::MENU {
                a href=(path) aria-current=[(each == place).then_some("page")] { (name) }
            }
        }
        form.find role="search" action="/find" {
            label.away for="q" { "Event id, project or type" }
            input #q name="q" type="search" placeholder="Event id, project or type" autocomplete="off"
                autocapitalize="off" spellcheck="false" maxlength="256" required;
            button { "Find" }
        }
    };
    frame(title, &menu, live, content)
}

/// A page without menu, for who may not see the others.
pub(super) fn bare(title: &str, content: &Markup) -> Html<String> {
    frame(title, &html! {}, None, content)
}

fn frame(title: &str, menu: &Markup, live: Option<Live<'_>>, content: &Markup) -> Html<String> {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · hookbro" }
                link rel="icon" type="image/svg+xml" href=(MARK);
                link rel="stylesheet" href=(STYLE);
                script src=(SCRIPT) defer {}
            }
            body data-from=[live.map(|live| live.from)] data-every=[live.map(|live| live.every_seconds)] {
                a.skip href="#content" { "Skip to content" }
                header {
                    a.brand href="/" { img src=(MARK) alt="" width="22" height="22"; "hookbro" }
                    (menu)
                }
                main #content tabindex="-1" { (content) }
                footer {
                    span { "hookbro " (env!("CARGO_PKG_VERSION")) }
                    span { "all times are UTC" }
                    span #pulse role="status" { noscript { "reload the page to update it" } }
                }
            }
        }
    };
    Html(page.into_string())
}

/// A refusal as a page.
#[derive(Debug)]
pub(super) struct Refused(pub Problem);

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let title = match status {
            StatusCode::NOT_FOUND => "Not found",
            StatusCode::FORBIDDEN => "Not allowed",
            StatusCode::SERVICE_UNAVAILABLE => "Temporarily unavailable",
            StatusCode::BAD_REQUEST => "Invalid request",
            _ => status.canonical_reason().unwrap_or("Refused"),
        };
        let content = html! {
            h1 { (title) }
            p.lead { (sentence(self.0.detail())) }
            p { a href="/" { "Back to the overview" } }
        };
        (status, page(title, NavItem::Elsewhere, None, &content)).into_response()
    }
}

/// A fragment of a sentence as one: errors are written small, for the end of a line.
pub(super) fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    let first = letters.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let end = if fragment.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// `GET /assets/{name}`.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let (kind, text) = match name.as_str() {
        "console.css" => ("text/css; charset=utf-8", include_str!("console.css")),
        "console.js" => ("text/javascript; charset=utf-8", include_str!("console.js")),
        "mark.svg" => ("image/svg+xml", include_str!("mark.svg")),
        _ => return Refused(Problem::new(StatusCode::NOT_FOUND, "there is no such file")).into_response(),
    };
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, KEEP)], text).into_response()
}
