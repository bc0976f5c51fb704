//! A dead letter as people look at it, and as JSON.

use crate::event::{DeadReason, Redaction};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

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

    pub fn record(&self) -> Value {
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

/// A dead letter as JSON: one form for lists, exports and the file that a discard leaves. Without the body, which may hold
/// what not everybody should see.
pub fn head(letter: &DeadLetter) -> Value {
    record(letter, letter.body.len())
}

fn record(letter: &DeadLetter, bytes: usize) -> Value {
    json!({
        "id": letter.id,
        "project": letter.project,
        "type": letter.kind,
        "reason": letter.reason.as_str(),
        "detail": letter.detail,
        "attempts": letter.attempts,
        "status": letter.status,
        "failed_at": letter.failed_at.map(|at| at.to_string()),
        "replayed": letter.replayed,
        "routing_key": letter.routing_key,
        "bytes": bytes,
    })
}

/// With the body as text, or in base64 where it is none.
pub fn whole(letter: &DeadLetter) -> Value {
    let mut record = head(letter);
    match std::str::from_utf8(&letter.body) {
        Ok(text) => record["body"] = json!(text),
        Err(_) => record["body_base64"] = json!(BASE64_STANDARD.encode(&letter.body)),
    }
    record
}

/// With the body as text, and what is sensitive in it hidden.
pub fn redacted(letter: &DeadLetter, redaction: &Redaction) -> Value {
    let mut record = head(letter);
    record["body"] = json!(redaction.bytes(&letter.body));
    record
}
