//! What was given up, as operators look at it and deal with it. One look at a time: each has the whole dead queue in hand.

use crate::{
    event::Redaction,
    operate::dead_event::{DeadEvent, DeadFilter},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};

/// Said wherever a replay is offered or made.
pub const REPEATS: &str = "an event that Svix accepted before is refused there as a repeat while its eventId is remembered; \
                           such a replay is counted as `duplicate`";

/// Some of the dead events that are meant, oldest first.
#[derive(Debug, Clone, Default)]
pub struct DeadPage {
    pub events: Vec<DeadLine>,
    /// How many are meant in all.
    pub total: u64,
}

/// A dead event without its body.
#[derive(Debug, Clone)]
pub struct DeadLine {
    /// Its body is empty here.
    pub event: DeadEvent,
    /// How long its body is.
    pub bytes: usize,
}

impl DeadLine {
    pub fn of(event: DeadEvent) -> Self {
        Self { bytes: event.body.len(), event: DeadEvent { body: Bytes::new(), ..event } }
    }

    pub fn record(&self) -> Value {
        record(&self.event, self.bytes)
    }
}

/// A dead event with all that the broker has of it.
#[derive(Debug, Clone)]
pub struct DeadWhole {
    pub event: DeadEvent,
    /// Properties and headers, whole.
    pub properties: Value,
}

/// How far a change of many events is. Whoever makes it counts, anybody may look.
#[derive(Debug, Default)]
pub struct Progress {
    looked_at: AtomicU64,
    changed: AtomicU64,
}

impl Progress {
    pub fn looked_at(&self) -> u64 {
        self.looked_at.load(Ordering::Relaxed)
    }

    pub fn changed(&self) -> u64 {
        self.changed.load(Ordering::Relaxed)
    }

    pub fn look(&self) {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
    }

    pub fn changed_so_far(&self, changed: u64) {
        self.changed.store(changed, Ordering::Relaxed);
    }
}

/// What a change came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dealt {
    pub events: u64,
    /// Where discarded events were written to before they went.
    pub file: Option<String>,
}

/// Why the dead events are not shown, or not all dealt with. Whatever it is, none is lost.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeadError {
    #[error("{0}")]
    Away(String),
    /// Another process looks.
    #[error("{0}")]
    Locked(String),
    #[error("looking through the dead queue took too long; try again, or use `hookbro dead`")]
    Slow,
    #[error(
        "the dead queue holds {there} events, more than the {most} that a running hookbro looks through: use `hookbro dead`"
    )]
    TooMany { there: u64, most: usize },
    #[error("nothing was discarded, since {0}")]
    File(String),
    /// Ended midway.
    #[error("{why}; {done} events were dealt with before that, the others lie where they were: ask again for them")]
    Midway { done: u64, why: String },
}

/// The dead queue. What is begun must be polled to its end: whoever may go away runs it as a task.
pub trait DeadEvents: Send + Sync + 'static {
    /// At most `limit` of the events that `filter` means, after the first `skip`.
    fn page(
        &self,
        filter: &DeadFilter,
        skip: u64,
        limit: usize,
    ) -> impl Future<Output = Result<DeadPage, DeadError>> + Send;

    /// At most `limit` events that `filter` means, whole.
    fn whole(
        &self,
        filter: &DeadFilter,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<DeadWhole>, DeadError>> + Send;

    /// Sends what `filter` means up the ladder anew; each is confirmed before it leaves the dead queue.
    fn replay(&self, filter: &DeadFilter, progress: &Progress)
    -> impl Future<Output = Result<Dealt, DeadError>> + Send;

    /// Writes what `filter` means to a file, and then deletes it.
    fn discard(
        &self,
        filter: &DeadFilter,
        progress: &Progress,
    ) -> impl Future<Output = Result<Dealt, DeadError>> + Send;
}

/// A dead event as JSON: one form for lists, exports and the file that a discard leaves. Without the body, which may hold
/// what not everybody should see.
pub fn head(event: &DeadEvent) -> Value {
    record(event, event.body.len())
}

fn record(event: &DeadEvent, bytes: usize) -> Value {
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
        "bytes": bytes,
    })
}

/// With the body as text, or in base64 where it is none.
pub fn whole(event: &DeadEvent) -> Value {
    let mut record = head(event);
    match std::str::from_utf8(&event.body) {
        Ok(text) => record["body"] = json!(text),
        Err(_) => record["body_base64"] = json!(BASE64_STANDARD.encode(&event.body)),
    }
    record
}

/// With the body as text, and what is sensitive in it hidden.
pub fn redacted(event: &DeadEvent, redaction: &Redaction) -> Value {
    let mut record = head(event);
    record["body"] = json!(redaction.bytes(&event.body));
    record
}
