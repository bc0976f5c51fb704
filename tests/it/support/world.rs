//! A broker, a Svix and the settings that bring hookbro to both.

use super::{
    SOON,
    broker::{Broker, Lying},
    events::Sample,
    ledger,
    svix::{TOKEN, TestSvix},
    until,
};
use futures_util::{StreamExt as _, stream};
use lapin::BasicProperties;
use svix_sandbox::Fault;

/// Publishes that wait for their confirm at once.
const WINDOW: usize = 128;

pub struct World {
    pub broker: Broker,
    pub svix: TestSvix,
    settings: Vec<(String, String)>,
    /// For what its programs write.
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn new(test: &str) -> Self {
        Self::of(Broker::shared(test), TestSvix::start().await)
    }

    pub fn of(broker: Broker, svix: TestSvix) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = [
            ("broker.url", broker.url.clone()),
            ("broker.exchange", broker.exchange.clone()),
            ("broker.queue", broker.queue.clone()),
            ("retry.delays", "300ms,400ms".into()),
            ("svix.url", svix.url()),
            ("svix.token", TOKEN.into()),
            ("admin.listen", "127.0.0.1:0".into()),
            ("journal.url", format!("sqlite:{}", folder.path().join("journal").join("j.sqlite3").display())),
            ("log.format", "json".into()),
            ("log.level", "info,hookbro=debug".into()),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value)).to_vec();
        Self { broker, svix, settings, _folder: folder }
    }

    /// With one setting more, or another value of it.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self = self.without(key);
        self.settings.push((key.into(), value.into()));
        self
    }

    pub fn without(mut self, key: &str) -> Self {
        self.settings.retain(|(k, _)| k != key);
        self
    }

    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Svix has an application of this name from now on.
    pub async fn application(&self, uid: &str) {
        let body = format!(r#"{{"name":"{uid}","uid":"{uid}"}}"#);
        let request = reqwest::Client::new().post(format!("{}/api/v1/app", self.svix.url()));
        let answer = request.bearer_auth(TOKEN).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }

    pub async fn publish(&self, samples: &[Sample]) {
        stream::iter(samples).for_each_concurrent(WINDOW, |sample| self.publish_one(sample)).await;
    }

    pub async fn publish_one(&self, sample: &Sample) {
        let properties = BasicProperties::default().with_delivery_mode(2).with_content_type("application/json".into());
        self.broker.publish(&sample.routing_key(), properties, &sample.body).await;
    }

    /// Publishes right to an exchange of ours, as the broker does when it dead-letters.
    pub async fn publish_to(&self, exchange: &str, samples: &[Sample]) {
        let put = async |sample: &Sample| {
            let properties = BasicProperties::default().with_delivery_mode(2);
            let lying = Lying { body: sample.body.to_vec(), routing_key: sample.routing_key(), properties };
            self.broker.put_back(exchange, &lying).await;
        };
        stream::iter(samples).for_each_concurrent(WINDOW, put).await;
    }

    /// Waits until Svix holds every one of these events.
    pub async fn arrive(&self, events: &[Sample]) {
        until("all arrive", SOON, async || ledger::complete(&self.svix, events).then_some(())).await;
    }

    /// Publishes these, and waits until all are dead letters: Svix takes none of them for too large, one by one. Of refusals so
    /// many in a row would open a circuit.
    pub async fn all_too_large(&self, events: &[Sample]) {
        self.svix.sandbox.add_fault(Fault { status: Some(413), ..Fault::default() });
        self.publish(events).await;
        let all = u32::try_from(events.len()).unwrap();
        until("all are dead letters", SOON, async || (self.broker.ready_dead().await == all).then_some(())).await;
        self.svix.sandbox.clear_faults();
    }

    /// Waits for the one event in the dead-letter queue, and takes it out.
    pub async fn given_up(&self) -> Lying {
        until("it is given up", SOON, async || (self.broker.ready_dead().await == 1).then_some(())).await;
        self.broker.drain_dead().await.remove(0)
    }

    pub async fn end(self) {
        self.broker.clean().await;
    }
}
