//! Copies of events given up: what their headers say, and the patience with which they are placed.

use super::{
    connect::Backoff,
    publish::{PublishError, Publisher},
};
use crate::{
    domain::{Attempt, Dead},
    ports::delivery::HOLD,
};
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use std::{collections::BTreeMap, time::Instant};
use tokio_util::sync::CancellationToken;

/// Begins every header that is ours.
const OURS: &str = "x-hookbro-";
/// Headers that say what became of the event; a publisher's own of these names is not carried over.
const SAID: [&str; 7] = ["reason", "detail", "attempts", "status", "project", "event-id", "failed-at"];
/// Headers by which RabbitMQ routes extra copies: left in, each copy would be duplicated.
const SENDER_SELECTED: [&str; 2] = ["CC", "BCC"];
/// Longest detail kept, in bytes: headers are for reading, and all of them must fit one frame.
const MAX_DETAIL: usize = 512;

/// Places copies in the dead queue.
#[derive(Debug)]
pub struct DeadLetters {
    publisher: Publisher,
    exchange: String,
    /// No more waiting: the process ends now.
    cut: CancellationToken,
}

/// The original, apart from its body.
#[derive(Debug)]
pub(super) struct Original {
    pub delivery: Box<lapin::message::Delivery>,
    pub attempt: Attempt,
    pub received: Instant,
}

impl DeadLetters {
    pub fn new(publisher: Publisher, exchange: String, cut: CancellationToken) -> Self {
        Self { publisher, exchange, cut }
    }

    pub async fn close(&self) {
        self.publisher.close().await;
    }

    /// Whether a confirmed copy stands in the dead queue. Tries again until [`HOLD`] after the delivery came in.
    pub(super) async fn place(&self, original: &Original, dead: &Dead, body: &[u8]) -> bool {
        let mut backoff = Backoff::new();
        loop {
            let error = match self.try_place(original, dead, body).await {
                Some(Ok(())) => return true,
                Some(Err(error)) => error,
                None => return false,
            };
            let wait = backoff.next_wait();
            if original.received.elapsed() + wait > HOLD {
                tracing::error!(%error, "no copy reached the dead queue in time; the event goes back to the broker");
                return false;
            }
            tracing::warn!(%error, wait_ms = wait.as_millis(), "copy to the dead queue failed; trying again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.cut.cancelled() => return false,
            }
        }
    }

    async fn try_place(&self, original: &Original, dead: &Dead, body: &[u8]) -> Option<Result<(), PublishError>> {
        let properties = dead_properties(original, dead);
        tokio::select! {
            done = self.publisher.publish(&self.exchange, original.delivery.routing_key.as_str(), properties, body) => Some(done),
            () = self.cut.cancelled() => None,
        }
    }
}

/// The original's properties, less what would delete, refuse or multiply the copy, plus what became of the event.
fn dead_properties(original: &Original, dead: &Dead) -> BasicProperties {
    let from = &original.delivery.properties;
    let mut headers: BTreeMap<ShortString, AMQPValue> = BTreeMap::new();
    for (name, value) in from.headers().iter().flatten() {
        if SENDER_SELECTED.contains(&name.as_str()) {
            headers.insert(format!("{OURS}original-{name}").into(), value.clone());
        } else if !name.as_str().strip_prefix(OURS).is_some_and(|rest| SAID.contains(&rest)) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let mut say = |name: &str, value: AMQPValue| headers.insert(format!("{OURS}{name}").into(), value);
    if let Some(expiration) = from.expiration() {
        say("original-expiration", text(expiration.as_str()));
    }
    if let Some(user_id) = from.user_id() {
        say("original-user_id", text(user_id.as_str()));
    }
    say("reason", text(dead.reason.as_str()));
    say("detail", text(&one_line(&dead.cause.detail)));
    say("attempts", AMQPValue::LongInt(original.attempt.get().into()));
    say("failed-at", text(&Timestamp::now().to_string()));
    if let Some(status) = dead.cause.status {
        say("status", AMQPValue::LongInt(status.into()));
    }
    if let Some(project) = &dead.project {
        say("project", text(project.as_str()));
    }
    if let Some(id) = &dead.event_id {
        say("event-id", text(id.as_str()));
    }
    without_expiration_and_user_id(from).with_headers(FieldTable::from(headers))
}

/// lapin can set a property, not clear one; headers are the caller's.
fn without_expiration_and_user_id(from: &BasicProperties) -> BasicProperties {
    type Set<T> = fn(BasicProperties, T) -> BasicProperties;
    fn copy<T: Clone>(to: BasicProperties, value: &Option<T>, set: Set<T>) -> BasicProperties {
        match value {
            Some(value) => set(to, value.clone()),
            None => to,
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
    copy(to, from.cluster_id(), BasicProperties::with_cluster_id)
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
