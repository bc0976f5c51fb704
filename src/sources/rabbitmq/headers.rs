//! The headers that hookbro writes on copies, and reads back from the dead-letter queue. No delivery to Svix depends on them.

use super::{
    death::Death,
    guard::{self, MARK},
};
use crate::{
    event::{Dead, DeadReason, Event, Malformed, ParkReason},
    operate::dead_letters::DeadLetter,
    pipeline::delivery::Unreadable,
};
use bytes::Bytes;
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use std::collections::BTreeMap;

/// `delivery_mode` of a message that survives a restart of the broker.
pub(super) const PERSISTENT: u8 = 2;

/// Begins every header that is ours.
const OURS: &str = "x-hookbro-";
/// Headers that say why the event is a dead letter; a publisher's own of these names is not carried over.
const DEAD_LETTER: [&str; 8] =
    ["reason", "detail", "attempts", "status", "project", "event-id", "failed-at", UNREADABLE];
/// The guard's mark. A dead letter says it in its detail, and a replay is to be delivered.
const UNREADABLE: &str = "unreadable";
/// Counts how often the event was replayed.
const REPLAYED: &str = "replayed";
/// Since when the event has been parked, and why it was the last time.
const PARKED_AT: &str = "parked-at";
const PARKED_REASON: &str = "parked-reason";
/// Why it was a dead letter before its last replay, and since when.
const HISTORY: [(&str, &str); 2] = [("reason", "replayed-reason"), ("failed-at", "replayed-failed-at")];
/// Prefixes of the headers in which RabbitMQ records the queues of a message.
const BROKER_RECORDS: [&str; 5] =
    ["x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count"];
/// Headers by which RabbitMQ routes extra copies: left in, each copy would be duplicated.
const SENDER_SELECTED: [&str; 2] = ["CC", "BCC"];
/// Bytes of a publisher's headers that a copy carries; headers beyond that are counted and left out. With ours beside them they
/// must fit one frame, which RabbitMQ makes 128 KiB by default: a larger one closes the connection.
const MAX_COPIED: usize = 96 * 1024;
/// Longest detail kept, in bytes: headers are for reading, and all of them must fit one frame.
const MAX_DETAIL: usize = 512;

type Headers = BTreeMap<ShortString, AMQPValue>;

/// The original's properties, less what would delete, refuse or multiply the copy, plus the headers of a dead letter.
pub(super) fn dead_properties(original: &BasicProperties, dead: &Dead, attempts: u8) -> BasicProperties {
    let copy = portable(original);
    let mut headers = without_dead_letter_headers(&copy);
    let mut set = |name: &str, value: AMQPValue| headers.insert(ours(name), value);
    set("reason", text(dead.reason.as_str()));
    set("detail", text(&one_line(&dead.cause.detail)));
    set("attempts", AMQPValue::LongInt(attempts.into()));
    set("failed-at", text(&Timestamp::now().to_string()));
    if let Some(status) = dead.cause.status {
        set("status", AMQPValue::LongInt(status.into()));
    }
    if let Some(project) = &dead.project {
        set("project", text(project.as_str()));
    }
    if let Some(id) = &dead.event_id {
        set("event-id", text(id.as_str()));
    }
    copy.with_headers(FieldTable::from(headers))
}

/// The properties with which a dead letter climbs the ladder again: its dead-letter headers become its history, and what the
/// broker recorded of its last climb is gone.
pub fn replay_properties(dead: &BasicProperties) -> BasicProperties {
    let copy = portable(dead);
    let mut headers = without_dead_letter_headers(&copy);
    headers.retain(|name, _| !is_broker_record(name));
    let replays = replays(&copy).saturating_add(1);
    headers.insert(ours(REPLAYED), AMQPValue::LongInt(i32::try_from(replays).unwrap_or(i32::MAX)));
    for (name, history) in HISTORY {
        if let Some(value) = header(&copy, name) {
            headers.insert(ours(history), value.clone());
        }
    }
    copy.with_headers(FieldTable::from(headers))
}

/// The properties with which a parked event climbs the ladder again, without what says that it was parked, and what the broker
/// recorded of its first climb: a second one would add to it, and headers have a limit.
pub(super) fn fresh_properties(parked: &BasicProperties) -> BasicProperties {
    let copy = portable(parked);
    let all = copy.headers().iter().flatten();
    let parked = [PARKED_AT, PARKED_REASON].map(ours);
    let kept = all.filter(|(name, _)| !parked.contains(name) && !is_broker_record(name));
    let kept: Headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    copy.with_headers(FieldTable::from(kept))
}

