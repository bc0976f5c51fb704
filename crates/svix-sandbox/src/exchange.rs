//! One request from arrival to answer: route, fault, latency, API, log.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{HeaderMap, Method, Request, StatusCode, Uri};
use serde_json::json;

use super::answers::{Answer, Reply, preflight};
use super::connection::Hangup;
use super::fault::Fault;
use super::fault_registry::{FaultId, Traits};
use super::instance::Inner;
use super::request_log::{Effect, Outcome, RequestLine};
use super::route::{RequestKind, Route};
use super::wire::{self, MessageIn};
use super::{api_apps, api_attempts, api_endpoints, api_messages, control};

/// The largest request Svix takes.
const MAX_BODY: usize = 2 * 1024 * 1024;
/// A caller that is answered while still sending may see a reset instead of the answer, so a body that is too large
/// is read on, and thrown away, up to here.
const MAX_DRAINED: usize = 16 * 1024 * 1024;

/// A request in full, body included.
pub(super) struct Call<'a> {
    pub(super) inner: &'a Inner,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    body: &'a Body,
    /// The message it stores is not to be dispatched yet.
    pub(super) defers_dispatch: bool,
    /// The id of that message.
    pub(super) undispatched: OnceLock<String>,
}

pub(super) enum Body {
    Whole(Bytes),
    TooLarge,
    /// The caller stopped in the middle.
    Torn,
}

impl Call<'_> {
    pub(super) fn body(&self) -> Result<&Bytes, Answer> {
        match self.body {
            Body::Whole(body) => Ok(body),
            Body::TooLarge | Body::Torn => Err(Answer::too_large()),
        }
    }
}

/// The line of the log a call will leave, however it ends.
struct Entry<'a> {
    inner: &'a Inner,
    line: Option<RequestLine>,
}

impl Entry<'_> {
    fn effect(&mut self, effect: Effect) {
        if let Some(line) = &mut self.line {
            line.effect = effect;
        }
    }

    fn close(&mut self, outcome: Outcome) {
        if let Some(line) = self.line.take() {
            let elapsed = line.at.elapsed();
            self.inner.request_log().write(RequestLine { outcome, elapsed, ..line });
        }
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.close(Outcome::Abandoned);
    }
}

pub(super) async fn answer(inner: Arc<Inner>, request: Request<Incoming>, hangup: Hangup) -> Result<Reply, Infallible> {
    let at = Instant::now();
    let (head, body) = request.into_parts();
    let route = Route::of(head.uri.path());
    let body = read(body).await;
    if let Body::Torn = body {
        hangup.hang_up(false).await;
    }
    if let Route::Control(path) = &route {
        return Ok(control::answer(&inner, &head.method, path, &head.uri, &body));
    }
    if head.method == Method::OPTIONS {
        return Ok(preflight(&head.headers));
    }
    let kind = route.kind(&head.method);
    let message = match &body {
        Body::Whole(body) if kind == RequestKind::MessageCreate => Some(wire::decode::<MessageIn>(body)),
        _ => None,
    };
    let (mut entry, fired) = open(&inner, at, kind, &route, &head.headers, message.as_ref());
    let (before, after) = match fired {
        Some(fault) if fault.after_commit => (None, Some(fault)),
        fired => (fired, None),
    };
    let mut reply = apply(before, &mut entry, &hangup).await;
    if reply.is_none() {
        pause(inner.options.latency).await;
        let defers_dispatch = after.as_ref().is_some_and(|fault| fault.undispatched);
        let (uri, headers, undispatched) = (&head.uri, &head.headers, OnceLock::new());
        let call = Call { inner: &inner, uri, headers, body: &body, defers_dispatch, undispatched };
        let (answer, effect) = process(&call, &head.method, kind, &route, message).await;
        entry.effect(effect);
        reply = apply(after, &mut entry, &hangup).await;
        if reply.is_none() {
            call.undispatched.get().iter().for_each(|id| inner.store().dispatch(id));
            reply = Some(answer.into_reply());
        }
    }
    let reply = reply.unwrap_or_else(|| Answer::broken().into_reply());
    entry.close(Outcome::Answered(reply.status().as_u16()));
    Ok(reply)
}

