//! A delivery as OpenTelemetry's messaging conventions describe it (semantic conventions 1.30, "RabbitMQ"), and the trace
//! that its headers name.

use crate::{
    event::Attempt,
    observe::trace::{Follows, Trace, Traces},
    sources::rabbitmq::headers::is_replay,
};
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable},
};
use opentelemetry::{
    KeyValue,
    propagation::Extractor,
    trace::{SpanBuilder, SpanKind},
};

/// Longest header read, in bytes. `traceparent` has 55 today (W3C Trace Context, 3.2); 512 of `tracestate` is what everybody
/// must pass on (3.3.1.5). What is longer counts as none.
const MAX_HEADER: usize = 512;

/// Begins the span of one attempt at a message. Its parent is the message's creation, which the conventions allow where
/// messages are processed singly: attempts at one event are siblings. A replay is linked instead, since the trace that it
/// came from may be weeks old, and over.
pub(super) fn begin(traces: &Traces, delivery: &Delivery, queue: &str, attempt: Attempt) -> Trace {
    if !traces.is_on() {
        return Trace::default();
    }
    let properties = &delivery.properties;
    let follows = if is_replay(properties) { Follows::Link } else { Follows::Parent };
    traces.of_message(&Carrier(properties.headers().as_ref()), follows, || span(delivery, properties, queue, attempt))
}

fn span(delivery: &Delivery, properties: &BasicProperties, queue: &str, attempt: Attempt) -> SpanBuilder {
    let (exchange, routing_key) = (delivery.exchange.as_str(), delivery.routing_key.as_str());
    let mut attributes = vec![
        KeyValue::new("messaging.system", "rabbitmq"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.destination.name", destination(exchange, routing_key, queue)),
        KeyValue::new("messaging.rabbitmq.message.delivery_tag", signed(delivery.delivery_tag)),
        KeyValue::new("messaging.message.body.size", signed(delivery.data.len())),
        KeyValue::new("hookbro.attempt", i64::from(attempt.get())),
        KeyValue::new("hookbro.queue", queue.to_owned()),
    ];
    if !routing_key.is_empty() {
        attributes.push(KeyValue::new("messaging.rabbitmq.destination.routing_key", routing_key.to_owned()));
    }
    for (name, value) in [
        ("messaging.message.id", properties.message_id()),
        ("messaging.message.conversation_id", properties.correlation_id()),
    ] {
        if let Some(value) = value {
            attributes.push(KeyValue::new(name, value.as_str().to_owned()));
        }
    }
    // Routing keys name projects: as a part of the name they would make one of each.
    SpanBuilder::from_name(format!("process {queue}")).with_kind(SpanKind::Consumer).with_attributes(attributes)
}

/// `{exchange}:{routing key}:{queue}`, without empty or repeated parts.
fn destination(exchange: &str, routing_key: &str, queue: &str) -> String {
    let routing_key = if routing_key == queue { "" } else { routing_key };
    [exchange, routing_key, queue].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":")
}

fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Headers as texts. AMQP's may be of any type: those that are no short text are not there.
struct Carrier<'a>(Option<&'a FieldTable>);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let text = match self.0?.inner().get(key)? {
            AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok()?,
            AMQPValue::ShortString(text) => text.as_str(),
            AMQPValue::ByteArray(bytes) => std::str::from_utf8(bytes.as_slice()).ok()?,
            _ => return None,
        };
        (text.len() <= MAX_HEADER).then_some(text)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.map(|headers| headers.inner().keys().map(|key| key.as_str()).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
