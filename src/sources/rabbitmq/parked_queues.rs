//! The queues of parked events: one for each project that had any, each entered in an index.

use super::{
    connect::{ConnectError, Connector, close, not_found},
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
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::OnceCell;

/// Projects with a queue of their own; further ones share one. A quorum queue costs every node of the broker some memory and a
/// process for as long as it exists. None is ever deleted: RabbitMQ cannot delete a quorum queue on condition that it is empty.
pub const MOST_LOTS: usize = 1_000;
/// A broker that does not declare a queue for so long has lost it, or its majority.
const DECLARE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a queue of parked events is not there.
#[derive(Debug, thiserror::Error)]
pub enum NoLot {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error("the broker did not declare queue `{0}` within {DECLARE_TIMEOUT:?}")]
    Silent(String),
    #[error("cannot open a channel: {0}")]
    Channel(lapin::Error),
    #[error("cannot enter the queue of project {project} in the index `{index}`: {source}")]
    Index { project: ProjectId, index: String, source: PublishError },
}

/// The queues of parked events on one broker, as far as this process knows them.
#[derive(Debug)]
pub struct ParkedQueues {
    connector: Connector,
    /// A connector waits for one broker that never answers, so whoever connects at the same time has one of its own.
    pub(super) index_connector: Connector,
    pub(super) topology: Topology,
    /// Of entries of the index.
    pub(super) publisher: Publisher,
    connection: tokio::sync::Mutex<Option<Arc<Connection>>>,
    /// The queues by name, each set once it exists and is in the index. Each is made once for all events that wait for it, and
    /// none waits for another.
    queues: Mutex<HashMap<String, Arc<OnceCell<()>>>>,
}

impl ParkedQueues {
    pub fn new(settings: &Settings) -> Self {
        Self {
            connector: Connector::new(settings.access.clone()),
            index_connector: Connector::new(settings.access.clone()),
            topology: Topology::new(settings),
            publisher: Publisher::new(settings.access.clone(), "hookbro parked index"),
            connection: tokio::sync::Mutex::default(),
            queues: Mutex::default(),
        }
    }

    /// The fanout exchange and queue in which an event is parked, declared and entered in the index if it is new.
    pub(super) async fn lot(&self, Parked { project, reason, .. }: &Parked) -> Result<String, NoLot> {
        let own = self.topology.lot(project);
        let (name, made) = {
            let mut queues = self.queues();
            // Anybody can invent projects.
            let may_be_new = *reason != ParkReason::Provisioning && queues.len() < MOST_LOTS;
            let name =
                if may_be_new || queues.contains_key(&own) { own.clone() } else { self.topology.lot_of_others() };
            let made = Arc::clone(queues.entry(name.clone()).or_default());
            (name, made)
        };
        made.get_or_try_init(|| self.make(&name, (name == own).then_some(project))).await?;
        Ok(name)
    }

    /// Whether `project` has a queue of its own.
    pub(super) fn has_lot(&self, project: &ProjectId) -> bool {
        self.queues().get(&self.topology.lot(project)).is_some_and(|made| made.initialized())
    }

    /// The queue is gone.
    pub(super) fn forget(&self, queue: &str) {
        self.queues().remove(queue);
    }

    /// These have a queue, and are in the index.
    pub(super) fn learn(&self, projects: &[ProjectId]) {
        let made = || Arc::new(OnceCell::new_with(Some(())));
        self.queues().extend(projects.iter().map(|project| (self.topology.lot(project), made())));
    }

    /// A channel to take events out of `queue` on. It exists then, even if an operator has deleted it.
    pub(super) async fn open(&self, queue: &str) -> Result<Channel, NoLot> {
        let connection = self.connection().await?;
        self.declare(&connection, queue).await?;
        connection.create_channel().await.map_err(NoLot::Channel)
    }

    async fn make(&self, queue: &str, project: Option<&ProjectId>) -> Result<(), NoLot> {
        self.declare(&*self.connection().await?, queue).await?;
        // The one that all others share is always there to be read.
        let Some(project) = project else { return Ok(()) };
        let (index, entry) = (self.topology.parked(), EventProperties::default().to_amqp());
        let entered = self.publisher.publish(index, "", entry, project.as_str().as_bytes()).await;
        entered.map_err(|source| NoLot::Index { project: project.clone(), index: index.to_owned(), source })
    }

    async fn declare(&self, connection: &Connection, queue: &str) -> Result<(), NoLot> {
        let objects = self.topology.of_lot(queue);
        let declared = tokio::time::timeout(DECLARE_TIMEOUT, declare(connection, &objects)).await;
        Ok(declared.map_err(|_| NoLot::Silent(queue.to_owned()))??)
    }

    /// The connection, made if there is none. Whoever has it holds nobody up.
    async fn connection(&self) -> Result<Arc<Connection>, ConnectError> {
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        let connection = Arc::new(self.connector.connect("hookbro parked").await?);
        Ok(Arc::clone(kept.insert(connection)))
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<String, Arc<OnceCell<()>>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take() {
            close(connection).await;
        }
        self.publisher.close().await;
    }
}

/// Whether a publish failed because its exchange or the queue behind it is gone.
pub(super) fn is_gone(error: &PublishError) -> bool {
    match error {
        PublishError::Unroutable { .. } => true,
        PublishError::Channel { source, .. } => not_found(source).is_some(),
        _ => false,
    }
}
