//! What outlives a session.

use super::message::Context;
use crate::{
    observe::{health::Health, metrics::Metrics, trace::Traces},
    sources::rabbitmq::{budget::Budgets, dead_letters::republish::Republisher, topology::Topology},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// Bounds the deliveries in flight of each rung, over a halt or a reconnect too, while old ones are still unsettled. One
/// bound for all of them would let a flooding lane keep the others' deliveries out.
#[derive(Debug)]
pub struct Permits(pub(super) Vec<Arc<Semaphore>>);

impl Permits {
    pub fn new(topology: &Topology) -> Self {
        Self(topology.rungs.iter().map(|rung| Arc::new(Semaphore::new(rung.prefetch.into()))).collect())
    }
}

/// What all sessions of a process share.
#[derive(Clone)]
pub struct Shared {
    pub permits: Arc<Permits>,
    pub republisher: Arc<Republisher>,
    pub(in crate::sources::rabbitmq) budgets: Budgets,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub traces: Traces,
    /// How long a queue may owe a delivery before the stall detector ends its session.
    pub watchdog: Duration,
}

impl Shared {
    /// The part of it that deliveries need.
    pub(in crate::sources::rabbitmq) fn context(&self) -> Context<'_> {
        Context { republisher: &self.republisher, metrics: &self.metrics, traces: &self.traces }
    }
}
