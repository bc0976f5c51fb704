//! `POST /notifications`: events by HTTP, answered 202 once the broker has confirmed every one of them.

use super::{
    ingest_auth::{Admission, Keys},
    problem::Problem,
};
use crate::{
    event::{BatchError, BatchLimits, Event, Form, Malformed, ParseFailure, Rejected, read_batch},
    observe::metrics::Metrics,
    pipeline::intake::{Intake, NotTaken, TraceHeaders},
};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Largest request, in bytes: room for two events of the largest size, or a thousand common ones.
const MAX_BODY: usize = 4 * 1024 * 1024;
/// Most events of one request: a fifth of a second's work at 5,000 a second.
const MAX_EVENTS: usize = 1_000;
/// Bytes of requests that are open at once. What comes beyond is refused with `Retry-After`, so that a burst costs no more memory.
const BUDGET: usize = 64 * 1024 * 1024;
/// The same for requests that prove themselves only with their body.
const UNPROVEN: usize = BUDGET / 4;
/// What a request counts as at least: its head, its task, and the broker's side of it.
const MIN_SHARE: usize = 4 * 1024;
/// Slowest that a body may arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Events of one request that wait for their confirm at once; the publisher bounds all requests together.
const AT_ONCE: usize = 128;
/// When to try again: a full house empties fast, a broker does not return within a second.
const RETRY_BUSY: Duration = Duration::from_secs(1);
const RETRY_AWAY: Duration = Duration::from_secs(5);
/// Headers of W3C Trace Context, and their longest value: the specification asks for 512 characters at least.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];
const MAX_TRACE: usize = 512;

/// What the page is made of.
#[derive(Debug)]
pub struct Ingest<I> {
    intake: Arc<I>,
    keys: Keys,
    limits: BatchLimits,
    metrics: Arc<Metrics>,
    room: Semaphore,
    /// For bodies whose signature is still to be checked: they must not take the room of those that are known.
    unproven: Semaphore,
}

impl<I: Intake> Ingest<I> {
    pub fn new(intake: Arc<I>, keys: Keys, max_payload_bytes: usize, metrics: Arc<Metrics>) -> Self {
        let limits = BatchLimits { events: MAX_EVENTS, payload_bytes: max_payload_bytes };
        Self { intake, keys, limits, metrics, room: Semaphore::new(BUDGET), unproven: Semaphore::new(UNPROVEN) }
    }
}

/// `POST /notifications`.
pub fn router<I: Intake>(ingest: Ingest<I>) -> Router {
    let unknown = async || Problem::new(StatusCode::NOT_FOUND, "events are taken at POST /notifications");
    let wrong = async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "events are taken by POST");
    Router::new()
        .route("/notifications", post(notifications::<I>).fallback(wrong))
        .fallback(unknown)
        .with_state(Arc::new(ingest))
}

async fn notifications<I: Intake>(State(ingest): State<Arc<Ingest<I>>>, request: Request) -> Response {
    let began = Instant::now();
    let answer = match ingest.take(request).await {
        Ok(ids) => (StatusCode::ACCEPTED, Json(json!({"ids": ids}))).into_response(),
        Err(problem) => problem.into_response(),
    };
    ingest.metrics.ingest_requests.with_label_values(&[answer.status().as_str()]).inc();
    ingest.metrics.ingest_request_duration.observe(began.elapsed().as_secs_f64());
    answer
}

impl<I: Intake> Ingest<I> {
    /// The ids of the request's events, all of which the broker has confirmed.
    async fn take(&self, request: Request) -> Result<Vec<String>, Problem> {
        let (head, body) = request.into_parts();
        let (peer, headers) = (head.extensions.get::<ConnectInfo<SocketAddr>>(), &head.headers);
        let admission = self.keys.admit(peer.map(|info| info.0.ip()), headers, &head.uri)?;
        let form = form(headers)?;
        let _share = self.share(admission, headers)?;
        let body = read(body).await?;
        if admission == Admission::Signature {
            self.keys.verify(headers, &body)?;
        }
        let events = read_batch(&body, form, self.limits).map_err(|error| refused(&error))?;
        let trace = trace(headers);
        // By number, since a closure over borrowed events is not general enough for axum's handlers.
        stream::iter(0..events.len())
            .map(|at| self.put(&events[at], &trace))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        Ok(events.iter().map(|event| event.id.to_string()).collect())
    }

