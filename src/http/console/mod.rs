//! The console: pages for people at `admin.listen/`. Written on the server, whole without JavaScript, better with a little.
//!
//! A page says what `/api/v1` answers, read with the types and told in the words of the command line, so that the three
//! never disagree. Every value is escaped by `maud`; a browser is allowed nothing that does not come from here.

mod access;
mod asked;
mod assets;
mod audit;
mod dead;
mod deal;
mod event;
mod events;
mod find;
mod form;
mod glance;
mod headers;
mod home;
mod hooks;
mod lanes;
mod pace;
mod page;
mod parts;
mod pauses;
mod projects;
mod steps;

pub use form::Forms;
pub use glance::Queues;

use super::{Api, Ops, problem::Problem};
use crate::operate::{dead_letters, endpoints, project_pauses};
use crate::{
    operate::{
        audit::Audit,
        dead_letters::DeadLetters,
        endpoint_admin::EndpointAdmin,
        timeline::{MessageView, Timeline},
    },
    pipeline::pauses::PauseStore,
    process::secret::SecretList,
};
use axum::{
    Router,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use page::Refused;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;

/// What the pages are made of.
#[derive(Debug)]
pub struct Console<T, M> {
    api: Arc<Api<T, M>>,
    ops: Ops,
    pace: pace::Pace,
    forms: Forms,
}

impl<T, M> Console<T, M> {
    pub fn new(api: Arc<Api<T, M>>, ops: Ops, forms: Forms) -> Self {
        Self { api, ops, pace: pace::Pace::default(), forms }
    }
}

/// `/` and what is below it; needs the peer's address (`ConnectInfo`).
pub fn router<T: Timeline, M: MessageView>(console: Console<T, M>) -> Router {
    let tokens = console.api.tokens.clone();
    let pages = Router::new()
        .route("/", get(home::home::<T, M>))
        .route("/live", get(home::live::<T, M>))
        .route("/find", get(find::find::<T, M>))
        .route("/events", get(events::list::<T, M>))
        .route("/events/{id}", get(event::one::<T, M>))
        .route("/projects", get(projects::list::<T, M>))
        .route("/projects/{project}", get(projects::one::<T, M>))
        .fallback(async || Refused(Problem::new(StatusCode::NOT_FOUND, "there is no such page")));
    // The page that says no wants its looks too, and they hold nothing.
    let assets =
        Router::new().route("/assets/{name}", get(assets::asset)).layer(middleware::map_response(headers::secure));
    guarded(pages.with_state(Arc::new(console)), tokens).merge(assets)
}

/// What the pages that change something are made of.
#[derive(Debug)]
pub struct Changes<D, A> {
    pub desk: Arc<dead_letters::Operations<D, A>>,
    pub audit: Arc<A>,
    pub tokens: SecretList,
    pub forms: Forms,
}

/// `/dead` and `/audit`; needs the peer's address (`ConnectInfo`).
pub fn changes_router<D: DeadLetters, A: Audit>(changes: Changes<D, A>) -> Router {
    let tokens = changes.tokens.clone();
    let pages = Router::new()
        .route("/dead", get(dead::list::<D, A>).post(deal::deal::<D, A>))
        .route("/audit", get(audit::list::<D, A>));
    guarded(pages.with_state(Arc::new(changes)), tokens)
}

/// What the pages about endpoints are made of.
#[derive(Debug)]
pub struct Endpoints<H, A> {
    pub desk: Arc<endpoints::Operations<H, A>>,
    pub tokens: SecretList,
    pub forms: Forms,
}

/// `/projects/{project}/endpoints` and `/resend`; needs the peer's address (`ConnectInfo`).
pub fn endpoints_router<H: EndpointAdmin, A: Audit>(endpoints: Endpoints<H, A>) -> Router {
    let tokens = endpoints.tokens.clone();
    let pages = Router::new()
        .route("/projects/{project}/endpoints", get(hooks::list::<H, A>).post(hooks::order::<H, A>))
        .route("/resend", post(hooks::resend::<H, A>));
    guarded(pages.with_state(Arc::new(endpoints)), tokens)
}

/// What pauses and resumes projects.
#[derive(Debug)]
pub struct Pausing<P, A> {
    pub desk: Arc<project_pauses::Operations<P, A>>,
    pub tokens: SecretList,
    pub forms: Forms,
}

/// `/projects/{project}/pause`; needs the peer's address (`ConnectInfo`).
pub fn pausing_router<P: PauseStore, A: Audit>(pausing: Pausing<P, A>) -> Router {
    let tokens = pausing.tokens.clone();
    let pages = Router::new().route("/projects/{project}/pause", post(pauses::order::<P, A>));
    guarded(pages.with_state(Arc::new(pausing)), tokens)
}

/// For those alone who may, and with what browsers have to know.
fn guarded(pages: Router, tokens: SecretList) -> Router {
    let wrong = async || Refused(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method"));
    pages
        .method_not_allowed_fallback(wrong)
        .layer(middleware::from_fn_with_state(tokens, access::check))
        .layer(middleware::map_response(headers::secure))
}

/// An answer of `/api/v1` as it is told.
fn told<T: DeserializeOwned>(answer: Value) -> Result<T, Refused> {
    serde_json::from_value(answer).map_err(|_| {
        let detail = "the console does not understand this hookbro's own answer, which is a defect: please report it";
        Refused(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail))
    })
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
