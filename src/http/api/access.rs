//! Who may ask: whoever has a token; where there is none, programs on this machine, and no web page that a browser on it
//! happens to show.

use crate::http::{
    local::{bearer, from_here},
    problem::Problem,
};
use crate::process::secret::SecretList;
use axum::{
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, Uri},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use std::net::{IpAddr, SocketAddr};

pub(super) async fn check(State(tokens): State<SecretList>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    match admit(&tokens, peer, request.headers(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

pub(in crate::http) fn admit(
    tokens: &SecretList,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
    uri: &Uri,
) -> Result<(), Problem> {
    if tokens.is_empty() {
        let refused = |why| {
            Problem::new(StatusCode::FORBIDDEN, format!("{why}: without admin.tokens only this machine is answered"))
        };
        return from_here(peer, headers, uri).map_err(refused);
    }
    match bearer(headers) {
        Some(token) if tokens.contains(token) => Ok(()),
        Some(_) => Err(Problem::unauthorized("the bearer token is none of admin.tokens")),
        None => Err(Problem::unauthorized("give a token of admin.tokens as `Authorization: Bearer`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::secret::Secret;

    #[track_caller]
    fn check(tokens: &str, peer: &str, given: &[(&'static str, &'static str)], status: Option<u16>) {
        let tokens = SecretList::lines_of(Secret::fixed(tokens));
        let headers = given.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        let admitted = admit(&tokens, peer.parse().ok(), &headers, &Uri::from_static("/api/v1/events"));
        let refused = admitted.err().map(|problem| problem.into_response().status().as_u16());
        assert_eq!(refused, status, "{peer} {given:?}");
    }

    #[test]
    fn a_token_opens_and_without_tokens_only_this_machine() {
        check("one\ntwo", "192.0.2.1", &[("authorization", "Bearer two")], None);
        check("one\ntwo", "127.0.0.1", &[("host", "localhost"), ("authorization", "Bearer thre")], Some(401));
        check("one\ntwo", "127.0.0.1", &[("host", "localhost")], Some(401));
        for host in ["localhost:9464", "127.0.0.1:1", "[::1]:9464", "LOCALHOST", "127.0.0.2"] {
            check("", "127.0.0.1", &[("host", host)], None);
        }
        check("", "::ffff:127.0.0.1", &[("host", "localhost")], None);
        for host in ["evil.example:9464", "127.0.0.1.evil.example", "192.0.2.1", ""] {
            check("", "::1", &[("host", host)], Some(403));
        }
        check("", "192.0.2.1", &[("host", "localhost")], Some(403));
        check("", "127.0.0.1", &[], Some(403));
        check("", "127.0.0.1", &[("host", "localhost"), ("x-forwarded-for", "192.0.2.1")], Some(403));
        check("", "127.0.0.1", &[("host", "localhost"), ("sec-fetch-site", "cross-site")], Some(403));
    }
}
