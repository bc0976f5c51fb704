//! How operations become routes: each where the document has it, and for those alone who may ask.

use super::access;
use crate::{http::problem::Problem, process::secret::SecretList};
use axum::{
    Router,
    handler::Handler,
    http::StatusCode,
    middleware,
    routing::{get, post},
};
use utoipa::openapi::HttpMethod;

/// Adds an operation where the document has it, with its method.
pub(super) fn route<P: utoipa::Path, H: Handler<T, S>, T: 'static, S: Clone + Send + Sync + 'static>(
    router: Router<S>,
    _: P,
    handler: H,
) -> Router<S> {
    let posts = P::methods().contains(&HttpMethod::Post);
    router.route(&P::path(), if posts { post(handler) } else { get(handler) })
}

/// For those alone who have a token, or are on this machine where there is none.
pub(super) fn guarded(router: Router, tokens: SecretList) -> Router {
    let wrong = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "not with this method; see /api/v1/openapi.json");
    router.method_not_allowed_fallback(wrong).route_layer(middleware::from_fn_with_state(tokens, access::check))
}
