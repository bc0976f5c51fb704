//! What a change asks for: JSON, small, every field known.
//!
//! The content type is more than form: no web page of another site can send it without asking first (CORS), and it is not
//! answered.

use crate::{
    event::ProjectId,
    http::{actor, problem::Problem},
    operate::{
        api_types::Object,
        audit::{Actor, Unwritten},
        change::NotMade,
    },
    process::secret::SecretList,
};
use axum::{
    body::to_bytes,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
};
use serde::de::DeserializeOwned;
use std::time::Duration;
use utoipa::{
    IntoParams,
    openapi::{
        ObjectBuilder, Required, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

/// Largest body: a filter with some hundreds of event ids.
const MAX_BODY: usize = 64 * 1024;
/// Slowest that it may arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest refusal by the reader of JSON, in characters; it may quote what was sent.
const MAX_REFUSAL: usize = 200;
/// When to try again a change that could not be written down.
const UNWRITTEN_RETRY: Duration = Duration::from_secs(5);

/// The header in which a caller may name itself.
pub(super) struct Claimed;

impl IntoParams for Claimed {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let name = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]([ -~]{0,62}[!-~])?$"));
        let said = "A name that the caller gives itself; kept in the audit as claimed.";
        let header = ParameterBuilder::new().name("x-hookbro-user").parameter_in(ParameterIn::Header);
        vec![header.required(Required::False).description(Some(said)).schema(Some(name)).build()]
    }
}

/// Who asks for a change, and for what.
pub(super) async fn read<T: DeserializeOwned>(tokens: &SecretList, request: Request) -> Result<(Actor, T), Problem> {
    let (head, body) = request.into_parts();
    let actor = actor::of(&head.headers, tokens)?;
    json(&head.headers)?;
    let body = match tokio::time::timeout(READ_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            let detail = format!("the body ended early or is over {MAX_BODY} bytes");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", READ_TIMEOUT.as_secs());
            return Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail));
        }
    };
    let mut reader = serde_json::Deserializer::from_slice(&body);
    let Object(asked) = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = error.path().to_string();
        let (status, at) = match error.inner().is_data() {
            true if field == "." => (StatusCode::UNPROCESSABLE_ENTITY, "the body".to_owned()),
            true => (StatusCode::UNPROCESSABLE_ENTITY, format!("`{field}`")),
            false => (StatusCode::BAD_REQUEST, "the body is no JSON".to_owned()),
        };
        let why: String = format!("{at}: {}", error.inner()).chars().take(MAX_REFUSAL).collect();
        Problem::new(status, why)
    })?;
    reader.end().map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "something follows the body's JSON object"))?;
    Ok((actor, asked))
}

/// As [`read`], of the project that the address names.
pub(super) async fn of_project<T: DeserializeOwned>(
    tokens: &SecretList,
    project: String,
    request: Request,
) -> Result<(ProjectId, Actor, T), Problem> {
    let project = ProjectId::try_new(project)
        .map_err(|why| Problem::new(StatusCode::NOT_FOUND, format!("no project is called so: its name {why}")))?;
    let (actor, asked) = read(tokens, request).await?;
    Ok((project, actor, asked))
}

fn json(headers: &HeaderMap) -> Result<(), Problem> {
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let plain = headers.get(header::CONTENT_ENCODING).is_none_or(|value| value == "identity");
    match plain && named.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        true => Ok(()),
        false => {
            Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json, without a content encoding"))
        }
    }
}

/// A change that was not made, since nobody would have known of it.
pub(super) fn unwritten(unwritten: Unwritten) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, unwritten.to_string()).retry_after(UNWRITTEN_RETRY)
}

/// Why a change was not made, or not all of it; `failed` explains a failure.
pub(super) fn not_made<E>(not_made: NotMade<E>, failed: impl FnOnce(E) -> Problem) -> Problem {
    match not_made {
        NotMade::Failed(error) => failed(error),
        NotMade::Unwritten(why) => unwritten(why),
        NotMade::Broken => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "a defect of hookbro ended it; see its log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::secret::Secret;
    use axum::{body::Body, response::IntoResponse as _};
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        colour: String,
    }

    async fn asked(content_type: &str, body: impl Into<Body>) -> Result<Wish, (u16, String)> {
        let request = Request::post("/x").header("content-type", content_type).body(body.into()).unwrap();
        let none = SecretList::lines_of(Secret::fixed(""));
        match read::<Wish>(&none, request).await {
            Ok((_, wish)) => Ok(wish),
            Err(problem) => {
                let response = problem.into_response();
                let status = response.status().as_u16();
                let body = to_bytes(response.into_body(), MAX_BODY).await.unwrap();
                let document: serde_json::Value = serde_json::from_slice(&body).unwrap();
                Err((status, document["detail"].as_str().unwrap().to_owned()))
            }
        }
    }

    #[tokio::test]
    async fn a_change_is_json_of_known_fields_and_nothing_else() {
        let good = Ok(Wish { colour: "red".into() });
        assert_eq!(asked("application/json", r#"{"colour": "red"}"#).await, good);
        assert_eq!(asked("Application/JSON; charset=utf-8", r#"{"colour": "red"}"#).await, good);
        for (content_type, body, status, says) in [
            ("text/plain", r#"{"colour": "red"}"#, 415, "application/json"),
            ("application/x-www-form-urlencoded", "colour=red", 415, "application/json"),
            ("application/json", "colour", 400, "no JSON"),
            ("application/json", "", 400, "no JSON"),
            ("application/json", r#"{"colour": "red"} {}"#, 400, "follows"),
            ("application/json", r#"{"colour": 7}"#, 422, "`colour`"),
            ("application/json", r#"{"colour": "red", "size": 7}"#, 422, "unknown field `size`"),
            ("application/json", "{}", 422, "missing field `colour`"),
            ("application/json", "[]", 422, "the body: invalid type: sequence, expected a JSON object"),
            ("application/json", r#"["red"]"#, 422, "the body: invalid type: sequence, expected a JSON object"),
        ] {
            let (refusal, detail) = asked(content_type, body).await.unwrap_err();
            assert_eq!(refusal, status, "{content_type} {body}: {detail}");
            assert!(detail.contains(says), "{content_type} {body}: {detail}");
        }
        assert_eq!(asked("application/json", vec![b' '; MAX_BODY + 1]).await.unwrap_err().0, 413);
        assert_eq!(unwritten(Unwritten::Off).into_response().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
