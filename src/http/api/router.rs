//! The routes of what the journal and Svix know, of the contract, and of what is not there.

use super::{
    document, events, projects,
    routing::{guarded, route},
    state::Api,
};
use crate::{
    http::problem::Problem,
    operate::timeline::{MessageView, Timeline},
};
use axum::{Router, http::StatusCode, routing::any};
use std::sync::Arc;

/// The routes under `/api/v1`; needs the peer's address (`ConnectInfo`).
pub fn router<T: Timeline, M: MessageView>(api: Arc<Api<T, M>>) -> Router {
    let tokens = api.tokens.clone();
    let router = route(Router::new(), events::__path_list, events::list::<T, M>);
    let router = route(router, events::__path_one, events::one::<T, M>);
    let router = route(router, projects::__path_list, projects::list::<T, M>);
    let router = route(router, document::__path_contract, document::contract)
        .route("/api/v1/{*rest}", any(async || Problem::new(StatusCode::NOT_FOUND, "there is no such resource")))
        .with_state(api);
    guarded(router, tokens)
}
