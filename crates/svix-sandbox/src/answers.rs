//! The answers of the API, in the shapes and words recorded from Svix.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;

pub(super) type Reply = Response<Full<Bytes>>;

/// On every answer of Svix, whatever it is.
const VARY: HeaderValue =
    HeaderValue::from_static("origin, access-control-request-method, access-control-request-headers");
pub(super) const JSON: &str = "application/json";

/// An answer before it has become HTTP.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<&'static str>,
    pub(super) body: Bytes,
    /// The methods a 405 offers.
    pub(super) allow: Option<&'static str>,
}

/// One entry of a 422.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Flaw {
    pub(super) loc: Vec<String>,
    pub(super) msg: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

impl Flaw {
    pub(super) fn value(loc: &[&str], msg: impl Into<String>) -> Self {
        Self::of(loc.iter().map(ToString::to_string).collect(), msg, "value_error")
    }

    pub(super) fn of(loc: Vec<String>, msg: impl Into<String>, kind: &'static str) -> Self {
        Self { loc, msg: msg.into(), kind }
    }
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'a str,
    detail: &'a str,
}

#[derive(Serialize)]
struct Invalid {
    detail: Vec<Flaw>,
}

impl Answer {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, content_type: None, body: Bytes::new(), allow: None }
    }

    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => Self { content_type: Some(JSON), body: body.into(), ..Self::empty(status) },
            Err(_) => Self::broken(),
        }
    }

    pub(super) fn error(status: StatusCode, code: &str, detail: &str) -> Self {
        Self::json(status, &Error { code, detail })
    }

    pub(super) fn invalid(detail: Vec<Flaw>) -> Self {
        Self::json(StatusCode::UNPROCESSABLE_ENTITY, &Invalid { detail })
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        Self { allow: Some(allow), ..Self::empty(StatusCode::METHOD_NOT_ALLOWED) }
    }

    pub(super) fn app_not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "not_found", "Application not found")
    }

    pub(super) fn entity_not_found() -> Self {
        Self::error(StatusCode::NOT_FOUND, "not_found", "Entity not found")
    }

    pub(super) fn conflict() -> Self {
        Self::error(StatusCode::CONFLICT, "conflict", "A conflict has occurred")
    }

    pub(super) fn too_large() -> Self {
        Self::error(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "Request payload is too large.")
    }

    /// What Svix says when its database fails.
    pub(super) fn broken() -> Self {
        let body = Bytes::from_static(b"{}");
        Self { content_type: Some(JSON), body, ..Self::empty(StatusCode::INTERNAL_SERVER_ERROR) }
    }

    pub(super) fn into_reply(self) -> Reply {
        let length = self.body.len();
        let mut reply = Response::new(Full::new(self.body));
        *reply.status_mut() = self.status;
        let headers = reply.headers_mut();
        if let Some(kind) = self.content_type {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        if let Some(allow) = self.allow {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        // Said even where the body is left out, as Svix does for HEAD.
        if self.status != StatusCode::NO_CONTENT {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        dress(&mut reply);
        reply
    }
}

/// The headers every answer carries.
pub(super) fn dress(reply: &mut Reply) {
    reply.headers_mut().insert(header::VARY, VARY);
    reply.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

/// The answer to a browser's question whether it may call: always yes.
pub(super) fn preflight(asked: &hyper::HeaderMap) -> Reply {
    let mut reply = Answer::empty(StatusCode::OK).into_reply();
    let mut say = |name: HeaderName, value| reply.headers_mut().insert(name, value);
    say(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("*"));
    say(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    if let Some(wanted) = asked.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        say(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    reply
}
