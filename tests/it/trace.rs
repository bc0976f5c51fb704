//! Spans, as a collector gets them; and that no collector at all changes nothing.

use crate::support::{
    SOON,
    collector::{Collector, Manner, Spanned, counted},
    events::{Sample, generated, one},
    hookbro::{Hookbro, command},
    ledger, until,
    world::World,
};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use std::{collections::BTreeMap, time::Instant};
use svix_sandbox::Fault;

const CONSUMER: i32 = 5;
const CLIENT: i32 = 3;
const PARENT: &str = "00f067aa0ba902b7";
const POST: &str = "POST /api/v1/app/{app_id}/msg";

async fn traced(test: &str, manner: Manner) -> (World, Collector) {
    let collector = Collector::start(manner).await;
    (World::new(test).await.with("tracing.otlp_endpoint", &collector.url), collector)
}

/// A publisher's trace, of a number.
fn trace(n: u8) -> String {
    format!("4bf92f3577b34da6a3ce929d0e0e47{n:02x}")
}

async fn publish(world: &World, sample: &Sample, traceparent: AMQPValue) {
    let headers = BTreeMap::from([("traceparent".into(), traceparent), ("tracestate".into(), text("vendor=x"))]);
    let properties = BasicProperties::default().with_headers(FieldTable::from(headers));
    world.broker.publish(&sample.routing_key(), properties, &sample.body).await;
}

