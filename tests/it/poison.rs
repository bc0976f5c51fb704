//! Poison in the frame: properties that lapin's parser cannot take cost their own event at most, and an operator can see it.

use crate::support::{
    SOON,
    events::{Sample, documented, one},
    hookbro::{Hookbro, command},
    ledger,
    raw_amqp::{RawProperties, RawPublisher, counted, nested_arrays, nested_tables, short},
    tls::{Authority, Front},
    until,
    world::World,
};
use lapin::options::BasicGetOptions;
use serde_json::Value;
use svix_sandbox::Fault;
use url::Url;

/// 30 KB of header, and far more than a stack takes.
const DEEP: usize = 6_000;
/// The deepest that is taken: with the table of headers itself, a hundred.
const DEEPEST: usize = 99;

/// What `hookbro dead …` prints.
#[track_caller]
fn dead(world: &World, args: &[&str]) -> String {
    let output = command(&[&["dead"], args].concat(), world.settings()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn listed(world: &World) -> Vec<Value> {
    serde_json::from_str(&dead(world, &["list", "--limit", "0", "--output", "json"])).unwrap()
}

/// Discards what `selected` names, and answers what was written down of it.
#[track_caller]
fn discarded(world: &World, selected: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("discarded.ndjson");
    dead(world, &[&["discard"], selected, &["--yes", "--to", file.to_str().unwrap()]].concat());
    std::fs::read_to_string(file).unwrap()
}

async fn dead_letters(world: &World, count: u32) {
    until("it is given up", SOON, async || (world.broker.ready_dead().await == count).then_some(())).await;
}

/// Publishes to the events' exchange.
fn publish(world: &World, publisher: &mut RawPublisher, properties: &RawProperties, sample: &Sample) {
    publisher.publish(&world.broker.exchange, sample.routing_key().as_bytes(), properties, &sample.body).unwrap();
}

/// Nothing but its own event was hurt by poison.
async fn is_well(hookbro: &Hookbro) {
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    assert_eq!(hookbro.status_of("/readyz").await, 200);
    assert!(hookbro.logged("panicked").is_empty());
}

/// The same at the end of a test.
async fn ends_well(hookbro: Hookbro, world: World) {
    is_well(&hookbro).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_headers_cost_their_own_event_alone_and_it_is_replayed_and_discarded_like_any_other() {
    let world = World::new("nested").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let (good, poison) = (documented("nested"), one("poison", "gigs"));
    let mut raw = RawPublisher::connect(&world.broker.url);
    let headers = nested_arrays(DEEP);
    assert!(headers.len() > 30_000);
    for (n, sample) in good.iter().enumerate() {
        if n == 10 {
            publish(&world, &mut raw, &RawProperties::new(Some(&headers), None), &poison);
        }
        world.publish_one(sample).await;
    }
    world.arrive(&good).await;
    ledger::check(&world.svix, &good);
    dead_letters(&world, 1).await;
    is_well(&hookbro).await;

    let letters = listed(&world);
    assert_eq!((letters.len(), letters[0]["id"].as_str()), (1, Some("evt_poison_0")), "{letters:?}");
    assert_eq!(letters[0]["reason"], "malformed");
    let detail = letters[0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("unreadable_properties: the message's headers cannot be read"), "{detail}");
    let shown = dead(&world, &["show", "evt_poison_0", "--body"]);
    assert!(shown.contains("com.gigs.sim.updated") && shown.contains("x-hookbro-reason"), "{shown}");
    assert!(!shown.contains("x-hookbro-unreadable"), "the detail says it: {shown}");

    // Its body is whole: replayed, it is delivered without the header.
    assert_eq!(dead(&world, &["replay", "--id", "evt_poison_0", "--yes"]), "replayed 1 events\n");
    world.arrive(std::slice::from_ref(&poison)).await;
    ledger::check(&world.svix, &[good, vec![poison]].concat());

    let deepest = [one("arrays", "gigs"), one("tables", "gigs")];
    publish(&world, &mut raw, &RawProperties::new(Some(&nested_arrays(DEEPEST)), None), &deepest[0]);
    publish(&world, &mut raw, &RawProperties::new(Some(&nested_tables(DEEPEST)), None), &deepest[1]);
    world.arrive(&deepest).await;
    let deeper = one("deeper", "gigs");
    publish(&world, &mut raw, &RawProperties::new(Some(&nested_arrays(DEEPEST + 1)), None), &deeper);
    dead_letters(&world, 1).await;
    assert!(discarded(&world, &["--id", "evt_deeper_0"]).contains("evt_deeper_0"));
    assert_eq!(world.broker.ready_dead().await, 0);
    ends_well(hookbro, world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn properties_that_are_not_utf8_are_no_reason_not_to_deliver() {
    let world = World::new("latin1").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let mut raw = RawPublisher::connect(&world.broker.url);
    let good = documented("latin1");
    let latin1: Vec<Sample> = (0..8).map(|n| one(&format!("latin{n}"), "gigs")).collect();
    // correlation_id, reply_to, message_id, type, app_id, cluster_id; the broker itself reads expiration and user_id.
    for (bit, sample) in [10, 9, 7, 5, 3, 2].into_iter().zip(&latin1) {
        let mut properties = RawProperties::new(None, None);
        properties.short(bit, Some(b"caf\xe9"));
        publish(&world, &mut raw, &properties, sample);
    }
    let inner = counted(&[short(b"\xff"), vec![b'V']].concat());
    let names = counted(&[short(b"caf\xe9"), vec![b'F'], inner].concat());
    publish(&world, &mut raw, &RawProperties::new(Some(&names), None), &latin1[6]);
    raw.publish(&world.broker.exchange, b"caf\xe9.key", &RawProperties::default(), &latin1[7].body).unwrap();
    world.publish(&good).await;
    world.arrive(&latin1).await;
    world.arrive(&good).await;
    ledger::check(&world.svix, &[good, latin1].concat());
    assert_eq!(hookbro.metric("hookbro_events_odd_total{oddity=\"properties\"}").await, 8.0);
    let said: Vec<_> =
        hookbro.logged("could not be read").iter().map(|line| line["fields"]["properties"].clone()).collect();
    let names =
        ["correlation_id", "reply_to", "message_id", "type", "app_id", "cluster_id", "header_names", "routing_key"];
    assert_eq!(said, names);

    // How a body is encoded has to be known.
    let encoded = one("encoded", "gigs");
    let mut properties = RawProperties::default();
    properties.short(14, Some(b"gz\xefp"));
    publish(&world, &mut raw, &properties, &encoded);
    let lying = world.given_up().await;
    assert_eq!((lying.reason().as_str(), &lying.body[..]), ("malformed", &encoded.body[..]));
    assert!(lying.header("x-hookbro-detail").unwrap().contains("the message's content_encoding"));
    assert_eq!(lying.header("x-hookbro-event-id").as_deref(), Some("evt_encoded_0"));
    ends_well(hookbro, world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_that_an_older_version_left_in_the_dead_letter_queue_is_read_replayed_and_discarded() {
    let world = World::new("left").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let queue = format!("{}.dead", world.broker.queue);
    let mut raw = RawPublisher::connect(&world.broker.url);
    let left: Vec<Sample> = ["left0", "left1", "left2", "left3"].map(|tag| one(tag, "gigs")).to_vec();
    let deep = nested_arrays(DEEP);
    for (n, sample) in left.iter().enumerate() {
        let properties = match n % 2 {
            0 => RawProperties::new(Some(&deep), None),
            _ => RawProperties::new(None, Some(b"caf\xe9")),
        };
        raw.publish("", queue.as_bytes(), &properties, &sample.body).unwrap();
    }
    let letters = listed(&world);
    let said: Vec<_> = letters.iter().map(|letter| (letter["id"].as_str(), letter["reason"].as_str())).collect();
    let (moved, unread) = (Some("exhausted"), Some("malformed"));
    let expected =
        left.iter().enumerate().map(|(n, sample)| (Some(&*sample.id), if n % 2 == 0 { unread } else { moved }));
    assert_eq!(said, expected.collect::<Vec<_>>());
    assert!(letters[1]["detail"].as_str().unwrap().contains("message_id"), "{letters:?}");
    let shown = dead(&world, &["show", "evt_left1_0"]);
    assert!(shown.contains("caf?"), "{shown}");
    dead(&world, &["replay", "--id", "evt_left0_0", "--id", "evt_left1_0", "--yes"]);
    world.arrive(&left[..2]).await;
    assert_eq!(discarded(&world, &["--all"]).lines().count(), 2);
    assert_eq!(world.broker.ready_dead().await, 0);
    ends_well(hookbro, world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_comes_through_tls_and_back_from_the_ladder_no_better() {
    let authority = Authority::new();
    let world = World::new("sealed").await;
    let mut url = Url::parse(&world.broker.url).unwrap();
    let behind = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5672));
    let behind = tokio::net::lookup_host(behind).await.unwrap().next().unwrap();
    let front = Front::start(&authority.certificate("broker", &["localhost"]), behind).await;
    url.set_scheme("amqps").and_then(|()| url.set_port(Some(front.address.port()))).unwrap();
    url.set_host(Some("localhost")).unwrap();
    let world = world.with("broker.url", url.as_str()).with("broker.tls_ca", &authority.pem());
    world.svix.sandbox.add_fault(Fault {
        app: Some("gigs".into()),
        status: Some(503),
        times: Some(2),
        ..Fault::default()
    });
    let hookbro = Hookbro::ready(world.settings()).await;
    let mut raw = RawPublisher::connect(&world.broker.url);
    let (odd, poison) = (one("odd", "gigs"), one("sealed", "gigs"));
    // The broker itself moves it from rung to rung, as it was published.
    let properties = RawProperties::new(None, Some(b"caf\xe9"));
    raw.publish(&world.broker.exchange, b"caf\xe9.key", &properties, &odd.body).unwrap();
    publish(&world, &mut raw, &RawProperties::new(Some(&nested_tables(DEEP)), None), &poison);
    world.arrive(&[odd]).await;
    let said = hookbro.logged("could not be read");
    assert_eq!(said.len(), 3, "an attempt each: {said:?}");
    assert!(said.iter().all(|line| line["fields"]["properties"] == "message_id,routing_key"), "{said:?}");
    let lying = world.given_up().await;
    assert_eq!((lying.reason().as_str(), &lying.body[..]), ("malformed", &poison.body[..]));
    ends_well(hookbro, world).await;
}

/// RabbitMQ adds headers to a message, such as the count of its deliveries, and sends them in one frame, however large.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_the_broker_has_made_larger_than_a_frame_are_left_out() {
    let world = World::new("grown").await;
    Hookbro::ready(world.settings()).await.stop().await;
    let grown = one("grown", "gigs");
    let mut raw = RawPublisher::connect(&world.broker.url);
    // Head, class, weight, size, flags and the other properties: the rest of a frame of 128 KiB.
    let rest = 128 * 1024 - 8 - 14 - 17 - 1 - 4;
    let table = counted(&[short(b"x"), vec![b'S'], counted(&vec![b'y'; rest - 7])].concat());
    publish(&world, &mut raw, &RawProperties::new(Some(&table), None), &grown);
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    let queue = world.broker.queue.as_str();
    let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap().unwrap();
    assert!(!got.delivery.redelivered, "and so without a count");
    hookbro::sources::rabbitmq::close(connection).await;

    let hookbro = Hookbro::ready(world.settings()).await;
    let lying = world.given_up().await;
    assert_eq!((lying.reason().as_str(), &lying.body[..]), ("malformed", &grown.body[..]));
    assert!(lying.header("x-hookbro-detail").unwrap().contains("the message's headers"), "{:?}", lying.properties);
    ends_well(hookbro, world).await;
}
