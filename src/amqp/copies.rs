//! Copies that take the place of a delivery: in the dead queue, or back at the end of the queue that it came from.
//! Always confirmed before the original is acknowledged, so a crash repeats and never loses.

use super::{
    connect::Backoff,
    publish::{PublishError, Publisher},
    settle::Settler,
};
use crate::{
    domain::{Attempt, Dead, Released},
    ports::delivery::HOLD,
};
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};
use std::{collections::BTreeMap, sync::Arc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Begins every header that is ours.
const OURS: &str = "x-hookbro-";
/// Headers that say what became of the event; a publisher's own of these names is not carried over.
const SAID: [&str; 7] = ["reason", "detail", "attempts", "status", "project", "event-id", "failed-at"];
/// Headers by which RabbitMQ routes extra copies: left in, each copy would be duplicated.
const SENDER_SELECTED: [&str; 2] = ["CC", "BCC"];
/// Longest detail kept, in bytes: headers are for reading, and all of them must fit one frame.
const MAX_DETAIL: usize = 512;

/// Places copies.
#[derive(Debug)]
pub struct Copies {
    publisher: Publisher,
    dead_exchange: String,
    /// No more waiting: the process ends now.
    cut: CancellationToken,
}

/// The original, apart from its body.
#[derive(Debug)]
pub(super) struct Original {
    pub delivery: Box<lapin::message::Delivery>,
    /// The queue that it came from, and the fanout exchange of that name.
    pub queue: Arc<str>,
    pub attempt: Attempt,
    pub received: Instant,
}

impl Copies {
    pub fn new(publisher: Publisher, dead_exchange: String, cut: CancellationToken) -> Self {
        Self { publisher, dead_exchange, cut }
    }

    pub async fn close(&self) {
        self.publisher.close().await;
    }

    /// Places a copy in the dead queue. Tries again until [`HOLD`] after the delivery came in.
    pub(super) async fn to_dead(&self, original: &Original, dead: &Dead, body: &[u8], settler: &Settler) -> Placed {
        let mut backoff = Backoff::new();
        loop {
            let properties = dead_properties(original, dead);
            let error = match self.place(&self.dead_exchange, original, properties, body, settler).await {
                Ok(()) => return Placed::Confirmed,
                Err(NotPlaced::Why(why)) => return Placed::Not(why),
                Err(NotPlaced::Failed(error)) => error,
            };
            let wait = backoff.next_wait();
            if original.received.elapsed() + wait > HOLD {
                tracing::error!(%error, "no copy reached the dead queue in time; the event goes back to the broker");
                return Placed::Not(Released::DeadQueueAway);
            }
            tracing::warn!(%error, wait_ms = wait.as_millis(), "copy to the dead queue failed; trying again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.cut.cancelled() => return Placed::Not(Released::Stopping),
            }
        }
    }

    /// Places a copy at the end of the original's own queue. A plain return would count towards `x-delivery-limit`, which
    /// an outage of days must never use up, and would put the same event to the test first each time.
    pub(super) async fn to_own_queue(&self, original: &Original, body: &[u8], settler: &Settler) -> Placed {
        let properties = portable(&original.delivery.properties);
        match self.place(&original.queue, original, properties, body, settler).await {
            Ok(()) => Placed::Confirmed,
            Err(NotPlaced::Why(why)) => Placed::Not(why),
            Err(NotPlaced::Failed(error)) => {
                tracing::warn!(%error, queue = &*original.queue, "a held event goes back by a plain return");
                Placed::Not(Released::HeldTooLong)
            }
        }
    }

    async fn place(
        &self,
        exchange: &str,
        original: &Original,
        properties: BasicProperties,
        body: &[u8],
        settler: &Settler,
    ) -> Result<(), NotPlaced> {
        if !settler.is_awaited() {
            return Err(NotPlaced::Why(Released::SessionEnded));
        }
        let routing_key = original.delivery.routing_key.as_str();
        tokio::select! {
            done = self.publisher.publish(exchange, routing_key, properties, body) => done.map_err(NotPlaced::Failed),
            () = self.cut.cancelled() => Err(NotPlaced::Why(Released::Stopping)),
        }
    }
}

/// What became of a copy.
#[derive(Debug)]
pub(super) enum Placed {
    /// The broker holds it.
    Confirmed,
    /// It does not, and the original must not be acknowledged.
    Not(Released),
}

#[derive(Debug)]
enum NotPlaced {
    Failed(PublishError),
    Why(Released),
}

/// The original's properties, less what would delete, refuse or multiply the copy, plus what became of the event.
fn dead_properties(original: &Original, dead: &Dead) -> BasicProperties {
    let copy = portable(&original.delivery.properties);
    let mut headers: BTreeMap<ShortString, AMQPValue> = BTreeMap::new();
    for (name, value) in copy.headers().iter().flatten() {
        if !name.as_str().strip_prefix(OURS).is_some_and(|rest| SAID.contains(&rest)) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let mut say = |name: &str, value: AMQPValue| headers.insert(format!("{OURS}{name}").into(), value);
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
    copy.with_headers(FieldTable::from(headers))
}

/// Properties that a copy may carry: an expiration would delete it, a foreign user_id is refused with 406, CC and BCC
/// would multiply it. They are kept as headers. lapin can set a property and not clear one.
fn portable(from: &BasicProperties) -> BasicProperties {
    type Set<T> = fn(BasicProperties, T) -> BasicProperties;
    fn copy<T: Clone>(to: BasicProperties, value: &Option<T>, set: Set<T>) -> BasicProperties {
        match value {
            Some(value) => set(to, value.clone()),
            None => to,
        }
    }
    let mut headers: BTreeMap<ShortString, AMQPValue> = BTreeMap::new();
    for (name, value) in from.headers().iter().flatten() {
        let moved = SENDER_SELECTED.contains(&name.as_str());
        let name = if moved { format!("{OURS}original-{name}").into() } else { name.clone() };
        headers.insert(name, value.clone());
    }
    for (name, value) in [("expiration", from.expiration()), ("user_id", from.user_id())] {
        if let Some(value) = value {
            headers.insert(format!("{OURS}original-{name}").into(), text(value.as_str()));
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
mod tests {
    use super::*;
    use crate::domain::{Cause, DeadReason};

    fn header(properties: &BasicProperties, name: &str) -> Option<AMQPValue> {
        properties.headers().as_ref().and_then(|table| table.inner().get(name)).cloned()
    }

    #[test]
    fn a_copy_keeps_all_but_what_would_delete_refuse_or_multiply_it() {
        let mut table = FieldTable::default();
        table.insert("CC".into(), text("elsewhere"));
        table.insert("traceparent".into(), text("00-1-2-03"));
        table.insert("x-hookbro-status".into(), text("forged"));
        let from = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id("evt_1".into())
            .with_delivery_mode(1)
            .with_expiration("1000".into())
            .with_user_id("somebody".into())
            .with_headers(table);
        let delivery = lapin::message::Delivery::mock(1, "x".into(), "k".into(), false, Vec::new());
        let delivery = Box::new(lapin::message::Delivery { properties: from, ..delivery });
        let attempt = Attempt::from_rung(2);
        let original = Original { delivery, queue: "q".into(), attempt, received: Instant::now() };
        let cause = Cause { status: None, detail: "two\nlines".into() };
        let dead = Dead { reason: DeadReason::Malformed, cause, project: None, event_id: None };

        let copy = dead_properties(&original, &dead);
        assert_eq!((copy.expiration(), copy.user_id()), (&None, &None));
        assert_eq!(copy.message_id().as_ref().map(ShortString::as_str), Some("evt_1"));
        assert_eq!(*copy.delivery_mode(), Some(1));
        assert_eq!(header(&copy, "CC"), None);
        assert_eq!(header(&copy, "x-hookbro-original-CC"), Some(text("elsewhere")));
        assert_eq!(header(&copy, "x-hookbro-original-expiration"), Some(text("1000")));
        assert_eq!(header(&copy, "x-hookbro-original-user_id"), Some(text("somebody")));
        assert_eq!(header(&copy, "traceparent"), Some(text("00-1-2-03")));
        assert_eq!(header(&copy, "x-hookbro-reason"), Some(text("malformed")));
        assert_eq!(header(&copy, "x-hookbro-detail"), Some(text("two lines")));
        assert_eq!(header(&copy, "x-hookbro-attempts"), Some(AMQPValue::LongInt(3)));
        assert_eq!(header(&copy, "x-hookbro-status"), None, "a publisher's own is not believed");
    }

    #[test]
    fn a_long_detail_is_cut_between_characters() {
        let line = one_line(&"é".repeat(1000));
        assert!(line.len() <= MAX_DETAIL && line.chars().all(|c| c == 'é'));
    }
}
