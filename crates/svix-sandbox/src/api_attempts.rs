//! The routes of deliveries: attempts of a message, and those that deliver once more, or for a test.
//!
//! Limits: nothing is sent, so what they start has no effect but its answer, a message, an attempt, and a line in the log.
//! Recovering has none: no attempt ever failed.

use hyper::StatusCode;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::answers::{Answer, Flaw};
use super::api_endpoints::writer;
use super::api_messages::MessageOut;
use super::attempts::{self, Trigger};
use super::exchange::Call;
use super::paging::{Page, query};
use super::store::Refusal;
use super::tenants::stamp;
use super::validate::{ATTEMPT_PREFIX, ENDPOINT_PREFIX};
use super::wire::{self, MessageIn};
use super::wire_endpoints::{ExampleIn, RecoverIn};

/// The event type that every organisation has an example of.
const PING: (&str, &str) = ("svix.ping", r#"{"success":true}"#);
/// How far back messages are recovered.
const WINDOW: SignedDuration = SignedDuration::from_hours(14 * 24);

pub(super) fn send_example(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let ExampleIn { event_type } = wire::decode(call.body()?)?;
    let mut store = call.inner.store();
    let endpoint = store.app(&org, app).and_then(|app| app.endpoints.find(key)).cloned();
    let endpoint = endpoint.ok_or_else(Answer::entity_not_found)?;
    let example = match event_type == PING.0 {
        true => PING.1.to_owned(),
        false => {
            let kind = store.event_types(&org).get(&event_type).ok_or_else(Answer::entity_not_found)?;
            // Not recorded; the words are those of the server's source.
            let none = || {
                let detail = "Unable to generate example message from event-type schema";
                Answer::error(StatusCode::BAD_REQUEST, "invalid_scheme", detail)
            };
            kind.example().ok_or_else(none)?.to_string()
        }
    };
    let payload = RawValue::from_string(example).map_err(|_| Answer::broken())?;
    let message = MessageIn::example(event_type, payload);
    let stored = store.insert_message(&org, app, message).map_err(|refusal| match refusal {
        Refusal::NoApp => Answer::entity_not_found(),
        Refusal::Taken | Refusal::Full => Answer::broken(),
    })?;
    let found = store.app(&org, app).and_then(|app| store.message(app, &stored.id)).map(|(seq, _)| seq);
    found.into_iter().for_each(|seq| store.call(seq, &endpoint, Trigger::Manual));
    Ok(Answer::json(StatusCode::OK, &MessageOut::new(&stored, false)?))
}

pub(super) fn recover(call: &Call<'_>, app: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let RecoverIn { since } = wire::decode(call.body()?)?;
    if Timestamp::now().duration_since(since) > WINDOW {
        let msg = "Cannot recover more than 14 days of messages";
        return Err(Answer::invalid(vec![Flaw::value(&["body", "since"], msg)]));
    }
    let mut store = call.inner.store();
    store.app(&org, app).and_then(|app| app.endpoints.find(key)).ok_or_else(Answer::entity_not_found)?;
    let (id, now) = (store.new_task(), stamp(Timestamp::now()));
    let task = json!({"id": id, "status": "running", "task": "endpoint.recover", "updatedAt": now});
    Ok(Answer::json(StatusCode::ACCEPTED, &task))
}

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<usize>,
    iterator: Option<String>,
}

pub(super) fn attempts(call: &Call<'_>, app: &str, id: &str) -> Result<Answer, Answer> {
    let ListQuery { limit, iterator } = query(call.uri)?;
    let page = Page::new(limit, iterator.as_deref(), ATTEMPT_PREFIX)?;
    let org = call.inner.gate.reader(call.headers)?;
    let store = call.inner.store();
    let found = store.app(&org, app).and_then(|app| store.message(app, id));
    let (_, message) = found.ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::json(StatusCode::OK, &attempts::list(&message.attempts, &message.id, &page)))
}

pub(super) fn destinations(call: &Call<'_>, app: &str, id: &str) -> Result<Answer, Answer> {
    let ListQuery { limit, iterator } = query(call.uri)?;
    let page = Page::new(limit, iterator.as_deref(), ENDPOINT_PREFIX)?;
    let org = call.inner.gate.reader(call.headers)?;
    let store = call.inner.store();
    let app = store.app(&org, app).ok_or_else(Answer::entity_not_found)?;
    let (_, message) = store.message(app, id).ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::json(StatusCode::OK, &attempts::destinations(&message.attempts, app.endpoints.iter(), &page)))
}

pub(super) fn resend(call: &Call<'_>, app: &str, id: &str, key: &str) -> Result<Answer, Answer> {
    let org = writer(call)?;
    let mut store = call.inner.store();
    let app = store.app(&org, app).ok_or_else(Answer::entity_not_found)?;
    let (seq, message) = store.message(app, id).ok_or_else(Answer::entity_not_found)?;
    let endpoint = app.endpoints.find(key).cloned().ok_or_else(Answer::entity_not_found)?;
    if message.payload.is_none() {
        let detail = "Unable to resend message. Payload is missing (probably expired).";
        return Err(Answer::error(StatusCode::BAD_REQUEST, "missing_payload", detail));
    }
    store.call(seq, &endpoint, Trigger::Manual);
    Ok(Answer::json(StatusCode::ACCEPTED, &json!({})))
}
