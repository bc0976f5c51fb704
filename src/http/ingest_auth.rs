//! Who may put events in: a bearer token, or a signature over the request as Standard Webhooks has it.

use super::{
    local::{bearer, from_here},
    problem::Problem,
};
use crate::process::secret::SecretList;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use standardwebhooks::{HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};
use std::net::IpAddr;

/// Digits of a plausible `webhook-timestamp`, seconds since 1970; more would overflow the arithmetic on it.
const MAX_TIMESTAMP_DIGITS: usize = 12;

/// What publishers prove themselves with. Without either, everybody who reaches the listener may: it is on loopback then.
#[derive(Debug, Clone)]
pub struct Keys {
    pub tokens: SecretList,
    /// `whsec_` and base64, as Svix and others show it.
    pub webhook_secrets: SecretList,
}

/// What is known of a request before its body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    Granted,
    /// Its body must be signed.
    Signature,
}

impl Keys {
    /// Refuses before anything of the body is read, where the headers alone decide.
    pub(super) fn admit(&self, peer: Option<IpAddr>, headers: &HeaderMap, uri: &Uri) -> Result<Admission, Problem> {
        if self.tokens.is_empty() && self.webhook_secrets.is_empty() {
            let refused = |why| {
                let detail = format!("{why}: without ingest.tokens only programs on this machine may publish");
                Problem::new(StatusCode::FORBIDDEN, detail)
            };
            return from_here(peer, headers, uri).map(|()| Admission::Granted).map_err(refused);
        }
        if headers.contains_key(header::AUTHORIZATION) {
            return match bearer(headers).is_some_and(|token| self.tokens.contains(token)) {
                true => Ok(Admission::Granted),
                false => Err(Problem::unauthorized("the bearer token is none of ingest.tokens")),
            };
        }
        if !self.webhook_secrets.is_empty() && headers.contains_key(HEADER_WEBHOOK_SIGNATURE) {
            return Ok(Admission::Signature);
        }
        Err(Problem::unauthorized("give a token of ingest.tokens as `Authorization: Bearer`, or sign the request"))
    }

    /// Checks the signature over id, timestamp and body with each secret; 5 minutes of clock difference are allowed
    /// (Standard Webhooks specification, "Verifying webhook authenticity").
    pub(super) fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Problem> {
        let timestamp = headers.get(HEADER_WEBHOOK_TIMESTAMP).map_or(0, |value| value.len());
        let good = timestamp <= MAX_TIMESTAMP_DIGITS
            && self
                .webhook_secrets
                .any(|secret| Webhook::new(secret).is_ok_and(|webhook| webhook.verify(body, headers).is_ok()));
        match good {
            true => Ok(()),
            false => Err(Problem::unauthorized(
                "the signature fits none of ingest.webhook_secrets, or its timestamp is over 5 minutes off",
            )),
        }
    }
}
