//! A source in memory: the broker of the simulation, with nothing that goes wrong.

#[allow(dead_code, reason = "what can go wrong is for the simulation")]
#[path = "../../sim/broker/mod.rs"]
mod broker;

use super::{DELAYS, PREFETCH, Rig};
use crate::support::events::Sample;
use broker::{Broker, Fate, Link, Rules};
use hookbro::{
    observe::metrics::Metrics,
    pipeline::{parking::Parking, source::Connect},
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Returns and lots without a bound that any test reaches.
const MANY: u32 = 1_000;

/// Nothing goes wrong.
struct Calm;

impl Fate for Calm {}

pub(super) struct MemoryRig {
    broker: Broker,
    link: Link,
}

impl MemoryRig {
    pub(super) fn new() -> Self {
        let prefetch = vec![usize::from(PREFETCH); DELAYS.len() + 1];
        let rules = Rules { prefetch, delays: DELAYS.to_vec(), delivery_limit: MANY, most_lots: MANY as usize };
        let broker = Broker::new(rules, Arc::new(Calm));
        let link = Link::new(&broker, 1, Arc::new(Metrics::new().unwrap()), CancellationToken::new());
        Self { broker, link }
    }
}

impl Rig for MemoryRig {
    fn connect(&self) -> impl Connect {
        self.link.clone()
    }

    fn parking(&self) -> impl Parking {
        self.link.clone()
    }

    async fn publish(&self, samples: &[Sample]) {
        for (event, sample) in samples.iter().enumerate() {
            self.broker.publish(event, &sample.routing_key(), sample.body.clone());
        }
    }

    async fn take_dead(&self) -> Vec<(Vec<u8>, String)> {
        let dead = self.broker.take_dead().into_iter();
        dead.map(|(message, why)| (message.body.to_vec(), why.to_owned())).collect()
    }

    async fn end(self) {}
}