fn text(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn parent(n: u8) -> AMQPValue {
    text(&format!("00-{}-{PARENT}-01", trace(n)))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_event_is_one_span_within_its_publishers_trace_and_svix_hears_of_it() {
    let (world, collector) = traced("trace", Manner::Takes).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    // The application is made by the first, so that the second is a single call.
    let first = one("tr-first", "gigs");
    world.publish_one(&first).await;
    world.arrive(std::slice::from_ref(&first)).await;
    let sample = one("tr-one", "gigs");
    publish(&world, &sample, parent(1)).await;
    let [span] = collector.attempts(&sample.id, 1).await.try_into().unwrap();
    assert_eq!((span.kind, &span.trace, span.parent.as_str()), (CONSUMER, &trace(1), PARENT));
    assert_eq!(span.name, format!("process {}", world.broker.queue));
    let destination = format!("{}:{}:{}", world.broker.exchange, sample.routing_key(), world.broker.queue);
    for (name, value) in [
        ("messaging.system", "rabbitmq"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", &destination),
        ("messaging.rabbitmq.destination.routing_key", &sample.routing_key()),
        ("hookbro.attempt", "1"),
        ("hookbro.project", "gigs"),
        ("hookbro.event.type", &sample.kind),
        ("hookbro.outcome", "delivered"),
    ] {
        assert_eq!(span.says(name), value, "{name}");
    }
    assert!(!span.failed);
    let [call] = collector.children(&span).try_into().unwrap();
    assert_eq!((call.kind, call.name.as_str(), call.failed), (CLIENT, POST, false));
    assert_eq!(call.says("http.response.status_code"), "202");
    assert_eq!(call.says("server.address"), "127.0.0.1");
    let received = world.svix.calls_for(&sample.id).remove(0).traceparent;
    assert_eq!(received, Some(format!("00-{}-{}-01", trace(1), call.id)));

    let [root] = collector.attempts(&first.id, 1).await.try_into().unwrap();
    assert_eq!((root.parent.as_str(), root.links.len()), ("", 0), "without a publisher's trace, one of its own");
    let statuses: Vec<_> = collector.children(&root).iter().map(|call| call.says("error.type").to_owned()).collect();
    assert_eq!(statuses, ["404", ""], "missing, then created");
    let resource = collector.resource();
    assert_eq!((resource["service.name"].as_str(), resource["service.version"].as_str()), ("hookbro", "0.1.0"));
    let lines = hookbro.logged("event settled");
    let line = lines.iter().find(|line| line["fields"]["event.id"] == *sample.id).unwrap();
    assert_eq!(line["span"]["trace_id"], *trace(1));
    counted(&hookbro, "hookbro_spans_exported_total", 5.0).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_any_kind_are_no_more_than_a_missing_parent() {
    let (world, collector) = traced("tracebad", Manner::Takes).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let headers = [AMQPValue::LongLongInt(7), AMQPValue::Void, text(&"0".repeat(50_000)), text("00-00-00-00")];
    let samples = generated("trbad", &["gigs"], headers.len());
    for (sample, header) in samples.iter().zip(headers) {
        publish(&world, sample, header).await;
    }
    world.broker.publish("some.key", BasicProperties::default(), b"no event").await;
    world.arrive(&samples).await;
    for sample in &samples {
        let [span] = collector.attempts(&sample.id, 1).await.try_into().unwrap();
        assert_eq!((span.parent.as_str(), span.failed), ("", false));
    }
    let malformed = until("the malformed one has a span", SOON, async || {
        collector.spans().into_iter().find(|span| span.says("hookbro.dead.reason") == "malformed")
    })
    .await;
    assert!(malformed.failed && collector.children(&malformed).is_empty(), "{malformed:?}");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attempts_are_siblings_the_dead_copy_keeps_its_trace_and_a_replay_points_to_it() {
    let (world, collector) = traced("tracedead", Manner::Takes).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let warm = one("trd-warm", "gigs");
    world.publish_one(&warm).await;
    world.arrive(std::slice::from_ref(&warm)).await;
    let sample = one("trd", "gigs");
    let event_id = Some(sample.id.clone());
    let refused = Fault { event_id: event_id.clone(), status: Some(422), times: Some(1), ..Fault::default() };
    let refused = Fault { body: Some(r#"{"detail":"no"}"#.into()), ..refused };
    world.svix.sandbox.add_fault(Fault { event_id, status: Some(503), times: Some(1), ..Fault::default() });
    world.svix.sandbox.add_fault(refused);
    publish(&world, &sample, parent(2)).await;
    let attempts = collector.attempts(&sample.id, 2).await;
    let facts = |span: &Spanned| {
        let call = collector.children(span).remove(0);
        let status = call.says("http.response.status_code").to_owned();
        (
            span.says("hookbro.outcome").to_owned(),
            span.says("error.type").to_owned(),
            status,
            span.failed && call.failed,
        )
    };
    assert_eq!(facts(&attempts[0]), ("retried".into(), "retried".into(), "503".into(), true));
    assert_eq!(facts(&attempts[1]), ("dead".into(), "refused".into(), "422".into(), true));
    for (attempt, queue) in attempts.iter().zip(["", ".retry.1"]) {
        assert_eq!((&attempt.trace, attempt.parent.as_str()), (&trace(2), PARENT));
        assert_eq!(attempt.says("hookbro.queue"), format!("{}{queue}", world.broker.queue));
    }
    until("it is dead", SOON, async || (world.broker.ready_dead().await == 1).then_some(())).await;
    let replay = command(&["dead", "replay", "--all", "--yes"], world.settings()).output().unwrap();
    assert!(replay.status.success(), "{}", String::from_utf8_lossy(&replay.stderr));
    let replayed = collector.attempts(&sample.id, 3).await;
    let replayed = replayed.iter().find(|span| span.says("hookbro.outcome") == "delivered").unwrap();
    assert_ne!(replayed.trace, trace(2));
    assert_eq!((replayed.parent.as_str(), replayed.links.as_slice()), ("", [trace(2)].as_slice()));

    world.broker.publish(&sample.routing_key(), parented(3), b"no event").await;
    let dead = world.given_up().await;
    assert_eq!(dead.header("traceparent"), Some(format!("00-{}-{PARENT}-01", trace(3))));
    hookbro.stop().await;
    world.end().await;
}

fn parented(n: u8) -> BasicProperties {
    BasicProperties::default().with_headers(FieldTable::from(BTreeMap::from([("traceparent".into(), parent(n))])))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_deferred_through_a_halt_is_one_span_with_every_call_in_it() {
    let (world, collector) = traced("tracepause", Manner::Takes).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let warm = one("trp-warm", "gigs");
    world.publish_one(&warm).await;
    world.arrive(std::slice::from_ref(&warm)).await;
    let sample = one("trp", "gigs");
    world.svix.sandbox.add_fault(Fault { status: Some(429), times: Some(1), ..Fault::default() });
    publish(&world, &sample, parent(4)).await;
    let [span] = collector.attempts(&sample.id, 1).await.try_into().unwrap();
    assert_eq!((span.says("hookbro.outcome"), &span.trace), ("delivered", &trace(4)));
    let statuses: Vec<_> =
        collector.children(&span).iter().map(|call| call.says("http.response.status_code").to_owned()).collect();
    assert_eq!(statuses, ["429", "202"]);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_sent_yet_is_sent_at_the_end_with_the_headers_of_the_operator() {
    let (world, collector) = traced("traceend", Manner::Takes).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("headers");
    std::fs::write(&file, "authorization=Bearer planted-key\nx-tenant=one\n").unwrap();
    let world = world.with("tracing.headers_file", file.to_str().unwrap()).with("log.level", "trace");
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated("trend", &["gigs"], 700);
    world.publish(&samples).await;
    world.arrive(&samples).await;
    let log = hookbro.whole_log();
    hookbro.stop().await;
    for span in ["process", "POST"] {
        let count = collector.spans().iter().filter(|each| each.name.starts_with(span)).count();
        assert!(count >= samples.len(), "{count} spans {span}");
    }
    for headers in collector.headers() {
        assert_eq!(headers["authorization"], "Bearer planted-key");
        assert_eq!(headers["x-tenant"], "one");
        assert_eq!(headers["content-type"], "application/x-protobuf");
    }
    assert!(!log.contains("planted-key"), "the key is in the log");
    world.end().await;
}

/// Delivers through a collector that is of no use, and answers how long the end took.
async fn delivers_all_the_same(test: &str, world: World, loss: &str) -> std::time::Duration {
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated(test, &["gigs", "dev"], 300);
    world.publish(&samples).await;
    world.arrive(&samples).await;
    ledger::check(&world.svix, &samples);
    let series = format!("hookbro_spans_dropped_total{{reason=\"{loss}\"}}");
    counted(&hookbro, &series, 1.0).await;
    assert_eq!(hookbro.logged("spans were dropped").len(), 1, "said once");
    let series = "hookbro_events_settled_total{outcome=\"delivered\"}";
    counted(&hookbro, series, samples.len() as f64).await;
    let asked = Instant::now();
    hookbro.stop().await;
    world.end().await;
    asked.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_or_refuses_costs_a_count_and_one_warning() {
    let nowhere = World::new("traceaway").await.with("tracing.otlp_endpoint", "http://127.0.0.1:1");
    delivers_all_the_same("traway", nowhere, "not_sent").await;
    let (world, _collector) = traced("tracebusy", Manner::Answers(503)).await;
    delivers_all_the_same("trbusy", world, "not_sent").await;
    let (world, _collector) = traced("tracepart", Manner::Rejects).await;
    delivers_all_the_same("trpart", world, "rejected").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_holds_up_neither_events_nor_the_end() {
    let (world, _collector) = traced("tracedeaf", Manner::Answers(503)).await;
    let answered = delivers_all_the_same("trdeaf", world, "not_sent").await;
    let (world, _collector) = traced("tracehang", Manner::Hangs).await;
    let took = delivers_all_the_same("trhang", world.with("shutdown.grace", "6s"), "not_sent").await;
    // The grace, and what the end takes on this machine where nothing hangs.
    assert!(took.as_secs() < 9 + 3 * answered.as_secs(), "the end took {took:?}, and {answered:?} without the hanging");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tracing_is_off_svix_hears_of_no_trace() {
    let world = World::new("traceoff").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let sample = one("troff", "gigs");
    publish(&world, &sample, parent(5)).await;
    world.arrive(std::slice::from_ref(&sample)).await;
    assert!(world.svix.calls().iter().all(|call| call.traceparent.is_none()));
    hookbro.stop().await;
    assert_eq!(world.svix.calls_for(&sample.id).len(), 2);
    world.end().await;
}
