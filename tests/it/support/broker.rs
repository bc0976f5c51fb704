//! The broker as the tests see it: names of their own, confirmed publishing, and a look into queues.

use hookbro::{
    process::secret::Secret,
    sources::{
        rabbitmq as amqp,
        rabbitmq::{PublishError, Publisher},
    },
};
use lapin::{
    BasicProperties, Connection,
    options::{BasicAckOptions, BasicGetOptions, ExchangeDeleteOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// Names the broker that `make test` has found; the default is one on localhost.
const URL: &str = "HOOKBRO_TEST_AMQP_URL";
/// Publishing goes on through a broker's death for so long.
const PUBLISH_PATIENCE: Duration = Duration::from_secs(90);

/// A broker, and the names that one test uses on it.
pub struct Broker {
    pub url: String,
    pub exchange: String,
    pub queue: String,
    publisher: Publisher,
    /// For counting messages: a test that waits for a number asks many times a second.
    counting: tokio::sync::Mutex<Option<Connection>>,
    /// Every object is deleted at the end; a private node goes as a whole.
    shared: bool,
}

/// A message as it lies in a queue.
#[derive(Debug)]
pub struct Lying {
    pub body: Vec<u8>,
    pub routing_key: String,
    pub properties: BasicProperties,
}

impl Lying {
    pub fn header(&self, name: &str) -> Option<String> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
            AMQPValue::LongInt(number) => Some(number.to_string()),
            other => Some(format!("{other:?}")),
        }
    }

    pub fn with_header(mut self, name: &str, text: &str) -> Self {
        let mut headers = self.properties.headers().clone().unwrap_or_default();
        headers.insert(name.into(), AMQPValue::LongString(text.into()));
        self.properties = self.properties.with_headers(headers);
        self
    }

    pub fn reason(&self) -> String {
        self.header("x-hookbro-reason").unwrap_or_default()
    }
}

impl Broker {
    /// The shared broker under fresh names.
    pub fn shared(test: &str) -> Self {
        let url = std::env::var(URL).unwrap_or_else(|_| "amqp://guest:guest@127.0.0.1:5672/%2f".into());
        Self::at(url, test, true)
    }

    /// A node that belongs to one test.
    pub fn private(url: String, test: &str) -> Self {
        Self::at(url, test, false)
    }

    fn at(url: String, test: &str, shared: bool) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // No rustls provider is installed by the library; once per process is enough, so a second try may fail.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let name = format!("hbt.{}.{}.{test}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let publisher = Publisher::new(Secret::fixed(&url), "hookbro test");
        Self {
            url,
            exchange: format!("{name}.events"),
            queue: format!("{name}.q"),
            publisher,
            counting: Default::default(),
            shared,
        }
    }

    pub async fn connect(&self) -> Connection {
        amqp::Connector::new(Secret::fixed(&self.url)).connect("hookbro test").await.unwrap()
    }

    /// Publishes to the topic exchange until the broker confirms.
    pub async fn publish(&self, routing_key: &str, properties: BasicProperties, body: &[u8]) {
        let started = std::time::Instant::now();
        loop {
            match self.publisher.publish(&self.exchange, routing_key, properties.clone(), body).await {
                Ok(()) => return,
                Err(error @ PublishError::Unroutable { .. }) => panic!("{error}"),
                Err(error) if started.elapsed() > PUBLISH_PATIENCE => panic!("{error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Puts a message right into a queue, past every exchange of ours.
    pub async fn put(&self, queue: &str, body: &[u8]) {
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        self.publisher.publish("", queue, properties, body).await.unwrap();
    }

    /// Publishes a message to an exchange as it was in a queue.
    pub async fn put_back(&self, exchange: &str, lying: &Lying) {
        let properties = lying.properties.clone();
        self.publisher.publish(exchange, &lying.routing_key, properties, &lying.body).await.unwrap();
    }

    /// Takes every message out of a queue.
    #[expect(clippy::disallowed_methods, reason = "a test empties a queue to see what was in it")]
    pub async fn drain(&self, queue: &str) -> Vec<Lying> {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.unwrap();
        let mut lying = Vec::new();
        while let Some(got) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
            channel.basic_ack(got.delivery.delivery_tag, BasicAckOptions::default()).await.unwrap();
            let delivery = got.delivery;
            let routing_key = delivery.routing_key.to_string();
            lying.push(Lying { body: delivery.data, routing_key, properties: delivery.properties });
        }
        amqp::close(connection).await;
        lying
    }

    pub async fn drain_dead(&self) -> Vec<Lying> {
        self.drain(&format!("{}.dead", self.queue)).await
    }

    /// Messages ready in a queue; `None` if it does not exist.
    pub async fn ready(&self, queue: &str) -> Option<u32> {
        let mut counting = self.counting.lock().await;
        // The test may have ended the broker since, or cut the connection.
        if let Some(connection) = &*counting
            && let Ok(counted) = count(connection, queue).await
        {
            return counted;
        }
        count(counting.insert(self.connect().await), queue).await.ok().flatten()
    }

    /// Deletes a queue, which ends the sessions that consume it.
    pub async fn delete(&self, queue: &str) {
        let connection = self.connect().await;
        let channel = connection.create_channel().await.unwrap();
        channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await.unwrap();
        amqp::close(connection).await;
    }

    pub async fn ready_dead(&self) -> u32 {
        self.ready(&format!("{}.dead", self.queue)).await.unwrap_or(0)
    }

    /// Deletes what the test has made. Rungs beyond those of this test do not exist, which is no error to a broker.
    pub async fn clean(&self) {
        self.publisher.close().await;
        if let Some(connection) = self.counting.lock().await.take() {
            amqp::close(connection).await;
        }
        if !self.shared {
            return;
        }
        let connection = self.connect().await;
        let channel = connection.create_channel().await.unwrap();
        let stems = [String::new(), ".lane.bulk".into(), ".lane.slow".into(), ".lane.none".into()];
        let ladder = |stem: String| {
            let rungs = (1..=6).flat_map(|n| [format!(".delay.{n}"), format!(".retry.{n}")]).chain([String::new()]);
            rungs.map(|rung| format!("{}{stem}{rung}", self.queue)).collect::<Vec<_>>()
        };
        let others = [".dead", ".dead.copies", ".dead.moved", ".parked", ".parked.~others", ".lanes", ".pauses"];
        let others = others.map(|name| format!("{}{name}", self.queue));
        let index = format!("{}.parked", self.queue);
        let mut lots = Vec::new();
        while let Ok(Some(entry)) = channel.basic_get(index.as_str().into(), BasicGetOptions { no_ack: true }).await {
            lots.push(format!("{index}.{}", String::from_utf8_lossy(&entry.data)));
        }
        let channel = connection.create_channel().await.unwrap();
        for name in stems.into_iter().flat_map(ladder).chain(others).chain(lots) {
            channel.queue_delete(name.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
            channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
        }
        channel.exchange_delete(self.exchange.as_str().into(), ExchangeDeleteOptions::default()).await.unwrap();
        amqp::close(connection).await;
    }
}

/// Messages ready in a queue; `None` if it does not exist.
async fn count(connection: &Connection, queue: &str) -> lapin::Result<Option<u32>> {
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let counted = match channel.queue_declare(queue.into(), passive, FieldTable::default()).await {
        Ok(declared) => declared.message_count(),
        Err(error) if error.to_string().contains("NOT_FOUND") => return Ok(None),
        Err(error) => return Err(error),
    };
    channel.close(200, "counted".into()).await?;
    Ok(Some(counted))
}
