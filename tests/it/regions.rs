//! Two regions: a broker, a hookbro and a Svix each, and a federated exchange, as docs/regions.md describes. Events are
//! published in the one, and each arrives in the region of its project and nowhere else, whichever end dies meanwhile.

use crate::support::{
    SOON,
    broker::Broker,
    events::{Sample, generated},
    hookbro::Hookbro,
    ledger,
    node::Node,
    svix::TestSvix,
    until,
    world::World,
};
use serde_json::{Value, json};
use std::time::Duration;
use svix_sandbox::Outcome;

const PLUGINS: &str = "rabbitmq_federation rabbitmq_management";
/// A quorum queue killed within a second of its declaration can vanish (RabbitMQ 3.10 and 4.0).
const SETTLE: Duration = Duration::from_secs(3);
/// Seconds after which a lost federation link tries again, and seconds that it may find its upstream silent.
const RECONNECT: u64 = 1;
/// Longest wait for the link to come back and carry what has gathered.
const PATIENCE: Duration = Duration::from_secs(120);

struct Region {
    node: Node,
    world: World,
    project: &'static str,
}

impl Region {
    async fn start(exchange: &str, project: &'static str) -> Self {
        let node = Node::with(PLUGINS).await;
        let mut broker = Broker::private(node.url.clone(), project);
        broker.exchange = exchange.to_owned();
        let world = World::of(broker, TestSvix::start().await).with("broker.bindings", &format!("{project}.#"));
        Self { node, world, project }
    }

    /// What this region's Svix must hold.
    fn own(&self, events: &[Sample]) -> Vec<Sample> {
        events.iter().filter(|event| event.project == self.project).cloned().collect()
    }

    async fn put(&self, path: &str, body: Value) {
        let url = format!("{}/api/{path}", self.node.management());
        let request = reqwest::Client::new().put(url).basic_auth("guest", Some("guest"));
        let answer = request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let url = format!("{}/api/{path}", self.node.management());
        let answer = reqwest::Client::new().get(url).basic_auth("guest", Some("guest")).send().await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }

    /// What is published to this region's exchange comes from `upstream` too, as far as this region's bindings ask for it.
    async fn federate(&self, upstream: &Self) {
        let value = json!({"uri": format!("{}?heartbeat=5", upstream.node.url), "ack-mode": "on-confirm",
            "reconnect-delay": RECONNECT, "prefetch-count": 100});
        self.put("parameters/federation-upstream/%2f/upstream", json!({"value": value})).await;
        let policy = json!({"pattern": "[.]events$", "apply-to": "exchanges",
            "definition": {"federation-upstream-set": "all"}});
        self.put("policies/%2f/federate-events", policy).await;
        let bindings = format!("exchanges/%2f/{}/bindings/source", self.world.broker.exchange);
        until("the link asks for this region's keys", SOON, async || {
            let asked = upstream.get(&bindings).await?;
            let key = format!("{}.#", self.project);
            asked.as_array()?.iter().any(|binding| binding["routing_key"] == key.as_str()).then_some(())
        })
        .await;
    }

    async fn arrived(&self, events: &[Sample]) {
        let own = self.own(events);
        until("all of this region arrive", PATIENCE, async || {
            (ledger::missing(&self.world.svix, &own) == 0).then_some(())
        })
        .await;
    }

    /// Exactly its own events, each once, and every repeat was refused as one.
    async fn check(self, hookbro: Hookbro, events: &[Sample]) {
        until("all is settled", SOON, async || {
            let idle = hookbro.metric("hookbro_events_in_flight").await == 0.0;
            (idle && self.world.broker.ready(&self.world.broker.queue).await == Some(0)).then_some(())
        })
        .await;
        hookbro.stop().await;
        ledger::check(&self.world.svix, &self.own(events));
        let mut odd = self.world.svix.calls();
        odd.retain(|call| !matches!(call.outcome, Outcome::Answered(202 | 404 | 409) | Outcome::Abandoned));
        assert!(odd.is_empty(), "{odd:?}");
        assert_eq!(self.world.broker.ready_dead().await, 0);
        self.world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_federated_region_loses_nothing_over_a_lost_link() {
    let exchange = format!("hbt.{}.regions.events", std::process::id());
    let (eu, us) = tokio::join!(Region::start(&exchange, "eu-project"), Region::start(&exchange, "us-project"));
    let (eu_hookbro, us_hookbro) =
        tokio::join!(Hookbro::ready(eu.world.settings()), Hookbro::ready(us.world.settings()));
    us.federate(&eu).await;
    tokio::time::sleep(SETTLE).await;
    let events = generated("regions", &[eu.project, us.project], 1_200);

    eu.world.publish(&events[..300]).await;
    tokio::join!(eu.arrived(&events[..300]), us.arrived(&events[..300]));
    // The far end dies with events on their way, and more are published while it is away.
    let (publishing, killing) = (eu.world.publish(&events[300..600]), us.node.kill());
    tokio::join!(publishing, killing);
    eu.world.publish(&events[600..900]).await;
    eu.arrived(&events[..900]).await;
    assert!(ledger::missing(&us.world.svix, &us.own(&events[..900])) > 0, "the link was never lost");
    us.node.restart().await;
    us.arrived(&events[..900]).await;
    // The near end dies; publishers wait for it, as they must.
    let publishing = eu.world.publish(&events[900..]);
    tokio::join!(publishing, async {
        eu.node.kill().await;
        eu.node.restart().await;
    });
    tokio::join!(eu.arrived(&events), us.arrived(&events));
    eu.check(eu_hookbro, &events).await;
    us.check(us_hookbro, &events).await;
}
