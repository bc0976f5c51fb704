//! Events by HTTP: what got its 202 arrives, whoever is killed meanwhile, and what cannot be promised is not.

use crate::support::{
    SOON,
    broker::Broker,
    events::{Sample, documented, generated, hostile, one},
    hookbro::Hookbro,
    ledger,
    node::Node,
    svix::TestSvix,
    until,
    world::World,
};
use futures_util::{StreamExt as _, stream};
use reqwest::StatusCode;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::net::TcpListener;

/// A publisher comes again for so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Requests of one publisher at once.
const AT_ONCE: usize = 32;
/// A quorum queue killed within a second of its declaration can vanish (RabbitMQ 3.10 and 4.0).
const SETTLE: Duration = Duration::from_secs(3);

/// An address that stays the same over restarts of hookbro.
pub async fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

pub struct Publisher {
    http: reqwest::Client,
    url: String,
    promised: AtomicUsize,
}

impl Publisher {
    pub fn to(address: &str) -> Self {
        let http = reqwest::Client::new();
        Self { http, url: format!("http://{address}/notifications"), promised: AtomicUsize::new(0) }
    }

    pub async fn post(&self, kind: &str, body: impl Into<reqwest::Body>) -> reqwest::Result<reqwest::Response> {
        self.http.post(&self.url).header("content-type", kind).body(body).send().await
    }

