//! Who is calling: bearer token → organisation, or the answer Svix gives to a token it does not take.
//!
//! Limit: tokens are opaque words here, not signed claims; what a claim would decide is configured by [`Role`].

use std::collections::HashMap;
use std::sync::Arc;

use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, StatusCode};

use super::answers::Answer;
use super::options::{Options, Role};

/// The organisation of every caller when no tokens are configured.
const ONLY_ORGANISATION: &str = "org_sandbox";

const SECRET_AS_TOKEN: &str = "Authentication failed. JWT signing secrets can not be used as tokens, please refer \
     to https://github.com/svix/svix-webhooks#authentication for more information.";

#[derive(Debug)]
pub(super) struct Gate {
    roles: HashMap<String, Role>,
    /// No organisation has a token, so any token belongs to the only one.
    open: bool,
}

impl Gate {
    pub(super) fn new(options: &Options) -> Self {
        let tokens = options.tokens.iter();
        let roles = tokens.map(|(token, org)| (token.clone(), Role::Organisation(org.clone())));
        Self {
            roles: roles.chain(options.roles.iter().cloned()).collect(),
            open: options.tokens.is_empty()
                && !options.roles.iter().any(|(_, role)| matches!(role, Role::Organisation(_))),
        }
    }

    /// The caller's organisation, for what only the token of an organisation may do.
    pub(super) fn organisation(&self, headers: &HeaderMap) -> Result<Arc<str>, Answer> {
        match self.role(headers)? {
            Role::Organisation(org) => Ok(org.into()),
            _ => Err(Answer::error(
                StatusCode::FORBIDDEN,
                "insufficient access",
                "Insufficient access for the given operation.",
            )),
        }
    }

    /// The caller's organisation, for what the token of an application may do too.
    pub(super) fn reader(&self, headers: &HeaderMap) -> Result<Arc<str>, Answer> {
        match self.role(headers)? {
            Role::Organisation(org) | Role::Application(org) => Ok(org.into()),
            Role::BadSubject | Role::NoSubject | Role::SigningSecret => Err(unauthorized("Invalid token")),
        }
    }

    fn role(&self, headers: &HeaderMap) -> Result<Role, Answer> {
        let token = bearer(headers).ok_or_else(|| unauthorized("Invalid token"))?;
        match self.roles.get(token) {
            Some(Role::BadSubject) => {
                Err(Answer::error(StatusCode::BAD_REQUEST, "bad_token", "`sub` is not a valid organization id."))
            }
            Some(Role::NoSubject) => Err(unauthorized("Invalid token (missing `sub`).")),
            Some(Role::SigningSecret) => Err(unauthorized(SECRET_AS_TOKEN)),
            Some(role) => Ok(role.clone()),
            None if self.open => Ok(Role::Organisation(ONLY_ORGANISATION.to_owned())),
            None => Err(unauthorized("Invalid token")),
        }
    }
}

/// The token behind a `Bearer` scheme, however that word is written.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn unauthorized(detail: &str) -> Answer {
    Answer::error(StatusCode::UNAUTHORIZED, "authentication_failed", detail)
}
