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
use crate::event::ProjectId;
use lapin::{Channel, Connection};
use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Queues of parked events. Each is a quorum queue, which costs every node of the broker some memory and a process for as long
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
    #[error(
        "{MOST_LOTS} projects have a queue of parked events, and no more may have one; docs/operations.md has the remedy"
    )]
    TooMany,
}

/// The queues of parked events on one broker, as far as this process knows them.
#[derive(Debug)]
pub struct ParkedQueues {
    pub(super) connector: Connector,
    pub(super) topology: Topology,
    /// Of entries of the index.
    pub(super) publisher: Publisher,
    connection: tokio::sync::Mutex<Option<Connection>>,
    /// Projects whose queue exists and is in the index.
    known: Mutex<HashSet<ProjectId>>,
    /// One declaration at a time: events of a project come in bursts.
    declaring: tokio::sync::Mutex<()>,
}

impl ParkedQueues {
    pub fn new(settings: &Settings) -> Self {
        Self {
            connector: Connector::new(settings.access.clone()),
            topology: Topology::new(settings),
            publisher: Publisher::new(settings.access.clone(), "hookbro parked index"),
            connection: tokio::sync::Mutex::default(),
            known: Mutex::default(),
            declaring: tokio::sync::Mutex::default(),
        }
    }

    /// The fanout exchange and queue of a project's parked events, declared and entered in the index if it is new.
    pub(super) async fn lot(&self, project: &ProjectId) -> Result<String, NoLot> {
        let name = self.topology.lot(project);
        if self.known().contains(project) {
            return Ok(name);
        }
        let _one = self.declaring.lock().await;
        if self.known().contains(project) {
            return Ok(name);
        }
        if self.known().len() >= MOST_LOTS {
            return Err(NoLot::TooMany);
        }
        self.declare(project).await?;
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

    /// The queue turned out to be gone.
    pub(super) fn forget(&self, project: &ProjectId) {
        self.known().remove(project);
    }

    /// These have a queue, and are in the index.
    pub(super) fn learn(&self, projects: &[ProjectId]) {
        self.known().extend(projects.iter().map(ProjectId::detached));
    }

    /// A channel to take events of a project on. Its queue exists then, even if an operator has deleted it.
    pub(super) async fn open(&self, project: &ProjectId) -> Result<Channel, NoLot> {
        let mut connection = self.connection.lock().await;
        let connection = self.connected(&mut connection).await?;
        declare(connection, &self.topology.of_lot(project)).await?;
        connection.create_channel().await.map_err(NoLot::Channel)
    }

    async fn declare(&self, project: &ProjectId) -> Result<(), NoLot> {
        let mut connection = self.connection.lock().await;
        let connection = self.connected(&mut connection).await?;
        Ok(declare(connection, &self.topology.of_lot(project)).await?)
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
