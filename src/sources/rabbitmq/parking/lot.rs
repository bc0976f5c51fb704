//! The queue of one project's parked events, read one message at a time: what is not asked for stays where it is.

use crate::{
    event::Attempt,
    pipeline::parking::{Look, Lot, NotNow, Oldest},
    sources::rabbitmq::{
        consume::{
            message::{Origin, delivery},
            settle::{AmqpReceipt, Settler},
            share::Share,
            shared::Shared,
        },
        exclusive::counts,
        headers::parked_at,
        topology::Topology,
    },
};
use jiff::Timestamp;
use lapin::{Channel, message::BasicGetMessage, options::BasicGetOptions};
use std::{sync::Arc, time::Duration};
use tokio_util::task::TaskTracker;

/// Deliveries of a lot that its settling expects: acknowledgements are written together from an eighth of it on.
const USUAL: u16 = 64;

/// One project's queue.
pub struct RabbitLot {
    channel: Channel,
    settler: Arc<Settler>,
    queue: Arc<str>,
    topology: Topology,
    shared: Shared,
    /// What is taken and not settled.
    share: Arc<Share>,
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
        Self { channel, settler, queue, topology, shared, share }
    }
}

impl RabbitLot {
    async fn get(&self) -> lapin::Result<Option<BasicGetMessage>> {
        self.channel.basic_get((&*self.queue).into(), BasicGetOptions::default()).await
    }

    fn oldest(&self, taken: BasicGetMessage) -> Oldest<AmqpReceipt> {
        let (since, left) = (parked_at(&taken.properties), taken.message_count.into());
        let lane = self.topology.lane_of(taken.delivery.routing_key.as_str());
        let origin = Origin {
            queue: &self.queue,
            lane: lane.number,
            attempt: Attempt::FIRST,
            waited: Duration::ZERO,
            next_delay: lane.next_delay,
            // The queue belongs to no ladder: what is to be retried enters the one of its lane.
            retry_by: Some(lane.beyond.into()),
        };
        self.shared.metrics.received(Attempt::FIRST).inc();
        let (settler, share) = (Arc::clone(&self.settler), self.share.take());
        let delivery = delivery(origin, self.shared.context(), Box::new(taken.delivery), settler, share, None);
        Oldest { delivery, since, left }
    }
}

impl Lot for RabbitLot {
    type Receipt = AmqpReceipt;

    async fn take(&mut self) -> Result<Option<Oldest<AmqpReceipt>>, NotNow> {
        Ok(self.get().await?.map(|taken| self.oldest(taken)))
    }

    async fn take_overdue(&mut self, limit: Timestamp) -> Result<Look<AmqpReceipt>, NotNow> {
        let Some(taken) = self.get().await? else { return Ok(Look::Empty) };
        let since = parked_at(&taken.properties);
        if since.is_some_and(|since| since <= limit) {
            return Ok(Look::Overdue(Box::new(self.oldest(taken))));
        }
        // To the front, where it was.
        self.settler.return_unused(taken.delivery_tag, self.share.take());
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
