//! Who may open a page, and what every answer forbids the browser.
//!
//! A page is for whoever may ask `/api/v1`. A browser presents its token as the password of HTTP Basic, which it
//! keeps for itself and sends to nobody else; no cookie is needed.

use super::page;
use crate::http::{actor::CLAIMED, api::access::admit, problem::Problem};
use crate::process::secret::SecretList;
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use maud::html;
use std::net::SocketAddr;

/// What a browser asks its user by. The charset is RFC 7617's.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"hookbro\", charset=\"UTF-8\"");

pub(super) async fn check(State(tokens): State<SecretList>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    *request.headers_mut() = as_the_api_has_it(request.method(), request.headers());
    match admit(&tokens, peer, request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => refused(&problem),
    }
}

/// A browser's headers in the words of `/api/v1`.
fn as_the_api_has_it(method: &Method, headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    if let Some((name, token)) = basic(&headers) {
        if let Ok(token) = HeaderValue::from_str(&format!("Bearer {token}")) {
            headers.insert(header::AUTHORIZATION, token);
        }
        headers.remove(CLAIMED);
        if let Some(name) = HeaderValue::from_bytes(name.trim().as_bytes()).ok().filter(|name| !name.is_empty()) {
            headers.insert(CLAIMED, name);
        }
    }
    // Somebody follows a link from a ticket or a chat. The page it is on can neither read nor frame the answer, and
    // reading changes nothing.
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|given| given == value);
    if method == Method::GET && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document") {
        headers.remove("sec-fetch-site");
    }
    headers
}

/// Name and password of `Authorization: Basic`. The password is a token, the name whatever the person gives.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let (scheme, encoded) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let decoded = scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(encoded.trim()).ok())??;
    let (name, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((name.to_owned(), password.to_owned()))
}

fn refused(problem: &Problem) -> Response {
    if problem.status() != StatusCode::UNAUTHORIZED {
        return page::Refused(problem.clone()).into_response();
    }
    let content = html! {
        h1 { "Log in" }
        p { "Enter your name, and one of " code { "admin.tokens" } " as the password. hookbro records your name with each change that you make." }
    };
    let page = page::bare("Log in", &content);
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, CHALLENGE)], page).into_response()
}

/// Load nothing from elsewhere and run nothing that is written in a page.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'",
);

const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // Nothing to other sites. Not `no-referrer`, under which browsers send our own forms with `Origin: null`.
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Adds the security headers to an answer.
pub(super) async fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.extend(ALWAYS.map(|(name, value)| (Some(name), value)));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
