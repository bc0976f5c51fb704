//! The control API under `/sandbox/v1`: scripting faults and looking inside. It takes no token and is never faulty.

use hyper::{Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::answers::{Answer, Flaw, Reply};
use super::exchange::Body;
use super::fault::Fault;
use super::fault_registry::FaultId;
use super::instance::Inner;
use super::message_log::Message;
use super::paging::query;
use super::request_log::{Outcome, RequestLine};
use super::route::RequestKind;
use super::tenants::stamp;

/// A page of messages with the payloads of a real stream is some megabytes.
const MESSAGES_PER_PAGE: usize = 1000;

#[derive(Deserialize)]
struct MessagesQuery {
    app: Option<String>,
    event_id: Option<String>,
    /// Only messages behind the one with this id.
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
struct RequestsQuery {
    app: Option<String>,
    event_id: Option<String>,
}

#[derive(Serialize)]
struct FaultAdded {
    id: FaultId,
}

pub(super) fn answer(inner: &Inner, method: &Method, path: &[String], uri: &Uri, body: &Body) -> Reply {
    let words: Vec<&str> = path.iter().map(String::as_str).collect();
    let done = || Ok(Answer::empty(StatusCode::NO_CONTENT));
    let answer = match (words.as_slice(), method) {
        (["faults"], &Method::POST) => add_fault(inner, body),
        (["faults"], &Method::GET) => Ok(Answer::json(StatusCode::OK, &json!({ "faults": inner.faults().list() }))),
        (["faults"], &Method::DELETE) => {
            inner.faults().clear();
            done()
        }
        (["faults", id], &Method::DELETE) => match id.parse().is_ok_and(|id| inner.faults().remove(FaultId(id))) {
            true => done(),
            false => Err(Answer::entity_not_found()),
        },
        (["messages"], &Method::GET) => messages(inner, uri),
        (["messages"], &Method::DELETE) => {
            inner.clear_messages();
            done()
        }
        (["requests"], &Method::GET) => requests(inner, uri),
        (["summary"], &Method::GET) => Ok(summary(inner)),
        (["faults" | "messages" | "requests" | "summary"], _) => Ok(Answer::method_not_allowed("GET,POST,DELETE")),
        _ => Ok(Answer::empty(StatusCode::NOT_FOUND)),
    };
    answer.unwrap_or_else(|refusal| refusal).into_reply()
}

fn add_fault(inner: &Inner, body: &Body) -> Result<Answer, Answer> {
    let Body::Whole(body) = body else {
        return Err(Answer::too_large());
    };
    let fault: Fault = super::wire::decode(body)?;
    match inner.faults().add(fault) {
        Ok(id) => Ok(Answer::json(StatusCode::CREATED, &FaultAdded { id })),
        Err(err) => Err(Answer::invalid(vec![Flaw::value(&["body"], err.to_string())])),
    }
}

fn messages(inner: &Inner, uri: &Uri) -> Result<Answer, Answer> {
    let asked: MessagesQuery = query(uri)?;
    let limit = asked.limit.unwrap_or(MESSAGES_PER_PAGE).min(MESSAGES_PER_PAGE);
    let wanted = |message: &&Message| {
        let app = |app: &String| message.app.as_ref() == app || message.app_id.as_ref() == app;
        asked.app.as_ref().is_none_or(app)
            && asked.event_id.as_deref().is_none_or(|id| message.event_id.as_deref() == Some(id))
            && asked.after.as_ref().is_none_or(|after| message.id > *after)
    };
    let mut found: Vec<Message> = inner.store().messages().filter(wanted).take(limit + 1).cloned().collect();
    let done = found.len() <= limit;
    found.truncate(limit);
    let shown: Vec<Value> = found.iter().map(|message| show_message(inner, message)).collect();
    Ok(Answer::json(StatusCode::OK, &json!({ "messages": shown, "done": done })))
}

fn show_message(inner: &Inner, message: &Message) -> Value {
    // A payload that is not UTF-8 never got past the parser.
    let payload = message.payload.as_ref().map(|payload| String::from_utf8_lossy(payload));
    json!({
        "org": *message.org,
        "app": *message.app,
        "app_id": *message.app_id,
        "id": message.id,
        "event_id": message.event_id.as_deref(),
        "event_type": message.event_type,
        "at_ms": message.at.duration_since(inner.started).as_millis(),
        "timestamp": stamp(message.timestamp),
        "payload": payload,
        "attempts": message.attempts.iter().map(|one| one.endpoint.as_str()).collect::<Vec<_>>(),
    })
}

/// The message creates, one JSON object a line.
fn requests(inner: &Inner, uri: &Uri) -> Result<Answer, Answer> {
    let asked: RequestsQuery = query(uri)?;
    let wanted = |line: &&RequestLine| {
        line.kind == RequestKind::MessageCreate
            && (asked.app.is_none() || asked.app == line.app)
            && (asked.event_id.is_none() || asked.event_id == line.event_id)
    };
    let lines: Vec<RequestLine> = inner.request_log().lines().filter(wanted).cloned().collect();
    let text: String = lines.iter().map(|line| format!("{}\n", show_request(inner, line))).collect();
    let body = text.into();
    Ok(Answer { content_type: Some("application/x-ndjson"), body, ..Answer::empty(StatusCode::OK) })
}

fn show_request(inner: &Inner, line: &RequestLine) -> Value {
    let status = match line.outcome {
        Outcome::Answered(status) => json!(status),
        Outcome::Dropped => json!("dropped"),
        Outcome::Abandoned => json!("abandoned"),
    };
    json!({
        "at_ms": line.at.duration_since(inner.started).as_millis(),
        "elapsed_ms": line.elapsed.as_millis(),
        "app": line.app,
        "event_id": line.event_id,
        "event_type": line.event_type,
        "had_application": line.had_application,
        "traceparent": line.traceparent,
        "status": status,
        "effect": line.effect,
        "fault": line.fault,
    })
}

fn summary(inner: &Inner) -> Answer {
    let stored = inner.store().messages().count();
    let up_ms = inner.started.elapsed().as_millis();
    let apps = inner.request_log().tallies().clone();
    Answer::json(StatusCode::OK, &json!({ "up_ms": up_ms, "messages_held": stored, "apps": apps }))
}
