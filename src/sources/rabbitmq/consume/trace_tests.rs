use super::*;
use crate::observe::trace::tests::Recorded;
use lapin::types::{ByteArray, FieldArray, LongString, ShortString};
use opentelemetry_sdk::trace::SpanData;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}

fn with(headers: Vec<(&str, AMQPValue)>) -> BasicProperties {
    let headers: BTreeMap<ShortString, AMQPValue> =
        headers.into_iter().map(|(name, value)| (name.into(), value)).collect();
    BasicProperties::default().with_headers(FieldTable::from(headers))
}

/// As [`carried`], of a message that is recorded.
fn traced(properties: BasicProperties) -> (SpanData, HashMap<String, String>) {
    let (span, context) = carried(properties);
    (span.unwrap(), context)
}

/// The span that a message with these properties makes, if it is recorded, and the context that a call carries.
fn carried(properties: BasicProperties) -> (Option<SpanData>, HashMap<String, String>) {
    let (traces, recorded) = Recorded::start(1.0);
    let mut delivery = Delivery::mock(7, "gigs.events".into(), "gigs.com.gigs.sim".into(), false, b"{}".to_vec());
    delivery.properties = properties;
    let trace = begin(&traces, &delivery, "hookbro.events", Attempt::from_rung(1));
    let context = futures_util::FutureExt::now_or_never(trace.around(async {
        let mut context = HashMap::new();
        traces.of_call(&mut context, || SpanBuilder::from_name("call")).end();
        context
    }));
    trace.end();
    let span = recorded.spans().into_iter().find(|span| span.span_kind == SpanKind::Consumer);
    (span, context.unwrap())
}

fn value(span: &SpanData, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
    found.map(|attribute| attribute.value.to_string())
}

#[test]
fn a_delivery_is_described_as_the_conventions_want_it() {
    let properties = with(vec![("traceparent", long(PARENT)), ("tracestate", long("a=b"))]);
    let (span, _) = traced(properties.with_message_id("evt_1".into()));
    assert_eq!((span.name.as_ref(), span.span_kind.clone()), ("process hookbro.events", SpanKind::Consumer));
    for (name, expected) in [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "gigs.events:gigs.com.gigs.sim:hookbro.events"),
        ("messaging.rabbitmq.destination.routing_key", "gigs.com.gigs.sim"),
        ("messaging.rabbitmq.message.delivery_tag", "7"),
        ("messaging.message.id", "evt_1"),
        ("messaging.message.body.size", "2"),
        ("hookbro.attempt", "2"),
    ] {
        assert_eq!(value(&span, name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
    assert!(span.parent_span_is_remote);
    assert_eq!(span.span_context.trace_state().header(), "a=b");
    assert_eq!(span.links.iter().count(), 0);
}

#[test]
fn a_parent_may_be_any_kind_of_text_and_nothing_else() {
    let bytes = AMQPValue::ByteArray(ByteArray::from(PARENT.as_bytes()));
    for (header, is_parent) in [
        (long(PARENT), true),
        (AMQPValue::ShortString(PARENT.into()), true),
        (bytes, true),
        (AMQPValue::LongLongInt(4), false),
        (AMQPValue::Void, false),
        (AMQPValue::Boolean(true), false),
        (AMQPValue::FieldArray(FieldArray::from(vec![long(PARENT)])), false),
        (AMQPValue::ByteArray(ByteArray::from([0xff_u8, 0xfe].as_slice())), false),
        (long(""), false),
        (long("00-00000000000000000000000000000000-00f067aa0ba902b7-01"), false),
        (long("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"), false),
        (long("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), false),
        (long("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"), false),
        (long(&format!("01-{}", PARENT.split_at(3).1).repeat(20)), false),
        (long(&"-".repeat(1 << 20)), false),
    ] {
        let shown = format!("{header:?}").chars().take(90).collect::<String>();
        let (span, context) = traced(with(vec![("traceparent", header), ("tracestate", long("a=b"))]));
        assert_eq!(span.span_context.trace_id().to_string() == TRACE, is_parent, "{shown}");
        assert!(well_formed(&context), "{shown}: {context:?}");
    }
}

#[test]
fn a_state_that_is_too_long_or_no_state_costs_nothing_but_itself() {
    for state in [&*"a=b,".repeat(200), "no state", "UPPER=x", &*format!("a={}", "v".repeat(400))] {
        let (span, context) = traced(with(vec![("traceparent", long(PARENT)), ("tracestate", long(state))]));
        assert_eq!(span.span_context.trace_id().to_string(), TRACE, "{state:.20}");
        assert_eq!(span.span_context.trace_state().header(), "", "{state:.20}");
        assert!(well_formed(&context));
    }
}

#[test]
fn a_replay_begins_a_trace_that_points_to_the_old_one() {
    let replayed = ("x-hookbro-replayed", AMQPValue::LongInt(1));
    let (span, context) = traced(with(vec![("traceparent", long(PARENT)), replayed.clone()]));
    assert_ne!(span.span_context.trace_id().to_string(), TRACE);
    let links: Vec<_> = span.links.iter().map(|link| link.span_context.trace_id().to_string()).collect();
    assert_eq!(links, [TRACE]);
    assert!(!context["traceparent"].contains(TRACE));
    let (span, _) = traced(with(vec![replayed]));
    assert_eq!(span.links.iter().count(), 0, "with nothing to point to");
}

#[test]
fn a_destination_repeats_nothing() {
    assert_eq!(destination("", "q", "q"), "q");
    assert_eq!(destination("hookbro.events.retry.1", "a.b", "q.retry.1"), "hookbro.events.retry.1:a.b:q.retry.1");
}

/// As W3C Trace Context, 3.2.2, wants it.
fn well_formed(context: &HashMap<String, String>) -> bool {
    let parts: Vec<_> = context["traceparent"].split('-').collect();
    let hex =
        |part: &str, len| part.len() == len && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let [version, trace, parent, flags] = parts.as_slice() else { return false };
    let id = |part: &str, len| hex(part, len) && part.bytes().any(|b| b != b'0');
    *version == "00" && id(trace, 32) && id(parent, 16) && hex(flags, 2)
}

fn anything() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(|text| long(&text)),
        "[0-9a-f]{2}-[0-9a-f]{30,34}-[0-9a-f]{15,17}-[0-9a-f]{1,3}(-.*)?".prop_map(|text| long(&text)),
        "([a-z@*/_-]{0,20}=?.{0,30},){0,40}".prop_map(|text| long(&text)),
        proptest::collection::vec(any::<u8>(), 0..600).prop_map(|bytes| AMQPValue::ByteArray(bytes.as_slice().into())),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<bool>().prop_map(AMQPValue::Boolean),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(2, 8, 4, |inner| {
        proptest::collection::vec(inner, 0..4).prop_map(|values| AMQPValue::FieldArray(FieldArray::from(values)))
    })
}

proptest! {
    #[test]
    fn whatever_the_headers_hold_there_is_a_span_and_calls_carry_a_sound_context(parent in anything(), state in anything()) {
        let (_, context) = carried(with(vec![("traceparent", parent), ("tracestate", state)]));
        prop_assert!(well_formed(&context), "{context:?}");
    }
}
