//! From an HTTP answer, or its absence, to an [`Answer`]. Pure. The table stands in the README, details in
//! docs/delivery.md; each row here says why.
//!
//! Source of the shapes: a recorded Svix server 1.100 (`tests/contract/`).

use super::answer::Answer;
use crate::{
    event::{Cause, EventId, HaltReason},
    pipeline::sink::Stored,
    process::tls::{self, Keys},
};
use reqwest::StatusCode;
use serde::Deserialize;
use std::time::Duration;

/// Longest name of Svix's own schema, in bytes, and most flaws of one answer that are kept.
const MAX_WORD: usize = 40;
const MAX_FLAWS: usize = 3;
/// Longest message id that is kept, in bytes: Svix's have 31.
const MAX_ID: usize = 64;

/// What a remedy may name.
const KEYS: Keys = Keys { url: "svix.url", authorities: "svix.tls_ca_file", certificate: None };

/// What is looked at of an answer.
#[derive(Debug, Clone)]
pub(super) struct Reply<'a> {
    pub status: StatusCode,
    /// `Retry-After`, already bounded.
    pub retry_after: Option<Duration>,
    pub body: &'a [u8],
}

/// What Svix's own errors have in common.
#[derive(Deserialize, Default)]
struct OwnBody<'a> {
    #[serde(borrow)]
    code: Option<std::borrow::Cow<'a, str>>,
    detail: Option<serde_json::Value>,
}

/// The usual answer, read without keeping anything of it. Neither id holds a character that JSON would escape.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    id: Option<&'a str>,
    event_id: Option<&'a str>,
}

impl Accepted<'_> {
    /// The id of the message, if `body` is that of a message which was stored under `event`.
    fn id<'b>(body: &'b [u8], event: &EventId) -> Option<&'b str> {
        let Accepted { id, event_id } = serde_json::from_slice(body).ok()?;
        id.filter(|id| is_id(id) && event_id == Some(event.as_str()))
    }
}

impl OwnBody<'_> {
    fn is_error(&self) -> bool {
        self.code.is_some() || self.detail.is_some()
    }

    /// What of it may stand in a log and a header: its code, and which fields it names with what kind of flaw. Free text is
    /// left out, since it may repeat the event or the token.
    fn shown(&self) -> String {
        let flaws = self.detail.as_ref().and_then(serde_json::Value::as_array).into_iter().flatten();
        let flaw = |flaw: &serde_json::Value| {
            let path = flaw["loc"].as_array()?.iter().map(|part| word(part.as_str()?)).collect::<Option<Vec<_>>>()?;
            Some(format!("{} ({})", path.join("."), word(flaw["type"].as_str()?)?))
        };
        let code = self.code.as_deref().and_then(word).map(str::to_owned);
        code.into_iter().chain(flaws.filter_map(flaw).take(MAX_FLAWS)).collect::<Vec<_>>().join(", ")
    }

    fn says(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }
}

/// Judges an answer to the message call of `event`.
pub(super) fn classify(reply: &Reply<'_>, event: &EventId, default_wait: Duration) -> Answer {
    if reply.status.is_success()
        && let Some(id) = Accepted::id(reply.body, event)
    {
        return Answer::Accepted(Stored { status: Some(reply.status.as_u16()), message: Some(id.into()) });
    }
    refusal(reply, default_wait)
}

/// Judges an answer that is not what was asked for.
pub(super) fn refusal(reply: &Reply<'_>, default_wait: Duration) -> Answer {
    let status = reply.status.as_u16();
    let own: OwnBody<'_> = serde_json::from_slice(reply.body).unwrap_or_default();
    let shown = own.shown();
    let cause = Cause { status: Some(status), detail: describe(reply, &shown) };
    let unusable = |reason| Answer::Unusable { reason, cause: cause.clone() };
    match status {
        // A proxy's cheerful 200 has stored nothing, and what names another event has not stored this one.
        200..=299 => unusable(HaltReason::NotSvix),
        401 | 403 => unusable(HaltReason::Auth),
        400 if own.says("bad_token") => unusable(HaltReason::Auth),
        // The plan ended, the method or the proxy is wrong: nothing about this event.
        402 | 405 | 407 => unusable(HaltReason::NotSvix),
        413 => Answer::TooLarge(cause),
        429 => Answer::Throttled { wait: reply.retry_after.unwrap_or(default_wait), cause },
        408 | 425 => Answer::Failed { cause, wait: None },
        503 => Answer::Failed { cause, wait: reply.retry_after },
        500.. => Answer::Failed { cause, wait: None },
        // Whatever stands in front of Svix answered.
        _ if !own.is_error() => unusable(HaltReason::NotSvix),
        // A gateway has conflicts of its own.
        409 if own.says("conflict") => Answer::Conflict,
        // The wording differs between Svix's versions, and does not say what was not found.
        404 if own.says("not_found") => Answer::NotFound(cause),
        // A gateway has conflicts of its own, and a wrong base URL is not found either.
        404 | 409 => unusable(HaltReason::NotSvix),
        400..=499 => Answer::Refused(cause),
        // 3xx is never followed: a POST would become a GET, and a token would travel.
        _ => unusable(HaltReason::NotSvix),
    }
}

