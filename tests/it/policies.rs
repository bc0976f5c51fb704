//! Broker policies against queue arguments: a length limit refuses and drops nothing, and what breaks a guarantee is named.

use crate::support::{
    SOON,
    broker::Broker,
    hookbro::{Hookbro, command},
    node::Node,
    svix::TestSvix,
    until,
    world::World,
};
use hookbro::sources::rabbitmq as amqp;
use lapin::{
    BasicProperties, ExchangeKind,
    options::{BasicPublishOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use std::{collections::BTreeSet, time::Duration};

/// Dead events of one test.
const DEAD: usize = 600;
/// What the policy lets the dead-letter queue hold.
const LIMIT: u32 = 100;
/// Longest wait for what is asked every 5 seconds to be seen.
const SEEN: Duration = Duration::from_secs(60);

async fn limit(node: &Node, world: &World, definition: &str) {
    let pattern = format!("^{}", world.broker.queue.replace('.', r"\."));
    let pattern = format!("{pattern}\\.dead$");
    node.tool(&["rabbitmqctl", "set_policy", "cap", &pattern, definition, "--apply-to", "queues"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_limit_on_the_dead_queue_drops_none_of_six_hundred_dead_letters_and_is_named() {
    let node = Node::with("rabbitmq_management").await;
    let world = World::of(Broker::private(node.url.clone(), "policy"), TestSvix::start().await)
        .with("broker.management_url", &node.management());
    assert!(command(&["topology", "declare"], world.settings()).output().unwrap().status.success());
    let checked = command(&["check"], world.settings()).output().unwrap();
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && said.contains("no policy breaks a guarantee on the 7 queues"), "{said}");
    limit(&node, &world, &format!("{{\"max-length\":{LIMIT}}}")).await;
    let page = until("check names the policy", SEEN, async || {
        let checked = command(&["check"], world.settings()).output().unwrap();
        (checked.status.code() == Some(4)).then(|| String::from_utf8_lossy(&checked.stdout).into_owned())
    })
    .await;
    let dead = format!("{}.dead", world.broker.queue);
    let named = format!("policy `cap` sets max-length = {LIMIT} on queue `{dead}`");
    assert!(page.contains(&named) && page.contains("rabbitmqctl clear_policy -p '/' 'cap'"), "{page}");

    let hookbro = Hookbro::ready(world.settings()).await;
    let conflicts = async || hookbro.metric("hookbro_broker_policy_conflicts").await == 1.0;
    until("the start names it", SEEN, async || conflicts().await.then_some(())).await;
    assert!(!hookbro.logged(&named).is_empty());
    for n in 0..DEAD {
        world.broker.publish("some.key", BasicProperties::default(), format!("{{\"x\":{n}}}").as_bytes()).await;
    }
    let failed = format!("hookbro_copies_failed_total{{queue=\"{dead}\"}}");
    until("the limit is reached", SEEN, async || (hookbro.metric(&failed).await > 0.0).then_some(())).await;
    assert!(!hookbro.logged("could not be published").is_empty());
    hookbro.stop().await;
    // Without the program nothing is unsettled; each is in the dead-letter queue or where it was.
    let mut found = BTreeSet::new();
    let kept = world.broker.drain_dead().await;
    assert!(kept.len() >= LIMIT as usize && kept.len() < DEAD, "{} are kept", kept.len());
    found.extend(kept.into_iter().map(|lying| lying.body));
    for queue in ["", ".retry.1", ".retry.2", ".delay.1", ".delay.2"] {
        let rest = world.broker.drain(&format!("{}{queue}", world.broker.queue)).await;
        found.extend(rest.into_iter().map(|lying| lying.body));
    }
    let expected: BTreeSet<_> = (0..DEAD).map(|n| format!("{{\"x\":{n}}}").into_bytes()).collect();
    assert_eq!(expected.difference(&found).count(), 0, "of {DEAD} only {} are found", found.len());

    // What a policy that wins over our argument drops is noticed without the API too.
    let world = world.without("broker.management_url");
    node.tool(&["rabbitmqctl", "clear_policy", "cap"]).await;
    let hookbro = Hookbro::ready(world.settings()).await;
    for n in 0..20 {
        world.broker.publish("some.key", BasicProperties::default(), format!("{{\"y\":{n}}}").as_bytes()).await;
    }
    let series = format!("hookbro_queue_messages{{queue=\"{dead}\"}}");
    until("twenty are counted", SEEN, async || (hookbro.metric(&series).await == 20.0).then_some(())).await;
    limit(&node, &world, "{\"max-length\":5,\"overflow\":\"drop-head\"}").await;
    // A quorum queue obeys at its next message.
    world.broker.publish("some.key", BasicProperties::default(), b"{\"z\":1}").await;
    let vanished = async || hookbro.metric("hookbro_dead_letters_vanished_total").await;
    until("it is noticed", SEEN, async || (vanished().await > 0.0).then_some(())).await;
    assert!(!hookbro.logged("without a replay or discard of this process").is_empty());
    hookbro.stop().await;
    world.end().await;
}

/// The dead-letter queue of an earlier version, with something in it.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_an_earlier_version_move_to_a_queue_that_refuses() {
    let world = World::new("olddead").await;
    let dead = format!("{}.dead", world.broker.queue);
    let connection = world.broker.connect().await;
    let channel = connection.create_channel().await.unwrap();
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let name = || dead.as_str().into();
    channel.exchange_declare(name(), ExchangeKind::Fanout, durable, FieldTable::default()).await.unwrap();
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(1_000_000));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name(), durable, arguments).await.unwrap();
    channel.queue_bind(name(), name(), "".into(), QueueBindOptions::default(), FieldTable::default()).await.unwrap();
    for n in 0..50 {
        let mut headers = FieldTable::default();
        headers.insert("x-hookbro-reason".into(), AMQPValue::LongString("refused".into()));
        let properties = BasicProperties::default().with_delivery_mode(2).with_headers(headers);
        let body = n.to_string();
        let options = BasicPublishOptions::default();
        channel.basic_publish(name(), "some.key".into(), options, body.as_bytes(), properties).await.unwrap();
    }
    until("all lie there", SOON, async || (world.broker.ready_dead().await == 50).then_some(())).await;
    let refused = command(&["run"], world.settings()).output().unwrap();
    assert_eq!(refused.status.code(), Some(4));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("hookbro topology migrate") && said.contains(&dead), "{said}");

    // Somebody reads it: what is unsettled would go with the queue.
    channel.basic_qos(50, lapin::options::BasicQosOptions::default()).await.unwrap();
    let options = lapin::options::BasicConsumeOptions::default();
    let reading = channel.basic_consume(name(), "reading".into(), options, FieldTable::default()).await.unwrap();
    let migrate = || command(&["topology", "migrate", "--yes"], world.settings()).output().unwrap();
    let refused = migrate();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(4) && said.contains("has 1 consumers"), "{said}");
    drop(reading);
    amqp::close(connection).await;
    until("all are back", SOON, async || (world.broker.ready_dead().await == 50).then_some(())).await;
    let done = migrate();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains(&format!("migrated `{dead}` with 50 messages")), "{said}");
    let hookbro = Hookbro::ready(world.settings()).await;
    hookbro.stop().await;
    let lying = world.broker.drain_dead().await;
    let bodies: Vec<_> = lying.iter().map(|one| String::from_utf8_lossy(&one.body).into_owned()).collect();
    assert_eq!(bodies, (0..50).map(|n| n.to_string()).collect::<Vec<_>>(), "each once, in their order");
    assert!(lying.iter().all(|one| one.reason() == "refused"));
    world.end().await;
}
