//! The queues of parked events: one for each project that had any, each entered in an index.

use super::{
    connect::{ConnectError, Connector, close},
    publish::{EventProperties, PublishError, Publisher},
    settings::Settings,
    topology::{
        Topology,
        declare::{DeclareError, declare},
    },
};
use crate::event::{ParkReason, Parked, ProjectId};
use lapin::{Channel, Connection};
use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Projects with a queue of their own; further ones share one. Each is a quorum queue, which costs every node of the broker some memory and a process for as long
/// as it exists, and none is ever deleted: RabbitMQ cannot delete a quorum queue only if it is empty.
pub const MOST_LOTS: usize = 1_000;

/// Why a project's queue of parked events is not there.
#[derive(Debug, thiserror::Error)]
pub enum NoLot {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error("cannot open a channel: {0}")]
    Channel(lapin::Error),
    #[error("cannot enter the queue of project {project} in the index `{index}`: {source}")]
    Index { project: ProjectId, index: String, source: PublishError },
}

/// The queues of parked events on one broker, as far as this process knows them.
#[derive(Debug)]
pub struct ParkedQueues {
    connector: Connector,
    /// Of those who read the index: one that waits for a broker which never answers is waited for by one alone.
    pub(super) index_connector: Connector,
    pub(super) topology: Topology,
    /// Of entries of the index.
    pub(super) publisher: Publisher,
    connection: tokio::sync::Mutex<Option<Connection>>,
    /// Projects whose queue exists and is in the index.
    known: Mutex<HashSet<ProjectId>>,
    /// Whether the queue of all others exists.
    others_declared: AtomicBool,
    /// One declaration at a time: events of a project come in bursts.
    declaring: tokio::sync::Mutex<()>,
}

impl ParkedQueues {
    pub fn new(settings: &Settings) -> Self {
        Self {
            connector: Connector::new(settings.access.clone()),
            index_connector: Connector::new(settings.access.clone()),
            topology: Topology::new(settings),
            publisher: Publisher::new(settings.access.clone(), "hookbro parked index"),
            connection: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            others_declared: AtomicBool::new(false),
            declaring: tokio::sync::Mutex::default(),
        }
    }

    /// The fanout exchange and queue in which an event is parked, declared and entered in the index if it is new.
    pub(super) async fn lot(&self, Parked { project, reason, .. }: &Parked) -> Result<String, NoLot> {
        let name = self.topology.lot(project);
        if self.known().contains(project) {
            return Ok(name);
        }
        let _one = self.declaring.lock().await;
        if self.known().contains(project) {
            return Ok(name);
        }
        // Anybody can invent projects.
        if *reason == ParkReason::Provisioning || self.known().len() >= MOST_LOTS {
            let others = self.topology.lot_of_others();
            if !self.others_declared.load(Ordering::Relaxed) {
                self.declare(&others).await?;
                self.others_declared.store(true, Ordering::Relaxed);
            }
            return Ok(others);
        }
        self.declare(&name).await?;
        let entry = EventProperties::default().to_amqp();
        let entered = self.publisher.publish(self.topology.parked(), "", entry, project.as_str().as_bytes()).await;
        entered.map_err(|source| NoLot::Index {
            project: project.clone(),
            index: self.topology.parked().to_owned(),
            source,
        })?;
        self.known().insert(project.detached());
        Ok(name)
    }

    /// The queue may be gone.
    pub(super) fn forget(&self, project: &ProjectId) {
        self.known().remove(project);
        self.others_declared.store(false, Ordering::Relaxed);
    }

    /// These have a queue, and are in the index.
    pub(super) fn learn(&self, projects: &[ProjectId]) {
        self.known().extend(projects.iter().map(ProjectId::detached));
    }

    /// A channel to take events out of `queue` on. It exists then, even if an operator has deleted it.
    pub(super) async fn open(&self, queue: &str) -> Result<Channel, NoLot> {
        let mut connection = self.connection.lock().await;
        let connection = self.connected(&mut connection).await?;
        declare(connection, &self.topology.of_lot(queue)).await?;
        connection.create_channel().await.map_err(NoLot::Channel)
    }

    async fn declare(&self, queue: &str) -> Result<(), NoLot> {
        let mut connection = self.connection.lock().await;
        let connection = self.connected(&mut connection).await?;
        Ok(declare(connection, &self.topology.of_lot(queue)).await?)
    }

    async fn connected<'c>(&self, kept: &'c mut Option<Connection>) -> Result<&'c Connection, ConnectError> {
        Ok(match kept.take().filter(|connection| connection.status().connected()) {
            Some(connection) => kept.insert(connection),
            None => kept.insert(self.connector.connect("hookbro parked").await?),
        })
    }

    fn known(&self) -> MutexGuard<'_, HashSet<ProjectId>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            close(connection).await;
        }
        self.publisher.close().await;
    }
}