/// Whether Svix says by its own code that a message has no payload any more (`resend_expunged`).
pub(super) fn lacks_payload(body: &[u8]) -> bool {
    let own: OwnBody<'_> = serde_json::from_slice(body).unwrap_or_default();
    own.says("missing_payload")
}

/// Whether Svix says by its own code that there is no such thing.
pub(super) fn is_not_found(reply: &Reply<'_>) -> bool {
    let own: OwnBody<'_> = serde_json::from_slice(reply.body).unwrap_or_default();
    reply.status == StatusCode::NOT_FOUND && own.says("not_found")
}

/// Whether this is a page of Svix's list of applications.
pub(super) fn is_list(reply: &Reply<'_>) -> bool {
    #[derive(Deserialize)]
    struct List<'a> {
        #[serde(borrow, rename = "data")]
        _data: Vec<&'a serde_json::value::RawValue>,
    }
    reply.status == StatusCode::OK && serde_json::from_slice::<List<'_>>(reply.body).is_ok()
}

/// Whether this is an application of Svix's.
pub(super) fn is_application(reply: &Reply<'_>) -> bool {
    #[derive(Deserialize)]
    struct Application<'a> {
        #[serde(borrow)]
        id: std::borrow::Cow<'a, str>,
    }
    let body = serde_json::from_slice::<Application<'_>>(reply.body);
    reply.status == StatusCode::OK && body.is_ok_and(|application| is_id(&application.id))
}

/// What may be shown of an answer that is no success, and whether Svix itself gave it.
pub(super) struct Shown {
    pub text: String,
    pub is_own: bool,
}

pub(super) fn show(status: StatusCode, body: &[u8]) -> Shown {
    let own: OwnBody<'_> = serde_json::from_slice(body).unwrap_or_default();
    let text = describe(&Reply { status, retry_after: None, body }, &own.shown());
    Shown { text, is_own: own.is_error() }
}

/// Judges a call that got no answer.
pub(super) fn classify_error(error: &reqwest::Error) -> Answer {
    let cause = Cause { status: None, detail: root_cause(error) };
    if error.is_timeout() {
        // Perhaps stored: the repeat carries the same eventId.
        Answer::Failed { cause, wait: None }
    } else if error.is_connect() || tls::failure(error).is_some() {
        Answer::Unusable { reason: HaltReason::Unreachable, cause }
    } else {
        Answer::Failed { cause, wait: None }
    }
}

/// The kind of failure as a metric label, where there is no status.
pub(super) fn error_label(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else {
        "reset"
    }
}

/// Whether `id` looks like one of Svix's: what is kept and shown, and becomes part of a path, must be of a harmless alphabet.
pub(super) fn is_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain)
}

/// `text` if it is a name of Svix's schema, as `body`, `event_type` or `insufficient access` are.
fn word(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ' ');
    (!text.is_empty() && text.len() <= MAX_WORD && text.chars().all(plain)).then_some(text)
}

fn describe(reply: &Reply<'_>, shown: &str) -> String {
    match (shown.is_empty(), reply.body.is_empty()) {
        (false, _) => format!("Svix answered {}: {shown}", reply.status),
        (true, true) => format!("Svix answered {} with an empty body", reply.status),
        (true, false) => format!("Svix answered {} with a body that is not its own", reply.status),
    }
}

/// Why there was no answer, in words without the URL.
pub(super) fn error_detail(error: &reqwest::Error) -> String {
    root_cause(error)
}

