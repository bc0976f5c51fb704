//! RabbitMQ as a source of the pipeline: sessions opened one after another.

use super::{
    budget::Budgets,
    connect::Connector,
    consume::{
        open::OpenError,
        session::{Session, SessionEnded},
        settle::AmqpReceipt,
        shared::{Permits, Shared},
    },
    dead_letters::republish::Republisher,
    parked_queues::ParkedQueues,
    parking::RabbitParking,
    publish::Publisher,
    settings::Settings,
    topology::{Topology, changeover::ApplyError, declare::DeclareError},
};
use crate::{
    observe::{health::Health, metrics::Metrics, trace::Traces},
    pipeline::{
        delivery::Delivery,
        source::{Connect, Demand, Ended, NotOpen, Occasion, Source},
    },
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Opens sessions with one broker.
pub struct RabbitMq {
    connector: Connector,
    topology: Topology,
    shared: Shared,
    parked: Arc<ParkedQueues>,
}

impl RabbitMq {
    /// `cut` ends every wait for the publish of a copy: the process ends now.
    pub fn new(
        settings: &Settings,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
        traces: Traces,
        cut: CancellationToken,
    ) -> Self {
        let topology = Topology::new(settings);
        let publisher = Publisher::new(settings.access.clone(), "hookbro publisher");
        let parked = Arc::new(ParkedQueues::new(settings));
        let shared = Shared {
            permits: Arc::new(Permits::new(&topology)),
            republisher: Arc::new(Republisher::new(
                publisher,
                &topology,
                Arc::clone(&parked),
                Arc::clone(metrics),
                cut,
            )),
            budgets: Budgets::new(settings.memory_budget, topology.rungs.len(), |of| {
                metrics.outstanding_bytes.with_label_values(&[of])
            }),
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
            traces,
            watchdog: settings.watchdog,
        };
        Self { connector: Connector::new(settings.access.clone()), topology, shared, parked }
    }

    /// Where this source's events are parked.
    pub fn parking(&self) -> RabbitParking {
        RabbitParking::new(Arc::clone(&self.parked), self.shared.clone())
    }
}

impl Connect for RabbitMq {
    type Source = Session;
    type Fatal = DeclareError;

    async fn open(&self, occasion: Occasion) -> Result<Session, NotOpen<DeclareError>> {
        match Session::open(&self.connector, &self.topology, occasion, self.shared.clone()).await {
            Ok(session) => Ok(session),
            // A queue's arguments cannot be changed in place: only an operator can change that.
            Err(OpenError::Apply(ApplyError::Declare(error @ DeclareError::Differs { .. }))) => {
                Err(NotOpen::Fatal(error))
            }
            Err(error) => Err(NotOpen::Now(Box::new(error))),
        }
    }

    async fn close(&self) {
        self.shared.republisher.close().await;
    }
}

impl From<SessionEnded> for Ended {
    fn from(ended: SessionEnded) -> Self {
        Self::new(ended)
    }
}

impl Source for Session {
    type Receipt = AmqpReceipt;

    async fn set_demand(&mut self, demand: Demand) -> Result<(), Ended> {
        Ok(Session::set_demand(self, demand).await?)
    }

    async fn next(&mut self) -> Result<Delivery<AmqpReceipt>, Ended> {
        Ok(Session::next(self).await?)
    }

    fn next_arrived(&mut self) -> Option<Delivery<AmqpReceipt>> {
        Session::next_arrived(self)
    }

    fn connected(&self) -> bool {
        Session::connected(self)
    }

    async fn abandon(self) {
        Session::abandon(self).await;
    }

    async fn close(self) {
        Session::close(self).await;
    }
}
