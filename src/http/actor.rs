//! Who acts: the fingerprint of the token that was shown, and the name that the caller gives itself.

use super::{local::bearer, problem::Problem};
use crate::{
    operate::audit::{Actor, Identity},
    process::secret::SecretList,
};
use axum::http::{HeaderMap, StatusCode};
use ring::digest::{SHA256, digest};
use std::fmt::Write as _;

/// The header in which a caller may name itself.
pub(super) const CLAIMED: &str = "x-hookbro-user";
/// Bytes of a token's hash that are kept: tells tokens apart, and is far from enough to find a random one.
const FINGERPRINT: usize = 6;

/// Who makes a request that was admitted.
pub(super) fn of(headers: &HeaderMap, tokens: &SecretList) -> Result<Actor, Problem> {
    let shown = bearer(headers).filter(|_| !tokens.is_empty());
    let actor = Actor::new(shown.map_or(Identity::Local, |token| Identity::Token(fingerprint(token))));
    let Some(name) = headers.get(CLAIMED) else { return Ok(actor) };
    let refused = |why: &str| Problem::new(StatusCode::BAD_REQUEST, format!("the name in `{CLAIMED}` {why}"));
    let name = std::str::from_utf8(name.as_bytes()).map_err(|_| refused("is not UTF-8"))?;
    actor.claiming(name).map_err(refused)
}

/// The first twelve hexadecimal digits of the token's SHA-256.
pub(super) fn fingerprint(token: &str) -> String {
    digest(&SHA256, token.as_bytes()).as_ref().iter().take(FINGERPRINT).fold(String::new(), |mut text, byte| {
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::secret::Secret;

    fn actor(tokens: &str, given: &[(&'static str, &'static str)]) -> Option<Actor> {
        let headers = given.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        of(&headers, &SecretList::lines_of(Secret::fixed(tokens))).ok()
    }

    #[test]
    fn a_token_is_known_by_its_fingerprint_and_a_name_is_only_claimed() {
        let bearer = ("authorization", "Bearer secret");
        // printf %s secret | sha256sum | cut -c1-12
        let known = Identity::Token("2bb80d537b1d".to_owned());
        assert_eq!(actor("secret", &[bearer]), Some(Actor::new(known)));
        assert_eq!(
            actor("", &[bearer]),
            Some(Actor::new(Identity::Local)),
            "a token that nobody asked for says nothing"
        );
        let anna = actor("secret", &[bearer, (CLAIMED, "anna")]).unwrap();
        assert_eq!(anna.claimed(), Some("anna"));
        assert_eq!(actor("secret", &[bearer, (CLAIMED, "\u{202e}anna")]), None);
    }
}
