//! The routes of messages.
//!
//! Limits: `channel` and `event_types` filter a list; `tag`, `before` and `after` are ignored.

use std::borrow::Cow;

use hyper::{StatusCode, Uri};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answers::Answer;
use super::api_apps;
use super::exchange::{Call, pause};
use super::message_log::Message;
use super::paging::{Page, query};
use super::payload_view::{EXPIRED, payload_view};
use super::request_log::Effect;
use super::store::Refusal;
use super::tenants::stamp;
use super::validate::{self, MESSAGE_PREFIX};
use super::wire::{Channels, MessageIn};

#[derive(Deserialize)]
struct ContentQuery {
    #[serde(default = "yes")]
    with_content: bool,
}

#[derive(Deserialize)]
struct ListQuery {
    limit: Option<usize>,
    iterator: Option<String>,
    channel: Option<String>,
    #[serde(default = "yes")]
    with_content: bool,
}

fn yes() -> bool {
    true
}

/// A message as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageOut {
    event_id: Option<String>,
    event_type: String,
    payload: Box<RawValue>,
    channels: Option<Channels>,
    id: String,
    timestamp: String,
}

impl MessageOut {
    pub(super) fn new(message: &Message, with_content: bool) -> Result<Self, Answer> {
        let payload = match &message.payload {
            _ if !with_content => "{}".to_owned(),
            Some(payload) => payload_view(payload),
            None => EXPIRED.to_owned(),
        };
        Ok(Self {
            event_id: message.event_id.as_ref().map(ToString::to_string),
            event_type: message.event_type.clone(),
            payload: RawValue::from_string(payload).map_err(|_| Answer::broken())?,
            channels: message.channels.clone(),
            id: message.id.clone(),
            timestamp: stamp(message.timestamp),
        })
    }
}

/// Creates the message, and its application first if that is missing and the body brings it: two writes, so an
/// application stays even when its message is refused, and one lost to another call takes the message with it.
pub(super) async fn create(
    call: &Call<'_>,
    key: &str,
    message: Option<Result<MessageIn, Answer>>,
    effect: &mut Effect,
) -> Result<Answer, Answer> {
    let ContentQuery { with_content } = query(call.uri)?;
    let org = call.inner.gate.organisation(call.headers)?;
    call.body()?;
    let mut message = message.ok_or_else(Answer::broken)??;
    validate::message(&message)?;
    validate::app_in_path(key)?;
    let exists = call.inner.store().app(&org, key).is_some();
    if let Some(app) = message.application.take().filter(|_| !exists) {
        validate::same_app(&app, key)?;
        pause(call.inner.options.creation_gap).await;
        call.inner.store().create_app(&org, app).map_err(|refusal| {
            if refusal == Refusal::Taken {
                *effect = Effect::LostRace;
            }
            api_apps::refused(refusal)
        })?;
    }
    let mut store = call.inner.store();
    let stored = store.insert_message(&org, key, message).map_err(|refusal| match refusal {
        Refusal::Taken => {
            *effect = Effect::Duplicate;
            Answer::conflict()
        }
        Refusal::NoApp => Answer::app_not_found(),
        Refusal::Full => Answer::broken(),
    })?;
    *effect = Effect::Stored;
    if call.defers_dispatch {
        call.undispatched.get_or_init(|| stored.id.clone());
    } else {
        store.dispatch(&stored.id);
    }
    drop(store);
    Ok(Answer::json(StatusCode::ACCEPTED, &MessageOut::new(&stored, with_content)?))
}

pub(super) fn get(call: &Call<'_>, key: &str, id: &str) -> Result<Answer, Answer> {
    let ContentQuery { with_content } = query(call.uri)?;
    let org = call.inner.gate.reader(call.headers)?;
    let store = call.inner.store();
    let found = store.app(&org, key).and_then(|app| store.message(app, id));
    let message = found.map(|(_, message)| message.clone());
    drop(store);
    let message = message.ok_or_else(Answer::entity_not_found)?;
    Ok(Answer::json(StatusCode::OK, &MessageOut::new(&message, with_content)?))
}

pub(super) fn expunge(call: &Call<'_>, key: &str, id: &str) -> Result<Answer, Answer> {
    let org = call.inner.gate.organisation(call.headers)?;
    let mut store = call.inner.store();
    let found = store.app(&org, key).and_then(|app| store.message(app, id));
    let seq = found.map(|(seq, _)| seq).ok_or_else(Answer::entity_not_found)?;
    store.expunge(seq);
    Ok(Answer::empty(StatusCode::NO_CONTENT))
}

pub(super) fn list(call: &Call<'_>, key: &str) -> Result<Answer, Answer> {
    let asked: ListQuery = query(call.uri)?;
    let page = Page::new(asked.limit, asked.iterator.as_deref(), MESSAGE_PREFIX)?;
    let types = event_types(call.uri);
    let org = call.inner.gate.reader(call.headers)?;
    let wanted = |message: &&Message| {
        let channel = |name: &String| message.channels.as_ref().is_some_and(|channels| channels.0.contains(name));
        (types.is_empty() || types.contains(&message.event_type)) && asked.channel.as_ref().is_none_or(channel)
    };
    let store = call.inner.store();
    let app = store.app(&org, key).ok_or_else(Answer::entity_not_found)?;
    let found: Vec<Message> = store.walk(app, &page).filter(wanted).take(page.limit + 1).cloned().collect();
    drop(store);
    let shown = found.iter().map(|message| MessageOut::new(message, asked.with_content));
    let shown: Vec<MessageOut> = shown.collect::<Result<_, _>>()?;
    Ok(Answer::json(StatusCode::OK, &page.cut(shown.into_iter(), |message| &message.id)))
}

/// `event_types` may be repeated and may hold several, comma separated.
fn event_types(uri: &Uri) -> Vec<String> {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    let types = pairs.filter(|(name, _)| name == "event_types").map(|(_, value): (_, Cow<'_, str>)| value);
    types.flat_map(|value| value.split(',').map(str::to_owned).collect::<Vec<_>>()).collect()
}
