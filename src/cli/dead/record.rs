//! A dead event as JSON: one form for lists, exports and the file that a discard leaves.

use crate::domain::{DeadEvent, Redaction};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// Without the body, which may hold what not everybody should see.
pub(super) fn head(event: &DeadEvent) -> Value {
    json!({
        "id": event.id,
        "project": event.project,
        "type": event.kind,
        "reason": event.reason.as_str(),
        "detail": event.detail,
        "attempts": event.attempts,
        "status": event.status,
        "failed_at": event.failed_at.map(|at| at.to_string()),
        "replayed": event.replayed,
        "routing_key": event.routing_key,
        "bytes": event.body.len(),
    })
}

/// With the body as text, or in base64 where it is none.
pub(super) fn whole(event: &DeadEvent) -> Value {
    let mut record = head(event);
    match std::str::from_utf8(&event.body) {
        Ok(text) => record["body"] = json!(text),
        Err(_) => record["body_base64"] = json!(BASE64_STANDARD.encode(&event.body)),
    }
    record
}

/// With the body as text, and what is sensitive in it hidden.
pub(super) fn redacted(event: &DeadEvent, redaction: &Redaction) -> Value {
    let mut record = head(event);
    record["body"] = json!(redaction.bytes(&event.body));
    record
}
