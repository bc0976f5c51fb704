//! What Svix demands of well-formed JSON, and the 422 for what falls short.
//!
//! Limit: the length of `metadata` and control characters in names are not checked; those answers are not recorded.

use super::answers::{Answer, Flaw};
use super::wire::{ApplicationIn, MessageIn};
use super::wire_endpoints::{EndpointIn, EventTypeIn};

/// Bytes in a uid, event id, event type or channel.
const MAX_WORD: usize = 256;
const MAX_CHANNELS: usize = 5;
const RETENTION_DAYS: std::ops::RangeInclusive<i64> = 5..=90;
pub(super) const APP_PREFIX: &str = "app_";
pub(super) const ATTEMPT_PREFIX: &str = "atmpt_";
pub(super) const MESSAGE_PREFIX: &str = "msg_";
pub(super) const ENDPOINT_PREFIX: &str = "ep_";
/// Where Svix files a complaint about a value as a whole.
const WHOLE: &str = "__all__";

pub(super) fn application(app: &ApplicationIn) -> Result<(), Answer> {
    settle(application_flaws(app, &["body"]))
}

pub(super) fn message(message: &MessageIn) -> Result<(), Answer> {
    let mut flaws = Vec::new();
    if let Err(msg) = word(&message.event_type) {
        flaws.push(Flaw::value(&["body", "event_type", WHOLE], msg));
    }
    if let Some(channels) = &message.channels {
        if let Some(Err(msg)) = channels.0.iter().map(|name| word(name)).find(Result::is_err) {
            flaws.push(Flaw::value(&["body", "channels", WHOLE], msg));
        } else if !(1..=MAX_CHANNELS).contains(&channels.0.len()) {
            let msg = "Channels must have at least 1 and at most 5 items, or be set to null.";
            flaws.push(Flaw::value(&["body", "channels"], msg));
        }
    }
    if let Some(Err(msg)) = message.event_id.as_deref().map(|id| uid(id, MESSAGE_PREFIX)) {
        flaws.push(Flaw::value(&["body", "uid", WHOLE], msg));
    }
    if !message.payload.get().starts_with('{') {
        flaws.push(Flaw::value(&["body", "payload"], "Payload must be an object."));
    }
    if !RETENTION_DAYS.contains(&message.payload_retention_period) {
        flaws.push(Flaw::value(&["body", "payload_retention_period"], "Validation error"));
    }
    if let Some(app) = &message.application {
        flaws.extend(application_flaws(app, &["body", "application"]));
    }
    settle(flaws)
}

/// The application of a path, which may be an id as well as a uid.
pub(super) fn app_in_path(key: &str) -> Result<(), Answer> {
    let flaw = word(key).err().map(|msg| Flaw::value(&["path", "app_id_or_uid", WHOLE], msg));
    settle(flaw.into_iter().collect())
}

/// An `application` that is to be created has to bear the uid of the path.
pub(super) fn same_app(app: &ApplicationIn, key: &str) -> Result<(), Answer> {
    let (msg, kind) = match app.uid.as_deref() {
        None => ("Application UID not set in body", "application_uid_missing"),
        Some(uid) if uid != key => ("Application UID in the path and body must match", "application_uid_mismatch"),
        Some(_) => return Ok(()),
    };
    let loc = ["body", "application", "uid"].map(str::to_owned).to_vec();
    settle(vec![Flaw::of(loc, msg, kind)])
}

pub(super) fn endpoint(endpoint: &EndpointIn) -> Result<(), Answer> {
    let mut flaws = Vec::new();
    if let Some(Err(msg)) = endpoint.uid.as_deref().map(|it| uid(it, ENDPOINT_PREFIX)) {
        flaws.push(Flaw::value(&["body", "uid", WHOLE], msg));
    }
    if !["http://", "https://"].iter().any(|scheme| endpoint.url.0.starts_with(scheme)) {
        flaws.push(Flaw::value(&["body", "url"], "Endpoint URL schemes must be http or https"));
    }
    match endpoint.filter_types.as_deref() {
        Some([]) => {
            let msg = "eventTypes can't be empty, it must have at least one item.";
            flaws.push(Flaw::value(&["body", "event_types"], msg));
        }
        Some(names) => {
            let bad = names.iter().find_map(|name| word(name).err());
            flaws.extend(bad.map(|msg| Flaw::value(&["body", "event_types", WHOLE], msg)));
        }
        None => {}
    }
    settle(flaws)
}

pub(super) fn event_type(kind: &EventTypeIn) -> Result<(), Answer> {
    let flaw = word(&kind.name).err().map(|msg| Flaw::value(&["body", "name", WHOLE], msg));
    settle(flaw.into_iter().collect())
}

fn application_flaws(app: &ApplicationIn, at: &[&str]) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    if app.name.is_empty() {
        flaws.push(Flaw::value(&[at, &["name"]].concat(), "Application names must be at least one character"));
    }
    if app.throttle_rate == Some(0) {
        let msg = "Application throttle rate must be at least 1 if set";
        flaws.push(Flaw::value(&[at, &["throttle_rate"]].concat(), msg));
    }
    if let Some(Err(msg)) = app.uid.as_deref().map(|it| uid(it, APP_PREFIX)) {
        flaws.push(Flaw::value(&[at, &["uid", WHOLE]].concat(), msg));
    }
    flaws
}

fn settle(flaws: Vec<Flaw>) -> Result<(), Answer> {
    if flaws.is_empty() { Ok(()) } else { Err(Answer::invalid(flaws)) }
}

fn uid(text: &str, id_prefix: &str) -> Result<(), &'static str> {
    word(text)?;
    if text.starts_with(id_prefix) {
        return Err("Uids are not allowed to have the same prefix as the ID. Prefix with _?");
    }
    Ok(())
}

fn word(text: &str) -> Result<(), &'static str> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() {
        Err("String must be at least one character")
    } else if text.len() > MAX_WORD {
        Err("String too long")
    } else if !text.bytes().all(legal) {
        Err("String must match the following pattern: [a-zA-Z0-9\\-_.].")
    } else {
        Ok(())
    }
}
