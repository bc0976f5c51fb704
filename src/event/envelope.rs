//! An event: a checked head, and the body exactly as it was published.

use super::ident::{EventId, EventType, InvalidIdent, ProjectId};
use super::json::{REPEATED, RawHead, deeper_than, read_head};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::value::RawValue;

/// Deepest nesting taken; what lies deeper breaks common parsers (serde_json's own limit is 128) at the receiver.
const MAX_DEPTH: usize = 128;
/// The envelope version that Gigs documents; another one is delivered all the same and counted.
const SPECVERSION: &str = "1.0";
/// White space of JSON (RFC 8259, section 2); other blanks around an object are no part of it.
const JSON_BLANKS: [u8; 4] = *b" \t\n\r";

/// One Gigs event. What reaches Svix as `payload` is [`Event::body`], byte for byte.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: EventId,
    pub project: ProjectId,
    pub kind: EventType,
    /// When it happened, if `time` is RFC 3339.
    pub time: Option<Timestamp>,
    /// What is unusual about it, though not wrong.
    pub oddities: Vec<Oddity>,
    body: Bytes,
}

/// Something a publisher should mend that does not stop an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    ContentType,
    /// Properties of its message that a delivery can do without could not be read as they were published.
    Properties,
    Specversion,
    Time,
}

impl Oddity {
    pub const ALL: [Self; 4] = [Self::ContentType, Self::Properties, Self::Specversion, Self::Time];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Properties => "properties",
            Self::Specversion => "specversion",
            Self::Time => "time",
        }
    }
}

/// Why a body is no event. Begins with a word for machines; never quotes a value, which may be anything.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("empty_body: the message has no body")]
    EmptyBody,
    #[error("unsupported_encoding: content_encoding is {0:?}, publish the JSON itself")]
    Encoding(String),
    #[error("invalid_utf8: the body is not UTF-8 from byte {0} on")]
    Utf8(usize),
    #[error("invalid_json: {0}")]
    Json(String),
    #[error("not_an_object: the body is JSON, but not an object")]
    NotAnObject,
    #[error("duplicate_key: `{0}` is there twice, and which one counts is a guess")]
    DuplicateKey(String),
    #[error("too_deep: nested deeper than {MAX_DEPTH}")]
    TooDeep,
    #[error("missing_{0}: the event has no `{0}`")]
    Missing(&'static str),
    #[error("invalid_{name}: `{name}` is no string, but {found}")]
    NotAString { name: &'static str, found: &'static str },
    #[error("invalid_{name}: `{name}` {why}")]
    Ident { name: &'static str, why: InvalidIdent },
    #[error("headers_too_large: {size} bytes of AMQP headers, at most {limit} can travel the whole ladder")]
    Headers { size: usize, limit: usize },
    /// Names of properties that an event must not be delivered without.
    #[error(
        "unreadable_properties: the message's {0} cannot be read: not UTF-8, nested too deep, too many, or no AMQP"
    )]
    Properties(String),
}

impl Malformed {
    /// The member of the event that is wrong, where it is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::DuplicateKey(name) => Some(name),
            Self::Missing(name) | Self::NotAString { name, .. } | Self::Ident { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// Why an event cannot be sent on, decided before any call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseFailure {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("payload_too_large: {size} bytes, over svix.max_payload_bytes = {limit}")]
    TooLarge { size: usize, limit: usize },
}

/// A body that is no event to send, with as much of its head as could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{failure}")]
pub struct Rejected {
    pub failure: ParseFailure,
    pub project: Option<ProjectId>,
    pub id: Option<EventId>,
}

impl<F: Into<ParseFailure>> From<F> for Rejected {
    fn from(failure: F) -> Self {
        Self { failure: failure.into(), project: None, id: None }
    }
}

impl Event {
    /// Reads the head of `body` and checks all that Svix would refuse for ever, so that no call is wasted on it.
    /// `max_bytes` bounds the body without the white space around it.
    pub fn parse(body: Bytes, max_bytes: usize) -> Result<Self, Rejected> {
        let body = trim(&body);
        if body.is_empty() {
            return Err(Malformed::EmptyBody.into());
        }
        let too_large = ParseFailure::TooLarge { size: body.len(), limit: max_bytes };
        let too_large = (body.len() > max_bytes).then_some(too_large);
        let head = Self::read(&body);
        match (head, too_large) {
            // Read all the same, so that whoever looks for it finds it by its id.
            (Ok(event), Some(failure)) => Err(Rejected { failure, project: Some(event.project), id: Some(event.id) }),
            (Err(rejected), Some(failure)) => Err(Rejected { failure, ..rejected }),
            (head, None) => head,
        }
    }

