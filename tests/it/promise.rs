//! What `POST /notifications` promises is in hookbro's own queues, though another team's queue on the exchange takes
//! everything, which is all that the broker's confirm says.

use crate::{
    ingest::{Publisher, free_address},
    support::{
        SOON,
        broker::Broker,
        events::{generated, one},
        hookbro::Hookbro,
        ledger,
        node::Node,
        svix::TestSvix,
        until,
        world::World,
    },
};
use lapin::{
    ExchangeKind,
    options::{ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};

/// Another team's queue, bound with `#`. It makes the exchange, if that is missing.
async fn foreign(broker: &Broker) -> String {
    let name = format!("{}.foreign", broker.exchange);
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let exchange = broker.exchange.as_str();
    channel.exchange_declare(exchange.into(), ExchangeKind::Topic, durable, FieldTable::default()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.as_str().into(), durable, FieldTable::default()).await.unwrap();
    let options = QueueBindOptions::default();
    channel
        .queue_bind(name.as_str().into(), exchange.into(), "#".into(), options, FieldTable::default())
        .await
        .unwrap();
    hookbro::sources::rabbitmq::close(connection).await;
    name
}

async fn end(world: World, foreign: &str) {
    world.broker.delete(foreign).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_first_moment_of_a_start_every_202_arrives() {
    let address = free_address().await;
    let world = World::new("promisestart").await.with("ingest.listen", &address);
    let foreign = foreign(&world.broker).await;
    let events = generated("promisestart", &["gigs", "dev"], 200);
    let publisher = Publisher::to(&address);
    let (hookbro, ()) = tokio::join!(Hookbro::start(world.settings()), publisher.insist_on_all(&events));
    world.arrive(&events).await;
    hookbro.stop().await;
    ledger::check(&world.svix, &events);
    end(world, &foreign).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_work_queue_or_the_exchange_was_deleted_every_202_arrives() {
    let address = free_address().await;
    let world = World::new("promisegone").await.with("ingest.listen", &address);
    let other = foreign(&world.broker).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let publisher = Publisher::to(&address);
    let mut sent = Vec::new();
    for round in 0..3 {
        let events = generated(&format!("promisegone{round}"), &["gigs"], 200);
        publisher.insist_on_all(&events).await;
        // Nothing lies in the queue, and nobody posts, when it goes.
        world.arrive(&events).await;
        sent.extend(events);
        world.broker.delete(&world.broker.queue).await;
    }
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    let exchange = world.broker.exchange.as_str();
    channel.exchange_delete(exchange.into(), ExchangeDeleteOptions::default()).await.unwrap();
    hookbro::sources::rabbitmq::close(connection).await;
    let events = generated("promisegonelast", &["gigs"], 200);
    publisher.insist_on_all(&events).await;
    world.arrive(&events).await;
    sent.extend(events);
    hookbro.stop().await;
    ledger::check(&world.svix, &sent);
    end(world, &other).await;
}

/// The replica that started last has other lanes, or none; what an older one binds again must not bring its own back.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_events_in_leaves_the_lanes_of_a_newer_one_alone() {
    for (tag, older, newer) in
        [("none", None, Some("acme.#")), ("some", Some("acme.#"), None), ("other", Some("acme.#"), Some("gigs.#"))]
    {
        let address = free_address().await;
        let mut world = World::new(&format!("promiselanes{tag}")).await.with("ingest.listen", &address);
        let other = foreign(&world.broker).await;
        let lanes = |world: World, keys: Option<&str>| match keys {
            Some(keys) => world.with("lanes.bulk.keys", keys),
            None => world.without("lanes.bulk.keys"),
        };
        world = lanes(world, older);
        let first = Hookbro::ready(world.settings()).await;
        world = lanes(world.with("ingest.listen", ""), newer);
        let second = Hookbro::ready(world.settings()).await;
        // Its publishing connection is made now.
        let publisher = Publisher::to(&address);
        let events = generated(&format!("promiselanes{tag}"), &["acme", "gigs"], 60);
        publisher.insist_on_all(&events).await;
        world.arrive(&events).await;
        until("all is settled", SOON, async || {
            let lying = world.broker.ready(&world.broker.queue).await.unwrap();
            let in_flight = async |one: &Hookbro| one.metric("hookbro_events_in_flight").await;
            (lying == 0 && in_flight(&first).await + in_flight(&second).await == 0.0).then_some(())
        })
        .await;
        let mut received = 0.0;
        for replica in [first, second] {
            received += replica.metric("hookbro_events_received_total{attempt=\"1\"}").await;
            replica.stop().await;
        }
        assert_eq!(received, 60.0, "{tag}: an event that comes by two ways comes twice");
        ledger::check(&world.svix, &events);
        world = lanes(world, Some("acme.#"));
        end(world, &other).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_and_users_without_rights_cost_no_202() {
    let node = Node::start().await;
    let address = free_address().await;
    let world = World::of(Broker::private(node.url.clone(), "promisecut"), TestSvix::start().await)
        .with("ingest.listen", &address);
    foreign(&world.broker).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let publisher = Publisher::to(&address);
    let events = generated("promisecut", &["gigs", "dev"], 2_000);
    let cutting = async {
        for promised in [300, 900, 1_500] {
            publisher.in_the_middle(promised).await;
            node.tool(&["rabbitmqctl", "close_all_connections", "cut"]).await;
        }
    };
    tokio::join!(publisher.insist_on_all(&events), cutting);
    world.arrive(&events).await;
    hookbro.stop().await;
    ledger::check(&world.svix, &events);

    // Who may bind what exists is taken at the word; who may not, or finds nothing to bind, learns why and promises nothing.
    let queue = &world.broker.queue;
    for (user, write, queue, says) in [
        ("binder", ".*", queue.clone(), None),
        ("stranger", r"^hbt.*\.events$", queue.clone(), Some("refused for user")),
        ("early", ".*", format!("{queue}.none"), Some("does not exist")),
    ] {
        node.tool(&["rabbitmqctl", "add_user", user, "secret"]).await;
        node.tool(&["rabbitmqctl", "set_permissions", user, "^$", write, ".*"]).await;
        let url = node.url.replace("guest:guest", &format!("{user}:secret"));
        let world = World::of(Broker::private(url, "unused"), TestSvix::start().await)
            .with("ingest.listen", &address)
            .with("broker.exchange", &world.broker.exchange)
            .with("broker.queue", &queue);
        let hookbro = Hookbro::start(world.settings()).await;
        let publisher = Publisher::to(&address);
        until("it listens", SOON, async || publisher.post("text/plain", "").await.ok().map(drop)).await;
        let answer = publisher.post("application/json", one(user, "gigs").body).await.unwrap();
        let (status, kind) = (answer.status().as_u16(), answer.headers()["content-type"].clone());
        let (again, problem) = (answer.headers().get("retry-after").cloned(), answer.text().await.unwrap());
        let Some(says) = says else {
            assert_eq!(status, 202, "{user}: {problem}");
            hookbro.stop().await;
            continue;
        };
        assert_eq!((status, &kind, again), (503, &"application/problem+json".parse().unwrap(), "5".parse().ok()));
        assert!(problem.contains(says) && !problem.contains("127.0.0.1"), "{user}: {problem}");
        hookbro.stop().await;
    }
    let lying = world.broker.drain(&world.broker.queue).await;
    assert_eq!(lying.len(), 1, "what was promised lies in the work queue");
    world.end().await;
}
