//! The queue of one project's parked events, read one message at a time: what is not asked for stays where it is.

use crate::{
    event::Attempt,
    pipeline::parking::{Look, Lot, NotNow, Oldest},
    sources::rabbitmq::{
        budget::Held,
        consume::{
            message::{Arrived, Origin, delivery},
            settle::{AmqpReceipt, Settler},
            share::Share,
            shared::Shared,
        },
        dead_letters::republish::QueueKind,
        exclusive::counts,
        headers::{header_bytes, parked_at},
        topology::Topology,
    },
};
use jiff::Timestamp;
use lapin::{Channel, message::BasicGetMessage, options::BasicGetOptions};
use std::{sync::Arc, time::Duration};
use tokio_util::task::TaskTracker;

/// Deliveries of a lot that its settling expects: acknowledgements are written together from an eighth of it on.
const USUAL: u16 = 64;

/// What the first event of a lot is taken to need in memory, in bytes; each further one is taken to be as large as the one before.
/// Larger than nearly all, and still so small that the lots' part of the memory has room for many.
const USUAL_SIZE: usize = 128 * 1024;

/// One project's queue.
pub struct RabbitLot {
    channel: Channel,
    settler: Arc<Settler>,
    queue: Arc<str>,
    topology: Topology,
    shared: Shared,
    /// What is taken and not settled.
    share: Arc<Share>,
    /// What the last event took in memory.
    size: usize,
}

impl RabbitLot {
    pub(super) fn new(
        channel: Channel,
        queue: Arc<str>,
        topology: Topology,
        shared: Shared,
        settling: &TaskTracker,
    ) -> Self {
        let (settler, task) = Settler::start(channel.clone(), USUAL, Arc::clone(&shared.metrics));
        settling.spawn(task);
        // Shown under the name of all queues of parked events together: each has its own.
        let outstanding = shared.metrics.events_outstanding.with_label_values(&[topology.parked()]);
        let share = Share::new(u16::MAX, &Arc::default(), &outstanding);
        Self { channel, settler, queue, topology, shared, share, size: USUAL_SIZE }
    }
}

/// A message that was taken, and what it takes in memory.
struct Got {
    message: BasicGetMessage,
    header_bytes: usize,
    held: Held,
}

impl RabbitLot {
    /// The oldest message, once there is room for it.
    async fn get(&mut self) -> lapin::Result<Option<Got>> {
        let mut held = self.shared.budgets.parked.until_held(self.size).await;
        let taken = self.channel.basic_get((&*self.queue).into(), BasicGetOptions::default()).await?;
        let Some(message) = taken else { return Ok(None) };
        let header_bytes = header_bytes(&message.properties);
        self.size = message.data.len() + header_bytes;
        held.resize(self.size);
        Ok(Some(Got { message, header_bytes, held }))
    }

    fn oldest(&self, Got { message, header_bytes, held }: Got) -> Oldest<AmqpReceipt> {
        let (since, left) = (parked_at(&message.properties), message.message_count.into());
        let lane = self.topology.lane_of(message.delivery.routing_key.as_str());
        let origin = Origin {
            queue: &self.queue,
            lane: lane.number,
            attempt: Attempt::FIRST,
            waited: Duration::ZERO,
            next_delay: lane.next_delay,
            // What is to be retried enters the ladder of its lane.
            kind: QueueKind::Parked { retry_by: lane.beyond.into() },
            given_up: None,
        };
        self.shared.metrics.received(Attempt::FIRST).inc();
        let arrived = Arrived { settler: Arc::clone(&self.settler), taken: Some(self.share.take()), held };
        let (context, delivered) = (self.shared.context(), Box::new(message.delivery));
        let delivery = delivery(origin, context, delivered, header_bytes, arrived, None);
        Oldest { delivery, since, left }
    }
}

impl Lot for RabbitLot {
    type Receipt = AmqpReceipt;

    async fn take(&mut self) -> Result<Option<Oldest<AmqpReceipt>>, NotNow> {
        Ok(self.get().await?.map(|got| self.oldest(got)))
    }

    async fn take_overdue(&mut self, limit: Timestamp) -> Result<Look<AmqpReceipt>, NotNow> {
        let Some(got) = self.get().await? else { return Ok(Look::Empty) };
        let since = parked_at(&got.message.properties);
        if since.is_some_and(|since| since <= limit) {
            return Ok(Look::Overdue(Box::new(self.oldest(got))));
        }
        // To the front, where it was.
        self.settler.give_back(got.message.delivery_tag, self.share.take());
        Ok(Look::Stays(since))
    }

    async fn count(&mut self) -> Result<u64, NotNow> {
        let (ready, _) = counts(&self.channel, &self.queue).await?;
        Ok(ready.into())
    }
}

impl Drop for RabbitLot {
    fn drop(&mut self) {
        if !self.channel.status().connected() {
            self.share.forget();
        }
    }
}
