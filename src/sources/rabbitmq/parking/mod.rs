//! Gives parked events back: the list of lots, and each lot's events one at a time.

mod index;
mod lot;
pub(super) mod operations;
mod reader;

pub use lot::RabbitLot;

use super::{
    consume::{settle::AmqpReceipt, shared::Shared},
    parked_queues::ParkedQueues,
};
use crate::{
    event::ProjectId,
    pipeline::parking::{NotNow, Parking, Whose},
};
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// The parking of a process.
pub struct RabbitParking {
    queues: Arc<ParkedQueues>,
    shared: Shared,
    /// The tasks that settle what lots gave: they end once that is written.
    settling: TaskTracker,
}

impl RabbitParking {
    pub(super) fn new(queues: Arc<ParkedQueues>, shared: Shared) -> Self {
        Self { queues, shared, settling: TaskTracker::new() }
    }
}

impl Parking for RabbitParking {
    type Receipt = AmqpReceipt;
    type Lot = RabbitLot;

    async fn lots(&self) -> Result<Vec<ProjectId>, NotNow> {
        let ParkedQueues { index_connector, topology, publisher, .. } = &*self.queues;
        let found = index::read(index_connector, topology, publisher).await?;
        self.queues.learn(&found);
        Ok(found)
    }

    fn has_lot(&self, project: &ProjectId) -> bool {
        self.queues.has_lot(project)
    }

    async fn open(&self, whose: Whose<'_>) -> Result<RabbitLot, NotNow> {
        let queue = match whose {
            Whose::Project(project) => self.queues.topology.lot(project),
            Whose::Others => self.queues.topology.lot_of_others(),
        };
        let channel = self.queues.open(&queue).await?;
        Ok(RabbitLot::new(channel, queue.into(), self.queues.topology.clone(), self.shared.clone(), &self.settling))
    }

    async fn close(&self) {
        self.settling.close();
        self.settling.wait().await;
        self.queues.close().await;
    }
}
