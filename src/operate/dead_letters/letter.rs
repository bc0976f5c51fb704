//! A dead letter as people see it, and as JSON.

use crate::{
    event::{DeadReason, Redaction},
    operate::{api_types::Dead, sanitize::Plain},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;

/// What a dead letter says of itself. Every field but body and key may be missing: an event that the broker itself moved
/// there, after its last queue's delivery limit, has no headers of ours and counts as exhausted.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub id: Option<String>,
    pub project: Option<String>,
    pub kind: Option<String>,
    pub reason: DeadReason,
    pub detail: Option<String>,
    /// Attempts made.
    pub attempts: Option<i64>,
    /// HTTP status of the last attempt.
    pub status: Option<i64>,
    pub failed_at: Option<Timestamp>,
    /// How often it has been replayed before.
    pub replayed: i64,
    pub routing_key: String,
    pub body: Bytes,
}

/// A dead letter without its body.
#[derive(Debug, Clone)]
pub struct DeadLetterHead {
    /// Its body is empty here.
    pub letter: DeadLetter,
    /// How long its body is.
    pub bytes: usize,
}

impl DeadLetterHead {
    pub fn of(letter: &DeadLetter) -> Self {
        let DeadLetter { id, project, kind, reason, detail, attempts, status, failed_at, replayed, routing_key, body } =
            letter;
        Self {
            bytes: body.len(),
            letter: DeadLetter {
                id: id.clone(),
                project: project.clone(),
                kind: kind.clone(),
                reason: *reason,
                detail: detail.clone(),
                attempts: *attempts,
                status: *status,
                failed_at: *failed_at,
                replayed: *replayed,
                routing_key: routing_key.clone(),
                // Not a share of it, which would keep the whole in memory.
                body: Bytes::new(),
            },
        }
    }

    pub fn record(&self) -> Dead {
        record(&self.letter, self.bytes)
    }
}

/// Some of the dead letters that a filter selects, oldest first.
#[derive(Debug, Clone, Default)]
pub struct DeadLetterPage {
    pub letters: Vec<DeadLetterHead>,
    /// How many are selected in all.
    pub total: u64,
}

/// A dead letter with all that the broker has of it.
#[derive(Debug, Clone)]
pub struct DeadLetterDetails {
    pub letter: DeadLetter,
    /// Properties and headers, whole.
    pub properties: Value,
}

/// A dead letter as it is exported: one form for lists, exports and the file that a discard leaves.
#[derive(Debug, Serialize)]
pub struct Exported<'l> {
    #[serde(flatten)]
    event: Dead,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'l, str>>,
    /// Where the body is no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// Properties and headers, where they are shown too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<Value>,
}

impl Exported<'_> {
    /// The same, kept after the letter has gone.
    pub fn into_owned(self) -> Exported<'static> {
        let Self { event, body, body_base64, properties } = self;
        Exported { event, body: body.map(|body| Cow::Owned(body.into_owned())), body_base64, properties }
    }
}

/// A dead letter without its body, which may hold what not everybody should see.
pub fn head(letter: &DeadLetter) -> Dead {
    record(letter, letter.body.len())
}

/// `bytes` is the length of the body, which may have been left out.
fn record(letter: &DeadLetter, bytes: usize) -> Dead {
    let text = |text: &Option<String>| text.as_deref().map(Plain::new);
    Dead {
        id: text(&letter.id),
        project: text(&letter.project),
        kind: text(&letter.kind),
        reason: letter.reason.as_str().into(),
        detail: text(&letter.detail),
        attempts: letter.attempts,
        status: letter.status,
        failed_at: letter.failed_at,
        replayed: letter.replayed,
        routing_key: letter.routing_key.as_str().into(),
        bytes: bytes as u64,
    }
}

/// With the body as text, or in base64 where it is none.
pub fn whole(letter: &DeadLetter) -> Exported<'_> {
    let (body, body_base64) = match std::str::from_utf8(&letter.body) {
        Ok(text) => (Some(Cow::Borrowed(text)), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(&letter.body))),
    };
    Exported { event: head(letter), body, body_base64, properties: None }
}

/// With the body as text, and what is sensitive in it hidden.
pub fn redacted<'l>(letter: &'l DeadLetter, redaction: &Redaction) -> Exported<'l> {
    Exported { event: head(letter), body: Some(redaction.bytes(&letter.body)), body_base64: None, properties: None }
}
