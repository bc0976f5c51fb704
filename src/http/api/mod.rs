//! `/api/v1`: what the journal knows, joined with what Svix says, and what operators change, which is written down first.
//! Every answer is bounded in size and time. Each group of resources is a router with a state of its own.
//!
//! `openapi.json` is the contract, served as it is; `scripts/check-api` holds the answers to it.

pub(super) mod access;
mod asked;
mod audit;
pub(super) mod dead;
pub(super) mod events;
pub(super) mod hooks;
pub(super) mod pauses;
pub(super) mod projects;
mod query;

pub use audit::router as audit_router;
pub use dead::router as dead_router;
pub use hooks::router as hooks_router;
pub use pauses::router as pauses_router;

use super::problem::Problem;
use crate::{
    operate::timeline::{MessageView, Timeline, Unread},
    pipeline::{pauses::Board, route::Routes},
    process::secret::SecretList,
};
use axum::{
    Router,
    http::{StatusCode, header},
    middleware,
    routing::{any, get},
};
use std::{sync::Arc, time::Duration};

const OPENAPI: &str = include_str!("openapi.json");
/// When to ask a store that is away again.
const AWAY_RETRY: Duration = Duration::from_secs(5);

/// What the answers are made of.
#[derive(Debug)]
pub struct Api<T, M> {
    pub tokens: SecretList,
    pub timeline: T,
    pub messages: M,
    pub routes: Routes,
    pub board: Arc<Board>,
}

/// The routes under `/api/v1`; needs the peer's address (`ConnectInfo`).
pub fn router<T: Timeline, M: MessageView>(api: Arc<Api<T, M>>) -> Router {
    let tokens = api.tokens.clone();
    let router = Router::new()
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/{id}", get(events::one))
        .route("/api/v1/projects", get(projects::list))
        .route("/api/v1/openapi.json", get(async || ([(header::CONTENT_TYPE, "application/json")], OPENAPI)))
        .route("/api/v1/{*rest}", any(async || Problem::new(StatusCode::NOT_FOUND, "there is no such resource")))
        .with_state(api);
    guarded(router, tokens)
}

/// For those alone who have a token, or are on this machine where there is none.
fn guarded(router: Router, tokens: SecretList) -> Router {
    let wrong = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method; see /api/v1/openapi.json");
    router.method_not_allowed_fallback(wrong).route_layer(middleware::from_fn_with_state(tokens, access::check))
}

pub(super) fn unread(unread: &Unread) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, unread.to_string()).retry_after(AWAY_RETRY)
}