/// Starts the log line and finds the fault that meets the call.
fn open<'a>(
    inner: &'a Inner,
    at: Instant,
    kind: RequestKind,
    route: &Route,
    headers: &HeaderMap,
    message: Option<&Result<MessageIn, Answer>>,
) -> (Entry<'a>, Option<Fault>) {
    let message = message.and_then(|message| message.as_ref().ok());
    let traits = Traits {
        kind,
        app: route.app(),
        event_id: message.and_then(|message| message.event_id.as_deref()),
        event_type: message.map(|message| message.event_type.as_str()),
    };
    let fired: Option<(FaultId, Fault)> = inner.faults().fire(&traits);
    let line = RequestLine {
        at,
        elapsed: at.elapsed(),
        kind,
        app: traits.app.map(str::to_owned),
        event_id: traits.event_id.map(str::to_owned),
        event_type: traits.event_type.map(str::to_owned),
        had_application: message.is_some_and(|message| message.application.is_some()),
        traceparent: headers.get("traceparent").and_then(|value| value.to_str().ok()).map(str::to_owned),
        outcome: Outcome::Abandoned,
        effect: Effect::None,
        fault: fired.as_ref().map(|(id, _)| *id),
    };
    (Entry { inner, line: Some(line) }, fired.map(|(_, fault)| fault))
}

/// Applies a fault; returns its answer if it has one, and does not return if it hangs up.
async fn apply(fault: Option<Fault>, entry: &mut Entry<'_>, hangup: &Hangup) -> Option<Reply> {
    let fault = fault?;
    pause(fault.delay).await;
    if fault.drop || fault.reset {
        entry.close(Outcome::Dropped);
        hangup.hang_up(fault.reset).await;
    }
    fault.reply()
}

/// A sleep of nothing would still wait for the next tick of the timer; here it only lets others go first.
pub(super) async fn pause(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}

async fn process(
    call: &Call<'_>,
    method: &Method,
    kind: RequestKind,
    route: &Route,
    message: Option<Result<MessageIn, Answer>>,
) -> (Answer, Effect) {
    let answer = match (kind, route) {
        (RequestKind::MessageCreate, Route::Messages(app)) => {
            let mut effect = Effect::None;
            let answer = api_messages::create(call, app, message, &mut effect).await;
            return (answer.unwrap_or_else(|refusal| refusal), effect);
        }
        (RequestKind::MessageList, Route::Messages(app)) => api_messages::list(call, app),
        (RequestKind::MessageGet, Route::Message(app, id)) => api_messages::get(call, app, id),
        (RequestKind::MessageExpunge, Route::Content(app, id)) => api_messages::expunge(call, app, id),
        (RequestKind::AppCreate, _) => api_apps::create(call).await,
        (RequestKind::AppList, _) => api_apps::list(call),
        (RequestKind::AppGet, Route::App(app)) => api_apps::get(call, app),
        (RequestKind::AppUpdate, Route::App(app)) => api_apps::update(call, app).await,
        (RequestKind::AppDelete, Route::App(app)) => api_apps::delete(call, app),
        (RequestKind::SendExample, Route::Endpoint(app, key, _)) => api_attempts::send_example(call, app, key),
        (RequestKind::Recover, Route::Endpoint(app, key, _)) => api_attempts::recover(call, app, key),
        (RequestKind::Resend, Route::Resend(app, id, key)) => api_attempts::resend(call, app, id, key),
        (RequestKind::Attempts, Route::Attempts(app, id)) => api_attempts::attempts(call, app, id),
        (RequestKind::Attempts, Route::Destinations(app, id)) => api_attempts::destinations(call, app, id),
        (RequestKind::Endpoint | RequestKind::EventType | RequestKind::Portal, route) => {
            api_endpoints::answer(call, method, route)
        }
        (RequestKind::Health, Route::Ping) => Ok(Answer::empty(StatusCode::NO_CONTENT)),
        (RequestKind::Health, _) => {
            let ok = json!({ "status": "ok" });
            Ok(Answer::json(StatusCode::OK, &json!({ "database": ok, "queue": ok, "cache": ok })))
        }
        _ => Ok(route.allow().map_or(Answer::empty(StatusCode::NOT_FOUND), Answer::method_not_allowed)),
    };
    (answer.unwrap_or_else(|refusal| refusal), Effect::None)
}

async fn read(mut body: Incoming) -> Body {
    let mut kept = BytesMut::new();
    let mut seen = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Body::Torn;
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen += data.len();
        if seen <= MAX_BODY {
            kept.extend_from_slice(&data);
        } else {
            kept = BytesMut::new();
        }
        if seen > MAX_DRAINED {
            break;
        }
    }
    if seen <= MAX_BODY { Body::Whole(kept.freeze()) } else { Body::TooLarge }
}