/// The properties of a parked event: as [`fresh_properties`], and since when it has been parked, and why.
pub(super) fn parked_properties(original: &BasicProperties, since: Timestamp, reason: ParkReason) -> BasicProperties {
    let fresh = fresh_properties(original);
    let mut headers = fresh.headers().clone().unwrap_or_default();
    headers.insert(ours(PARKED_AT), text(&since.to_string()));
    headers.insert(ours(PARKED_REASON), text(reason.as_str()));
    fresh.with_headers(headers)
}

/// Since when a message in a queue of parked events has been so; elsewhere the header may be anybody's.
pub(super) fn parked_at(properties: &BasicProperties) -> Option<Timestamp> {
    header(properties, PARKED_AT).and_then(as_text).and_then(|at| at.parse().ok())
}

/// Why a message in a queue of parked events was parked.
pub(super) fn parked_reason(properties: &BasicProperties) -> Option<ParkReason> {
    let reason = header(properties, PARKED_REASON).and_then(as_text)?;
    ParkReason::ALL.into_iter().find(|each| each.as_str() == reason)
}

/// A quorum queue's count of a message's earlier deliveries.
pub(super) fn delivery_count(properties: &BasicProperties) -> i64 {
    properties.headers().as_ref().and_then(|all| integer(all.inner().get("x-delivery-count")?)).unwrap_or_default()
}

/// Reads a message of the dead-letter queue. Where our headers are missing, its body gives what it can.
pub fn dead_letter(properties: &BasicProperties, routing_key: &str, body: Bytes) -> DeadLetter {
    let text_of = |name| header(properties, name).and_then(as_text);
    let (id, project, kind) = match Event::parse(body.clone(), usize::MAX) {
        Ok(event) => (Some(event.id.to_string()), Some(event.project.to_string()), Some(event.kind.to_string())),
        Err(rejected) => (rejected.id.map(|id| id.to_string()), rejected.project.map(|p| p.to_string()), None),
    };
    let reason = text_of("reason");
    let reason = DeadReason::ALL.into_iter().find(|each| Some(each.as_str()) == reason.as_deref());
    let names = unreadable_names(properties);
    let unread = (!names.is_empty()).then(|| Malformed::Properties(names.names()).to_string());
    // Without headers of ours, the broker has moved it, at the end of its patience.
    let moved = if names.needed().is_empty() { DeadReason::Exhausted } else { DeadReason::Malformed };
    let death = if reason.is_none() { Death::of(properties) } else { None };
    DeadLetter {
        id: text_of("event-id").or(id),
        project: text_of("project").or(project),
        kind,
        reason: reason.unwrap_or(moved),
        detail: text_of("detail").or(unread).or_else(|| death.as_ref().map(Death::to_string)),
        attempts: number(properties, "attempts").or_else(|| death.as_ref().map(|death| death.attempt.get().into())),
        status: number(properties, "status"),
        failed_at: text_of("failed-at").and_then(|at| at.parse().ok()).or_else(|| death?.at),
        replayed: replays(properties),
        routing_key: routing_key.to_owned(),
        body,
    }
}

/// What the guard has replaced in a message.
pub(super) fn unreadable(properties: &BasicProperties) -> Unreadable {
    let all = unreadable_names(properties);
    if all.is_empty() {
        return Unreadable::default();
    }
    Unreadable { needed: all.needed().names(), spare: all.spare().names() }
}

fn unreadable_names(properties: &BasicProperties) -> guard::Unreadable {
    match properties.headers().as_ref().and_then(|headers| headers.inner().get(MARK)) {
        Some(AMQPValue::LongString(names)) => guard::Unreadable::from_names(names.as_bytes()),
        _ => guard::Unreadable::NOTHING,
    }
}