    /// Comes again until this event has its 202, as every publisher should.
    pub async fn insist(&self, sample: &Sample) {
        let started = std::time::Instant::now();
        loop {
            assert!(started.elapsed() < PATIENCE, "{} got no 202", sample.id);
            match self.post("application/json", sample.body.clone()).await {
                Ok(answer) if answer.status() == StatusCode::ACCEPTED => {
                    assert_eq!(ids(answer).await, [sample.id.as_str()]);
                    self.promised.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                Ok(answer) => {
                    assert!([429, 503].contains(&answer.status().as_u16()), "{}", answer.status());
                    assert!(answer.headers().contains_key("retry-after"));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                // No answer: the event may be there or not.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    pub async fn insist_on_all(&self, samples: &[Sample]) {
        stream::iter(samples).for_each_concurrent(AT_ONCE, |sample| self.insist(sample)).await;
    }

    pub async fn in_the_middle(&self, promised: usize) {
        let enough = async || (self.promised.load(Ordering::Relaxed) >= promised).then_some(());
        until("the publisher is in the middle", SOON, enough).await;
    }
}

/// The ids that a 202 promises.
async fn ids(answer: reqwest::Response) -> Vec<String> {
    let mut body: BTreeMap<String, Vec<String>> = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(body.len(), 1);
    body.remove("ids").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_by_http_arrive_byte_for_byte_in_every_form() {
    let address = free_address().await;
    let world = World::new("ingest").await.with("ingest.listen", &address);
    let hookbro = Hookbro::ready(world.settings()).await;
    let publisher = Publisher::to(&address);
    let samples = documented("ingest");
    publisher.insist_on_all(&samples[..10]).await;
    let text = |sample: &Sample| String::from_utf8(sample.body.trim_ascii().to_vec()).unwrap();
    let array = format!("[{}]", samples[10..30].iter().map(text).collect::<Vec<_>>().join(",\n"));
    let lines = generated("ingestlines", &["gigs", "dev"], 20);
    let body = lines.iter().map(|sample| text(sample) + "\n").collect::<String>();
    for (kind, body, sent) in
        [("application/json", array, &samples[10..30]), ("application/x-ndjson", body, lines.as_slice())]
    {
        let answer = publisher.post(kind, body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let sent: Vec<_> = sent.iter().map(|sample| sample.id.as_str()).collect();
        assert_eq!(ids(answer).await, sent);
    }
    let sent = [&samples[..30], &lines].concat();
    world.arrive(&sent).await;
    assert_eq!(hookbro.metric("hookbro_ingest_events_total").await, 50.0);
    assert_eq!(hookbro.metric("hookbro_ingest_requests_total{status=\"202\"}").await, 12.0);
    hookbro.stop().await;
    ledger::check(&world.svix, &sent);
    world.end().await;
}

/// What the consumer would give up as malformed gets no 202, and what it delivers gets one.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_body_is_refused_at_the_door_by_the_consumers_own_rules() {
    let address = free_address().await;
    let world = World::new("ingesthostile").await.with("ingest.listen", &address);
    let hookbro = Hookbro::ready(world.settings()).await;
    let publisher = Publisher::to(&address);
    for hostile in hostile() {
        let ours = hookbro::event::Event::parse(hostile.body.clone().into(), 1_048_576);
        // An array is a batch here, and a malformed event on the broker.
        let batch = hostile.body.starts_with(b"[");
        let answer = publisher.post("application/json", hostile.body).await.unwrap();
        let (status, problem) = (answer.status(), answer.text().await.unwrap());
        match status.as_u16() {
            202 => assert!(ours.is_ok() || batch, "{}", hostile.name),
            400 | 413 | 422 => assert!(ours.is_err(), "{}: {problem}", hostile.name),
            other => panic!("{}: {other} {problem}", hostile.name),
        }
    }
    until("what was taken is settled", SOON, async || {
        let taken = hookbro.metric("hookbro_ingest_events_total").await;
        let delivered = hookbro.metric("hookbro_events_settled_total{outcome=\"delivered\"}").await;
        let repeated = hookbro.metric("hookbro_events_settled_total{outcome=\"duplicate\"}").await;
        // Some of these bodies have one id: of those, Svix has the first.
        let other = hookbro.metric("hookbro_events_dead_total{reason=\"conflict\"}").await;
        (taken > 0.0 && taken == delivered + repeated + other).then_some(())
    })
    .await;
    let dead: Vec<_> = world.broker.drain_dead().await.iter().map(|lying| lying.reason()).collect();
    assert!(dead.iter().all(|reason| reason == "conflict"), "{dead:?}");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_event_with_a_202_is_lost_whoever_is_killed() {
    let node = Node::start().await;
    let address = free_address().await;
    let world = World::of(Broker::private(node.url.clone(), "ingestkill"), TestSvix::start().await)
        .with("ingest.listen", &address)
        .with("retry.delays", "200ms,300ms,400ms");
    let mut hookbro = Hookbro::ready(world.settings()).await;
    tokio::time::sleep(SETTLE).await;
    let events = generated("ingestkill", &["gigs", "dev", "acme"], 3_000);
    let publisher = Publisher::to(&address);
    let killing = async {
        for promised in [400, 1_400] {
            publisher.in_the_middle(promised).await;
            hookbro.kill();
            hookbro = Hookbro::ready(world.settings()).await;
            publisher.in_the_middle(promised + 500).await;
            node.kill().await;
            node.restart().await;
        }
        hookbro
    };
    let ((), hookbro) = tokio::join!(publisher.insist_on_all(&events), killing);
    until("every promised event is at Svix", PATIENCE, async || {
        (ledger::missing(&world.svix, &events) == 0).then_some(())
    })
    .await;
    hookbro.stop().await;
    ledger::check(&world.svix, &events);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_the_requests_in_hand() {
    let address = free_address().await;
    let world = World::new("ingeststop").await.with("ingest.listen", &address);
    let hookbro = Hookbro::ready(world.settings()).await;
    // Far more than are published before the stop, on any machine; afterwards they are refused in no time.
    let events = generated("ingeststop", &["gigs"], 10_000);
    let publisher = Publisher::to(&address);
    let answered = stream::iter(&events)
        .map(async |sample| match publisher.post("application/json", sample.body.clone()).await {
            Ok(answer) => (answer.status() == StatusCode::ACCEPTED).then(|| sample.clone()),
            // Refused connections after the stop; a request that was read must be answered.
            Err(error) => {
                assert!(error.is_connect() || error.is_request(), "{error:?}");
                None
            }
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(async |sample| {
            publisher.promised.fetch_add(usize::from(sample.is_some()), Ordering::Relaxed);
            sample
        })
        .collect::<Vec<_>>();
    let stopping = async {
        publisher.in_the_middle(300).await;
        hookbro.stop().await;
    };
    let (promised, ()) = tokio::join!(answered, stopping);
    assert!((300..events.len()).contains(&promised.len()), "{} were promised", promised.len());
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&promised).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_queue_takes_is_no_promise() {
    let address = free_address().await;
    let world = World::new("ingestkey").await.with("ingest.listen", &address).with("broker.bindings", "gigs.#");
    let hookbro = Hookbro::ready(world.settings()).await;
    let publisher = Publisher::to(&address);
    let answer = publisher.post("application/json", one("ingestkey", "elsewhere").body).await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    let problem = answer.text().await.unwrap();
    assert!(problem.contains("elsewhere.com.gigs.sim.updated") && problem.contains("broker.bindings"), "{problem}");
    publisher.insist(&one("ingestkey2", "gigs")).await;
    hookbro.stop().await;
    world.end().await;
}

/// A broker that takes connections and never answers must cost neither the other address nor a socket a try.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_first_broker_is_left_for_the_next_one() {
    let frozen = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = format!("amqp://guest:guest@{}/%2f", frozen.local_addr().unwrap());
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = frozen.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            held.push(socket);
        }
    });
    let address = free_address().await;
    let world = World::new("ingestfrozen").await.with("ingest.listen", &address);
    let urls = format!("{first},{}", world.broker.url);
    let world = world.with("broker.url", &urls);
    let hookbro = Hookbro::ready(world.settings()).await;
    let publisher = Publisher::to(&address);
    let events = generated("ingestfrozen", &["gigs"], 40);
    publisher.insist_on_all(&events).await;
    world.arrive(&events).await;
    let connections = taken.load(Ordering::Relaxed);
    // Consuming, taking in, reading which projects are paused and which have parked events, and giving those back.
    assert!(
        connections <= 5,
        "{connections} connections to a broker that never answers: one for each that waits for it"
    );
    hookbro.stop().await;
    holding.abort();
    ledger::check(&world.svix, &events);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_rotate_through_their_file_and_the_trace_travels() {
    let address = free_address().await;
    let dir = tempfile::tempdir().unwrap();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "first\n").unwrap();
    let world = World::new("ingesttoken").await.with("ingest.listen", &address);
    let world = world.with("ingest.tokens_file", tokens.to_str().unwrap()).with("svix.token", "");
    let hookbro = Hookbro::ready(world.settings()).await;
    let publisher = Publisher::to(&address);
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sample = one("ingesttoken", "gigs");
    let post = async |token: &str| {
        let request = publisher.http.post(&publisher.url).bearer_auth(token).header("traceparent", parent);
        let request = request.header("content-type", "application/json").body(sample.body.clone());
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!((post("first").await, post("second").await), (202, 401));
    std::fs::write(&tokens, "second\n").unwrap();
    until("the second token is good", SOON, async || (post("second").await == 202).then_some(())).await;
    assert_eq!(post("first").await, 401);
    hookbro.stop().await;
    // Without a token for Svix everything waits on the broker.
    let lying = world.broker.drain(&world.broker.queue).await;
    assert!(lying.len() >= 2 && lying.iter().all(|m| m.header("traceparent").as_deref() == Some(parent)), "{lying:?}");
    assert_eq!(lying[0].properties.delivery_mode(), &Some(2));
    world.end().await;
}