    fn read(body: &Bytes) -> Result<Self, Rejected> {
        let text = std::str::from_utf8(body).map_err(|e| Malformed::Utf8(e.valid_up_to()))?;
        if !text.starts_with('{') {
            return Err(refuse_non_object(text).into());
        }
        let head = read_head(text).map_err(|e| describe(&e))?;
        let id = ident("id", head.id, body, EventId::try_new);
        let project = ident("project", head.project, body, ProjectId::try_new);
        let kind = ident("type", head.kind, body, EventType::try_new);
        let known = (project.clone().ok(), id.clone().ok());
        let checked = || {
            if deeper_than(MAX_DEPTH, body) {
                return Err(Malformed::TooDeep);
            }
            let (id, project, kind) = (id?, project?, kind?);
            if !head.has_data {
                return Err(Malformed::Missing("data"));
            }
            let (time, oddities) = observe(&head);
            Ok(Self { id, project, kind, time, oddities, body: body.clone() })
        };
        checked().map_err(|malformed| Rejected { failure: malformed.into(), project: known.0, id: known.1 })
    }

    /// The event's own bytes, without white space around them.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The key that it is published under: `<project>.<type>`. May be longer than AMQP carries.
    pub fn routing_key(&self) -> String {
        format!("{}.{}", self.project, self.kind)
    }
}

fn observe(head: &RawHead<'_>) -> (Option<Timestamp>, Vec<Oddity>) {
    let mut oddities = Vec::new();
    let time = head.time.and_then(|raw| raw.get().trim_matches('"').parse().ok());
    if time.is_none() {
        oddities.push(Oddity::Time);
    }
    if head.specversion.is_none_or(|raw| raw.get().trim_matches('"') != SPECVERSION) {
        oddities.push(Oddity::Specversion);
    }
    (time, oddities)
}

fn ident<T>(
    name: &'static str,
    raw: Option<&RawValue>,
    body: &Bytes,
    make: impl FnOnce(Bytes) -> Result<T, InvalidIdent>,
) -> Result<T, Malformed> {
    let raw = raw.ok_or(Malformed::Missing(name))?.get();
    if raw == "null" {
        return Err(Malformed::Missing(name));
    }
    let Some(inner) = raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')) else {
        return Err(Malformed::NotAString { name, found: kind_of(raw) });
    };
    let text = if inner.contains('\\') {
        Bytes::from(serde_json::from_str::<String>(raw).map_err(|e| describe(&e))?)
    } else {
        body.slice_ref(inner.as_bytes())
    };
    make(text).map_err(|why| Malformed::Ident { name, why })
}

fn kind_of(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        _ => "a number",
    }
}

fn trim(body: &Bytes) -> Bytes {
    let blank = |byte: &u8| JSON_BLANKS.contains(byte);
    let begin = body.iter().position(|byte| !blank(byte)).unwrap_or(body.len());
    let end = body.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    body.slice(begin..end)
}

fn refuse_non_object(text: &str) -> Malformed {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Malformed::NotAnObject,
        Err(error) => describe(&error),
    }
}

fn describe(error: &serde_json::Error) -> Malformed {
    let text = error.to_string();
    match text.strip_prefix(REPEATED) {
        Some(rest) => Malformed::DuplicateKey(rest.split(' ').next().unwrap_or(rest).to_owned()),
        None => Malformed::Json(text),
    }
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;