/// Properties that a copy may carry: an expiration would delete it, a foreign user_id is refused with 406, CC and BCC
/// would multiply it. They are kept as headers. lapin can set a property and not clear one.
pub(super) fn portable(from: &BasicProperties) -> BasicProperties {
    type Set<T> = fn(BasicProperties, T) -> BasicProperties;
    fn copy<T: Clone>(to: BasicProperties, value: &Option<T>, set: Set<T>) -> BasicProperties {
        match value {
            Some(value) => set(to, value.clone()),
            None => to,
        }
    }
    let mut headers = Headers::new();
    let mut dropped = 0_i32;
    let mut room = MAX_COPIED;
    for (name, value) in from.headers().iter().flatten() {
        let size = entry_size(name, value);
        if size > room {
            dropped += 1;
            continue;
        }
        room -= size;
        headers.insert(name.clone(), value.clone());
    }
    if dropped > 0 {
        headers.insert(ours("original-headers-dropped"), AMQPValue::LongInt(dropped));
    }
    // After the others, so that the original's values win over headers that a publisher forged under these names.
    for name in SENDER_SELECTED {
        if let Some(value) = headers.remove(name) {
            headers.insert(ours(&format!("original-{name}")), value);
        }
    }
    for (name, value) in [("original-expiration", from.expiration()), ("original-user_id", from.user_id())] {
        if let Some(value) = value {
            headers.insert(ours(name), text(value.as_str()));
        }
    }
    let to = BasicProperties::default();
    let to = copy(to, from.content_type(), BasicProperties::with_content_type);
    let to = copy(to, from.content_encoding(), BasicProperties::with_content_encoding);
    let to = copy(to, from.delivery_mode(), BasicProperties::with_delivery_mode);
    let to = copy(to, from.priority(), BasicProperties::with_priority);
    let to = copy(to, from.correlation_id(), BasicProperties::with_correlation_id);
    let to = copy(to, from.reply_to(), BasicProperties::with_reply_to);
    let to = copy(to, from.message_id(), BasicProperties::with_message_id);
    let to = copy(to, from.timestamp(), BasicProperties::with_timestamp);
    let to = copy(to, from.kind(), BasicProperties::with_type);
    let to = copy(to, from.app_id(), BasicProperties::with_app_id);
    let to = copy(to, from.cluster_id(), BasicProperties::with_cluster_id);
    if headers.is_empty() { to } else { to.with_headers(FieldTable::from(headers)) }
}

/// Whether it says why it was given up, as hookbro's copies do.
pub(super) fn is_dead_copy(properties: &BasicProperties) -> bool {
    header(properties, "reason").is_some()
}

/// Whether `hookbro dead replay` sent it.
pub(super) fn is_replay(properties: &BasicProperties) -> bool {
    header(properties, REPLAYED).is_some()
}

/// Roughly what a header takes on the wire.
fn entry_size(name: &ShortString, value: &AMQPValue) -> usize {
    name.as_str().len() + 2 + value_size(value)
}

fn value_size(value: &AMQPValue) -> usize {
    match value {
        AMQPValue::LongString(text) => 4 + text.as_bytes().len(),
        AMQPValue::ShortString(text) => 1 + text.as_str().len(),
        AMQPValue::ByteArray(bytes) => 4 + bytes.as_slice().len(),
        AMQPValue::FieldTable(table) => 4 + table_size(table),
        AMQPValue::FieldArray(array) => 4 + array.as_slice().iter().map(|value| 1 + value_size(value)).sum::<usize>(),
        // Numbers, times and nothing.
        _ => 8,
    }
}

fn table_size(table: &FieldTable) -> usize {
    table.into_iter().map(|(name, value)| entry_size(name, value)).sum()
}

/// Roughly what the headers of a message take on the wire, in bytes.
pub fn header_bytes(properties: &BasicProperties) -> usize {
    properties.headers().as_ref().map_or(0, table_size)
}

fn without_dead_letter_headers(properties: &BasicProperties) -> Headers {
    let is_ours = |name: &str| name.strip_prefix(OURS).is_some_and(|rest| DEAD_LETTER.contains(&rest));
    let all = properties.headers().iter().flatten();
    all.filter(|(name, _)| !is_ours(name.as_str())).map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn is_broker_record(name: &ShortString) -> bool {
    BROKER_RECORDS.iter().any(|prefix| name.as_str().starts_with(prefix))
}

fn ours(name: &str) -> ShortString {
    format!("{OURS}{name}").into()
}

fn header<'a>(properties: &'a BasicProperties, name: &str) -> Option<&'a AMQPValue> {
    properties.headers().as_ref()?.inner().get(ours(name).as_str())
}

/// How often the event has been replayed; a publisher's own negative number is not believed.
pub(super) fn replays(properties: &BasicProperties) -> i64 {
    number(properties, REPLAYED).unwrap_or(0).max(0)
}

/// A header of ours.
fn number(properties: &BasicProperties, name: &str) -> Option<i64> {
    integer(header(properties, name)?)
}

/// Any of AMQP's integers; a header may have been rewritten by another client.
fn integer(value: &AMQPValue) -> Option<i64> {
    match value {
        AMQPValue::LongInt(n) => Some((*n).into()),
        AMQPValue::LongLongInt(n) => Some(*n),
        AMQPValue::ShortInt(n) => Some((*n).into()),
        _ => None,
    }
}

fn as_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        _ => None,
    }
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

fn one_line(detail: &str) -> String {
    let mut line: String = detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let end = (0..=MAX_DETAIL.min(line.len())).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    line.truncate(end);
    line
}

#[cfg(test)]
#[path = "headers_tests.rs"]
mod tests;
