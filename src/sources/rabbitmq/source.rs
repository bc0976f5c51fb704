//! RabbitMQ as a source: sessions opened one after another, and the parked events beside them.

use super::{
    changeover::StandError,
    connect::Connector,
    copies::Copies,
    declare::DeclareError,
    parked::{LetGo, ParkedError},
    publish::Publisher,
    session::{OpenError, Permits, Session, SessionEnded, Shared},
    settings::Settings,
    settle::AmqpReceipt,
    topology::Topology,
};
use crate::{
    event::ProjectId,
    observe::{health::Health, metrics::Metrics, trace::Traces},
    pipeline::{
        delivery::Delivery,
        parking::{NotPassed, Parking, Passed},
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
}

impl RabbitMq {
    /// `cut` ends every wait for a copy: the process ends now.
    pub fn new(
        settings: &Settings,
        metrics: &Arc<Metrics>,
        health: &Arc<Health>,
        traces: Traces,
        cut: CancellationToken,
    ) -> Self {
        let topology = Topology::new(settings);
        let publisher = Publisher::new(settings.access.clone(), "hookbro publisher");
        let shared = Shared {
            permits: Arc::new(Permits::new(&topology)),
            copies: Arc::new(Copies::new(publisher, &topology, Arc::clone(metrics), cut)),
            metrics: Arc::clone(metrics),
            health: Arc::clone(health),
            traces,
            watchdog: settings.watchdog,
        };
        Self { connector: Connector::new(settings.access.clone()), topology, shared }
    }
}

impl Connect for RabbitMq {
    type Source = Session;
    type Fatal = DeclareError;

    async fn open(&self, occasion: Occasion) -> Result<Session, NotOpen<DeclareError>> {
        match Session::open(&self.connector, &self.topology, occasion, self.shared.clone()).await {
            Ok(session) => Ok(session),
            // A queue's arguments cannot be changed in place: only an operator can mend that.
            Err(OpenError::Declare(StandError::Declare(error @ DeclareError::Differs { .. }))) => {
                Err(NotOpen::Fatal(error))
            }
            Err(error) => Err(NotOpen::Now(Box::new(error))),
        }
    }

    async fn close(&self) {
        self.shared.copies.close().await;
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

/// The queue of parked events.
#[derive(Debug)]
pub struct ParkedQueue {
    let_go: LetGo,
    health: Arc<Health>,
}

impl ParkedQueue {
    pub fn new(settings: &Settings, health: &Arc<Health>) -> Self {
        let let_go = LetGo {
            connector: Connector::new(settings.access.clone()),
            publisher: Publisher::new(settings.access.clone(), "hookbro parked publisher"),
            topology: Topology::new(settings),
        };
        Self { let_go, health: Arc::clone(health) }
    }
}

impl Parking for ParkedQueue {
    async fn release(
        &self,
        stays: impl Fn(&ProjectId) -> bool + Send + Sync,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> Result<Passed, NotPassed> {
        self.let_go.pass(stays, goes_on).await.map_err(|error| match error {
            ParkedError::Locked { .. } => NotPassed::Busy,
            ParkedError::TooMany { .. } => NotPassed::TooMany(Box::new(error)),
            other => NotPassed::Failed(Box::new(other)),
        })
    }

    fn parked(&self) -> u64 {
        self.health.queues.borrow().get(self.let_go.topology.parked()).copied().unwrap_or(0)
    }

    async fn close(&self) {
        self.let_go.close().await;
    }
}
