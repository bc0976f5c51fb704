//! RabbitMQ as the suites see it: objects of a test's own on the shared broker.

use super::{DELAYS, PREFETCH, Rig};
use crate::support::{SOON, broker::Broker, events::Sample, until};
use hookbro::{
    event::RetryLadder,
    observe::{health::Health, metrics::Metrics, trace::Traces},
    pipeline::{
        parking::Parking,
        source::{Connect, NotOpen, Occasion},
    },
    process::secret::Secret,
    sources::rabbitmq::{Access, RabbitMq, Settings},
};
use lapin::BasicProperties;
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

pub(super) struct RabbitRig {
    broker: Broker,
    settings: Settings,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl RabbitRig {
    /// With every object declared, so that events can be published before a source is opened.
    pub(super) async fn new(test: &str) -> Self {
        let broker = Broker::shared(test);
        let settings = Settings {
            access: Access::from(Secret::fixed(&broker.url)),
            exchange: broker.exchange.clone(),
            queue: broker.queue.clone(),
            bindings: vec!["#".to_owned()],
            prefetch: PREFETCH,
            delivery_limit: 100,
            memory_budget: 128 * 1024 * 1024,
            ladder: RetryLadder::try_new(DELAYS.to_vec()).unwrap(),
            watchdog: Duration::from_secs(60),
            lanes: Vec::new(),
            management_url: Secret::fixed(""),
        };
        let (metrics, health) = (Arc::new(Metrics::new().unwrap()), Arc::new(Health::new()));
        let rig = Self { broker, settings, metrics, health };
        let connect = rig.rabbitmq();
        until("the topology is declared", SOON, async || match connect.open(Occasion::Start).await {
            Ok(session) => {
                session.close().await;
                Some(())
            }
            Err(NotOpen::Now(_)) => None,
            Err(NotOpen::Fatal(error)) => panic!("{error}"),
        })
        .await;
        Connect::close(&connect).await;
        rig
    }

    fn rabbitmq(&self) -> RabbitMq {
        RabbitMq::new(&self.settings, &self.metrics, &self.health, Traces::default(), CancellationToken::new())
    }
}

impl Rig for RabbitRig {
    fn connect(&self) -> impl Connect {
        self.rabbitmq()
    }

    fn parking(&self) -> impl Parking {
        self.rabbitmq().parking()
    }

    async fn publish(&self, samples: &[Sample]) {
        for sample in samples {
            let properties = BasicProperties::default().with_delivery_mode(2);
            self.broker.publish(&sample.routing_key(), properties, &sample.body).await;
        }
    }

    async fn take_dead(&self) -> Vec<(Vec<u8>, String)> {
        // What the broker gave up itself carries no reason of hookbro's: it is exhausted.
        let reason = |reason: String| if reason.is_empty() { "exhausted".to_owned() } else { reason };
        self.broker.drain_dead().await.into_iter().map(|dead| (dead.body.clone(), reason(dead.reason()))).collect()
    }

    async fn end(self) {
        self.broker.clean().await;
    }
}
