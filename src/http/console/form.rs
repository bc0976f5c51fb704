//! Forms that change something: that they were drawn here, and that a page from here sent them.
//!
//! A browser adds the token of `admin.tokens` to whatever any page makes it send. So a form carries proof that this process
//! drew it, which no other site can read, and its sender must be a page of this very address.

use crate::http::{actor, problem::Problem};
use crate::{event::ProjectId, operate::audit::Actor, process::secret::SecretList};
use axum::{
    body::to_bytes,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use maud::{Markup, html};
use ring::hmac;
use std::{sync::Arc, time::Duration};
use url::{Url, form_urlencoded};

/// Largest form: a page of selected events, each with the longest id there is, three bytes a character.
const MAX_BODY: usize = 256 * 1024;
/// Slowest that it may arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// The field with the proof.
const PROOF: &str = "proof";

/// Draws proofs and checks them, by a key that dies with the process.
#[derive(Debug, Clone)]
pub struct Forms(Arc<hmac::Key>);

impl Default for Forms {
    fn default() -> Self {
        Self(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>())))
    }
}

/// What was filled in, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// The first that is not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(each, _)| each == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }
}

impl Forms {
    /// The field that belongs into a form for `action`.
    pub(super) fn proof(&self, action: &str) -> Markup {
        let proof = BASE64_URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, action.as_bytes()));
        html! { input type="hidden" name=(PROOF) value=(proof); }
    }

    /// Who sent the form for `action`, and what is in it.
    pub(super) async fn read(
        &self,
        action: &str,
        tokens: &SecretList,
        request: Request,
    ) -> Result<(Actor, Fields), Problem> {
        let (head, body) = request.into_parts();
        from_this_site(&head.headers)?;
        let actor = actor::of(&head.headers, tokens)?;
        let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.split(';').next().unwrap_or_default().trim() != "application/x-www-form-urlencoded" {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "this is no form; programs use /api/v1"));
        }
        let body = match tokio::time::timeout(READ_TIMEOUT, to_bytes(body, MAX_BODY)).await {
            Ok(Ok(body)) => body,
            Ok(Err(_)) => {
                return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "the form ended early or is too large"));
            }
            Err(_) => return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the form did not arrive in time")),
        };
        let fields = Fields(form_urlencoded::parse(&body).into_owned().collect());
        let proof = BASE64_URL_SAFE_NO_PAD.decode(fields.get(PROOF).unwrap_or_default()).unwrap_or_default();
        hmac::verify(&self.0, action.as_bytes(), &proof).map_err(|_| {
            let detail = "nothing was changed: the form was not drawn by this process, which may have restarted or be one \
                          of several; go back, reload the page and try again";
            Problem::new(StatusCode::FORBIDDEN, detail)
        })?;
        Ok((actor, fields))
    }
}

/// Browsers say where a form comes from; where they do not, nobody knows, and it is refused.
fn from_this_site(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let ours = match headers.get("sec-fetch-site") {
        Some(site) => site == "same-origin",
        // Over plain HTTP to another machine browsers send only the origin.
        None => match (text(header::ORIGIN).and_then(|origin| Url::parse(origin).ok()), text(header::HOST)) {
            (Some(origin), Some(host)) => Url::parse(&format!("{}://{host}", origin.scheme())).is_ok_and(|own| {
                own.host() == origin.host() && own.port_or_known_default() == origin.port_or_known_default()
            }),
            _ => false,
        },
    };
    match ours {
        true => Ok(()),
        false => {
            Err(Problem::new(StatusCode::FORBIDDEN, "nothing was changed: the form does not come from this console"))
        }
    }
}

/// A field that cannot be used.
pub(super) fn wrong(what: &str, why: impl std::fmt::Display) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("the {what} {why}"))
}

/// The project that a page's address names.
pub(super) fn project(name: &str) -> Result<ProjectId, Problem> {
    ProjectId::try_new(name.to_owned()).map_err(|why| wrong("project", why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::secret::Secret;
    use axum::body::Body;

    const SAME: (&str, &str) = ("sec-fetch-site", "same-origin");

    async fn sent(forms: &Forms, body: String, given: &[(&str, &str)]) -> Result<Fields, u16> {
        let mut request = Request::builder().method("POST").uri("/dead").header("host", "ops.example:9464");
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in given {
            request = request.header(*name, *value);
        }
        let tokens = SecretList::lines_of(Secret::fixed(""));
        let read = forms.read("/dead", &tokens, request.body(Body::from(body)).unwrap()).await;
        read.map(|(_, fields)| fields).map_err(|problem| problem.status().as_u16())
    }

    fn filled(forms: &Forms, action: &str) -> String {
        let field = forms.proof(action).into_string();
        let proof = field.split("value=\"").nth(1).unwrap().split('"').next().unwrap();
        format!("id=a+b&id=&id=%3C&{PROOF}={proof}")
    }

    #[tokio::test]
    async fn a_form_is_taken_from_a_page_of_this_process_alone() {
        let (forms, others) = (Forms::default(), Forms::default());
        let good = filled(&forms, "/dead");
        let fields = sent(&forms, good.clone(), &[SAME]).await.unwrap();
        assert_eq!(fields.all("id").collect::<Vec<_>>(), ["a b", "<"]);
        assert!(sent(&forms, good.clone(), &[("origin", "http://OPS.example:9464")]).await.is_ok());
        for given in [
            &[][..],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://ops.example:9464")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://evil.example")],
            &[("origin", "http://ops.example")],
            &[("origin", "null")],
        ] {
            assert_eq!(sent(&forms, good.clone(), given).await, Err(403), "{given:?}");
        }
        for bad in [filled(&forms, "/other"), filled(&others, "/dead"), "id=a".to_owned(), format!("{PROOF}=")] {
            assert_eq!(sent(&forms, bad, &[SAME]).await, Err(403));
        }
        let json = [SAME, ("content-type", "application/json")];
        assert!(sent(&forms, "x".repeat(MAX_BODY + 1), &json[..1]).await == Err(413));
    }
}