    /// Room for the body, before any of it is read.
    fn share(&self, admission: Admission, headers: &HeaderMap) -> Result<SemaphorePermit<'_>, Problem> {
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let length = declared.unwrap_or(MAX_BODY);
        if length > MAX_BODY {
            return Err(too_long());
        }
        let share = u32::try_from(length.max(MIN_SHARE)).unwrap_or(u32::MAX);
        let busy = || {
            let detail = "too many requests are open; send it again";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(RETRY_BUSY)
        };
        let room = match admission {
            Admission::Granted => &self.room,
            Admission::Signature => &self.unproven,
        };
        room.try_acquire_many(share).map_err(|_| busy())
    }

    async fn put(&self, event: &Event, trace: &TraceHeaders) -> Result<(), Problem> {
        match self.intake.put(event, trace).await {
            Ok(()) => {
                self.metrics.ingest_events.inc();
                Ok(())
            }
            Err(not_taken) => {
                tracing::warn!(event.id = event.id.as_str(), project = event.project.as_str(), error = %not_taken, "event was not taken by HTTP");
                Err(unavailable(&not_taken))
            }
        }
    }
}

async fn read(body: Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(READ_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error);
            match source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
                true => Err(too_long()),
                false => Err(Problem::new(StatusCode::BAD_REQUEST, "the body ended early or is framed wrong")),
            }
        }
        Err(_) => {
            let detail = format!("the body did not arrive within {} s", READ_TIMEOUT.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, detail))
        }
    }
}

/// How the events are put together, by the content type; a body that says it is encoded is refused.
fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let refused = |detail: &str| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity")) {
        return refused("send the body without a content encoding");
    }
    let named = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match named.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "application/json" | "application/cloudevents+json" | "application/cloudevents-batch+json" => Ok(Form::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(Form::Lines),
        _ => refused("send application/json, one event or an array, or application/x-ndjson, one event a line"),
    }
}

fn trace(headers: &HeaderMap) -> TraceHeaders {
    let one = |name: &'static str| {
        let value = headers.get(name)?.to_str().ok()?;
        (value.len() <= MAX_TRACE).then(|| (name, value.to_owned()))
    };
    TraceHeaders(TRACE_HEADERS.into_iter().filter_map(one).collect())
}

fn too_long() -> Problem {
    let detail = format!("the request is over {MAX_BODY} bytes; send fewer events at once");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
}

fn refused(error: &BatchError) -> Problem {
    let said = |status| Problem::new(status, error.to_string());
    match error {
        BatchError::Empty => said(StatusCode::BAD_REQUEST),
        BatchError::TooMany { .. } => said(StatusCode::PAYLOAD_TOO_LARGE),
        BatchError::Array(rejected) => said(status(rejected)),
        BatchError::RoutingKey { at, .. } => {
            said(StatusCode::UNPROCESSABLE_ENTITY).with("event", *at).with("field", "type")
        }
        BatchError::Event { at, rejected } => {
            let problem = said(status(rejected)).with("event", *at);
            match &rejected.failure {
                ParseFailure::Malformed(malformed) => match malformed.field() {
                    Some(field) => problem.with("field", field),
                    None => problem,
                },
                ParseFailure::TooLarge { .. } => problem,
            }
        }
    }
}

/// What cannot be read is 400, what reads and is no event is 422.
fn status(rejected: &Rejected) -> StatusCode {
    match &rejected.failure {
        ParseFailure::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        ParseFailure::Malformed(Malformed::EmptyBody | Malformed::Utf8(_) | Malformed::Json(_)) => {
            StatusCode::BAD_REQUEST
        }
        ParseFailure::Malformed(_) => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// 503 for both: no event may be given up because a queue is not bound yet.
fn unavailable(not_taken: &NotTaken) -> Problem {
    let remedy = match not_taken {
        NotTaken::Away(_) => "send the request again; what arrived already is dropped by its id",
        NotTaken::Unroutable(_) => "`hookbro topology declare` binds the work queue; see broker.bindings",
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{not_taken}; {remedy}")).retry_after(RETRY_AWAY)
}

#[cfg(test)]
#[path = "ingest_tests.rs"]
mod tests;