/// The innermost reason; reqwest's own text repeats the URL, which is noise in every line.
pub(super) fn root_cause(error: &reqwest::Error) -> String {
    if let Some(failure) = tls::failure(error) {
        return format!("cannot connect to Svix: {}", tls::explain(failure, KEYS));
    }
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    let kind = match error_label(error) {
        "timeout" => "no answer from Svix in time",
        "connect" => "cannot connect to Svix",
        _ => "the connection to Svix broke",
    };
    format!("{kind}: {inner}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(1);

    fn answer(status: u16, body: &str) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        let reply = Reply { status, retry_after: Some(Duration::from_secs(7)), body: body.as_bytes() };
        classify(&reply, &EventId::try_new("evt_1").unwrap(), WAIT)
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        let answer = answer(status, body);
        let name = match &answer {
            Answer::Unusable { reason, .. } => format!("pause {reason}"),
            Answer::Throttled { wait, .. } => format!("throttled {wait:?}"),
            Answer::Failed { wait, .. } => format!("failed {wait:?}"),
            other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
        };
        assert_eq!(name, expected, "{status} {body}");
    }

    #[test]
    fn every_row_of_the_table() {
        let not_found = r#"{"code":"not_found","detail":"Application not found"}"#;
        let conflict = r#"{"code":"conflict","detail":"A conflict has occurred"}"#;
        let validation = r#"{"detail":[{"loc":["body"],"msg":"no","type":"value_error"}]}"#;
        let html = "<html>hello</html>";
        check(202, r#"{"eventId":"evt_1","payload":{},"id":"msg_1"}"#, "Accepted");
        check(200, r#"{"id":"msg_1","eventId":"evt_1"}"#, "Accepted");
        check(202, "{}", "pause not_svix");
        check(202, r#"{"id":"msg_1"}"#, "pause not_svix");
        check(202, r#"{"id":"msg_1","eventId":null}"#, "pause not_svix");
        check(202, r#"{"id":"msg_1","eventId":"evt_2"}"#, "pause not_svix");
        check(202, r#"{"id":"msg_1","eventId":"evt_1","eventId":"evt_2"}"#, "pause not_svix");
        check(202, r#"{"id":"","eventId":"evt_1"}"#, "pause not_svix");
        check(202, r#"{"id":"../x","eventId":"evt_1"}"#, "pause not_svix");
        check(202, r#"{"id":null,"eventId":"evt_1"}"#, "pause not_svix");
        check(202, r#"{"id":7,"eventId":"evt_1"}"#, "pause not_svix");
        check(202, r#"{"id":"msg_1","eventId":"evt_1"} trailing"#, "pause not_svix");
        check(200, html, "pause not_svix");
        check(204, "", "pause not_svix");
        check(301, html, "pause not_svix");
        check(302, conflict, "pause not_svix");
        check(400, r#"{"code":"bad_token","detail":"no org"}"#, "pause auth");
        check(400, r#"{"code":"generic_error","detail":"bad query"}"#, "Refused");
        check(400, html, "pause not_svix");
        check(401, "", "pause auth");
        check(402, validation, "pause not_svix");
        check(403, html, "pause auth");
        check(404, not_found, "NotFound");
        check(404, "", "pause not_svix");
        check(404, html, "pause not_svix");
        check(404, r#"{"code":"not_found","detail":"Entity not found"}"#, "NotFound");
        check(404, r#"{"code":"not_found","detail":[]}"#, "NotFound");
        check(404, r#"{"detail":"Not Found"}"#, "pause not_svix");
        check(404, r#"{"detail":"Application not found"}"#, "pause not_svix");
        check(404, r#"{"code":"no_route","detail":"Application not found"}"#, "pause not_svix");
        check(405, "", "pause not_svix");
        check(407, conflict, "pause not_svix");
        check(408, html, "failed None");
        check(409, conflict, "Conflict");
        check(409, html, "pause not_svix");
        check(409, r#"{"detail":"x"}"#, "pause not_svix");
        check(409, r#"{"code":"locked","detail":"x"}"#, "pause not_svix");
        check(409, r#"{"code":7,"detail":"x"}"#, "pause not_svix");
        check(413, "", "TooLarge");
        check(413, html, "TooLarge");
        check(418, "", "pause not_svix");
        check(418, validation, "Refused");
        check(422, validation, "Refused");
        check(422, html, "pause not_svix");
        check(425, "", "failed None");
        check(429, html, "throttled 7s");
        check(500, "{}", "failed None");
        check(500, "", "failed None");
        check(502, html, "failed None");
        check(503, "", "failed Some(7s)");
        check(599, html, "failed None");
    }

    #[test]
    fn a_detail_is_one_short_line_of_svixs_own_words() {
        let said = |body: &str| match answer(422, body) {
            Answer::Refused(cause) => cause.detail,
            other => panic!("422 is refused, not {other:?}"),
        };
        let flaw = r#"{"loc":["body","event_type"],"msg":"hunter2","type":"value_error"}"#;
        let validation = said(&format!(r#"{{"detail":[{flaw},{flaw},{flaw},{flaw}]}}"#));
        assert_eq!(validation.matches("body.event_type (value_error)").count(), MAX_FLAWS, "{validation}");
        assert!(!validation.contains("hunter2"));
        let echo = said(r#"{"code":"x_y","detail":"your payload {\"a\": \"hunter2\"}"}"#);
        assert_eq!(echo, "Svix answered 422 Unprocessable Entity: x_y");
        let long = said(&format!(r#"{{"code":"{}\n","detail":"d"}}"#, "c".repeat(5000)));
        assert!(long.len() < 100, "{long}");
    }
}
