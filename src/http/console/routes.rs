//! The addresses of the pages, and who may open them.

use super::{
    audit, dead_letter_actions, dead_letters, endpoints, event, events, guard, overview,
    page::{self, Refused},
    parked, pauses, projects, search,
    state::{Changes, Console, Endpoints, ParkedPages, Pausing},
};
use crate::{
    http::problem::Problem,
    operate::{
        audit::Audit,
        dead_letters::DeadLetters,
        endpoint_admin::EndpointAdmin,
        parked::ParkedEvents,
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
use std::sync::Arc;

/// `/` and what is below it; needs the peer's address (`ConnectInfo`).
pub fn router<T: Timeline, M: MessageView>(console: Console<T, M>) -> Router {
    let tokens = console.api.tokens.clone();
    let pages = Router::new()
        .route("/", get(overview::home::<T, M>))
        .route("/live", get(overview::live::<T, M>))
        .route("/find", get(search::find::<T, M>))
        .route("/events", get(events::list::<T, M>))
        .route("/events/{id}", get(event::one::<T, M>))
        .route("/projects", get(projects::list::<T, M>))
        .route("/projects/{project}", get(projects::one::<T, M>))
        .fallback(async || Refused(Problem::new(StatusCode::NOT_FOUND, "there is no such page")));
    // The page that says no wants its style sheet too, which has no secrets.
    let assets = Router::new().route("/assets/{name}", get(page::asset)).layer(middleware::map_response(guard::secure));
    guarded(pages.with_state(Arc::new(console)), tokens).merge(assets)
}

/// `/dead` and `/audit`; needs the peer's address (`ConnectInfo`).
pub fn changes_router<D: DeadLetters, A: Audit>(changes: Changes<D, A>) -> Router {
    let tokens = changes.tokens.clone();
    let pages = Router::new()
        .route("/dead", get(dead_letters::list::<D, A>).post(dead_letter_actions::submit::<D, A>))
        .route("/audit", get(audit::list::<D, A>));
    guarded(pages.with_state(Arc::new(changes)), tokens)
}

/// `/projects/{project}/endpoints` and `/resend`; needs the peer's address (`ConnectInfo`).
pub fn endpoint_pages_router<H: EndpointAdmin, A: Audit>(endpoints: Endpoints<H, A>) -> Router {
    let tokens = endpoints.tokens.clone();
    let pages = Router::new()
        .route("/projects/{project}/endpoints", get(endpoints::list::<H, A>).post(endpoints::order::<H, A>))
        .route("/resend", post(endpoints::resend::<H, A>));
    guarded(pages.with_state(Arc::new(endpoints)), tokens)
}

/// `/parked`; needs the peer's address (`ConnectInfo`).
pub fn parked_pages_router<P: ParkedEvents, A: Audit>(parked: ParkedPages<P, A>) -> Router {
    let tokens = parked.tokens.clone();
    let pages = Router::new().route("/parked", get(parked::list::<P, A>).post(parked::submit::<P, A>));
    guarded(pages.with_state(Arc::new(parked)), tokens)
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
        .layer(middleware::from_fn_with_state(tokens, guard::check))
        .layer(middleware::map_response(guard::secure))
}
