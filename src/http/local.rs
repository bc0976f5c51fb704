//! What both listeners ask of a request: its bearer token, and whether a program on this machine made it.

use axum::http::{HeaderMap, Uri, header};
use std::net::IpAddr;

/// What proxies add. A request that came through one came from elsewhere, whatever its peer.
const FORWARDED: [&str; 6] =
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"];

/// The token of `Authorization: Bearer`.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// `Err` says why it is not certain that a program on this machine asks, and no web page that a browser here happens to show.
pub(super) fn from_here(peer: Option<IpAddr>, headers: &HeaderMap, uri: &Uri) -> Result<(), &'static str> {
    let local = |ip: IpAddr| ip.to_canonical().is_loopback();
    if !peer.is_some_and(local) {
        return Err("the request comes from elsewhere");
    }
    // A name of somebody else's that was made to point here (DNS rebinding) shows in the Host header.
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).or(uri.host());
    let ours = host.is_some_and(|host| {
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((six, _)) => six,
            None => host.split(':').next().unwrap_or_default(),
        };
        name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(local)
    });
    if !ours {
        return Err("the Host header names another machine");
    }
    if FORWARDED.iter().any(|name| headers.contains_key(*name)) {
        return Err("a proxy forwards the request");
    }
    match headers.get("sec-fetch-site").and_then(|site| site.to_str().ok()) {
        Some("cross-site" | "same-site") => Err("a web page of another site asks"),
        _ => Ok(()),
    }
}
