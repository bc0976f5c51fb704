//! One rung on one connection: its channel, its consumers, and what they may have unsettled. Orders to the broker are futures,
//! which the session drives side by side, so that a rung that is not answered holds up no other.

use super::{
    allowance::Allowance,
    arrivals::Arrivals,
    message::Arrived,
    plan::{InUse, Step, next_step},
    settle::Settler,
    share::{Share, Taken},
    stall_detector::{Flow, StallDetector},
};
use crate::{
    event::Attempt,
    observe::metrics::Metrics,
    pipeline::{backoff::Backoff, source::Demand},
    sources::rabbitmq::{
        budget::QueueBudget,
        topology::{
            Rung, Topology,
            declare::{DeclareError, declare},
        },
    },
};
use futures_util::future::BoxFuture;
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use prometheus::{IntCounter, IntGauge};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

/// A broker that does not answer an order for so long is gone, or the queue has no leader.
pub(super) const ORDER_TIMEOUT: Duration = Duration::from_secs(10);
/// A rung that could be consumed for so long was sound: the next trouble begins with short waits again.
const SOUND_AFTER: Duration = Duration::from_secs(60);

/// An order's end. Consumers are known by their number.
pub(super) enum Done {
    Begun { rung: usize, number: u64, consumer: Result<Consumer, NotDone> },
    Cancelled { rung: usize, number: u64, cancelled: Result<(), NotDone> },
    Opened { rung: usize, channel: Result<Channel, NotDone> },
}

pub(super) type Order = BoxFuture<'static, Done>;

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotDone {
    #[error("the broker refused: {0}")]
    Refused(#[from] lapin::Error),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error("the broker cancelled its consumer, as when a queue is deleted")]
    Ended,
    #[error("the broker did not answer within {ORDER_TIMEOUT:?}")]
    Silent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Ordered, and not answered yet.
    Beginning,
    Live,
    /// To be cancelled once it has begun.
    Unwanted,
    Cancelling,
    /// Cancelled, and some of it may still be unread.
    Ending,
    /// All of it has arrived.
    Ended,
}

/// A consumer, until its last delivery is settled.
struct Consuming {
    number: u64,
    tag: ShortString,
    share: Arc<Share>,
    standing: Standing,
}

impl Consuming {
    fn takes(&self) -> bool {
        matches!(self.standing, Standing::Beginning | Standing::Live)
    }
}

impl Drop for Consuming {
    fn drop(&mut self) {
        self.share.forget();
    }
}

/// What lives and dies with a channel.
struct Line {
    channel: Channel,
    settler: Arc<Settler>,
    settling: JoinHandle<()>,
    consumers: Vec<Consuming>,
    arrivals: Arrivals,
    /// How many deliveries may have been lost on the way, and whether the next one that arrives tells: it is the first of a
    /// consumer that began while no other lived, and no other begins before.
    doubtful: u16,
    first: bool,
    /// Deliveries that had no room in memory, by their tags: they go back once no more arrive.
    surplus: Vec<(u64, Taken)>,
}

/// What became of a delivery that arrived.
pub(super) enum Arrival {
    /// `more` may be taken from now on.
    Fits { arrived: Arrived, more: bool },
    /// There is no room for it. It goes back to its queue.
    Surplus,
    /// Its channel is gone, and the broker has it back.
    Gone,
}

/// A rung, consumed or not.
pub(super) struct OpenRung {
    pub rung: Rung,
    pub queue: Arc<str>,
    pub permits: Arc<Semaphore>,
    index: usize,
    received: IntCounter,
    outstanding: IntGauge,
    metrics: Arc<Metrics>,
    settled: Arc<Notify>,
    stall_detector: StallDetector,
    allowance: Allowance,
    budget: QueueBudget,
    /// None while another is being opened.
    line: Option<Line>,
    backoff: Backoff,
    troubled: Option<Instant>,
}

impl OpenRung {
    pub(super) fn new(
        (index, rung): (usize, &Rung),
        permits: &Arc<Semaphore>,
        channel: Channel,
        budget: &QueueBudget,
        metrics: &Arc<Metrics>,
        settled: &Arc<Notify>,
    ) -> Self {
        let mut open = Self {
            queue: rung.queue.as_str().into(),
            permits: Arc::clone(permits),
            index,
            received: metrics.received(rung.attempt),
            outstanding: metrics.events_outstanding.with_label_values(&[&rung.queue]),
            metrics: Arc::clone(metrics),
            settled: Arc::clone(settled),
            stall_detector: StallDetector::begin(Instant::now()),
            allowance: Allowance::new(rung.prefetch, budget.limit()),
            budget: budget.clone(),
            line: None,
            backoff: Backoff::new(),
            troubled: None,
            rung: rung.clone(),
        };
        open.opened(channel);
        open
    }

    /// Whether the others go on without it: its events have failed before, and wait on the broker for as long as it takes.
    pub(super) fn is_spare(&self) -> bool {
        self.rung.attempt != Attempt::FIRST
    }

    pub(super) fn opened(&mut self, channel: Channel) {
        let (settler, settling) = Settler::start(channel.clone(), self.rung.prefetch, Arc::clone(&self.metrics));
        let (consumers, arrivals, surplus) = (Vec::new(), Arrivals::default(), Vec::new());
        self.line = Some(Line { channel, settler, settling, consumers, arrivals, first: false, doubtful: 0, surplus });
    }

    fn in_use(&self) -> Option<InUse> {
        let line = self.line.as_ref()?;
        let mut in_use = InUse { doubtful: line.doubtful, ..InUse::default() };
        for consumer in &line.consumers {
            match consumer.standing {
                Standing::Beginning | Standing::Live => {
                    in_use.consumers += 1;
                    in_use.shares += consumer.share.size();
                }
                Standing::Unwanted | Standing::Cancelling | Standing::Ending => {
                    in_use.ending = true;
                    in_use.old += consumer.share.size();
                }
                Standing::Ended => in_use.old += consumer.share.unsettled(),
            }
        }
        Some(in_use)
    }

    /// What `demand` asks for now; `number` is the next consumer's. False where nothing will change by itself.
    pub(super) fn step(
        &mut self,
        demand: Demand,
        number: u64,
        connection: &Arc<Connection>,
        orders: &mut Vec<Order>,
    ) -> bool {
        if let Some(line) = &mut self.line {
            line.consumers.retain(|consumer| consumer.standing != Standing::Ended || consumer.share.unsettled() > 0);
        }
        if self.return_surplus(orders) {
            return true;
        }
        let Some(in_use) = self.in_use() else { return false };
        // Its prefetch is an order of its own, for the next consumer of the channel.
        if self.line.iter().flat_map(|line| &line.consumers).any(|consumer| consumer.standing == Standing::Beginning) {
            return true;
        }
        match next_step(demand, self.allowance.events(), in_use) {
            Step::Rest => false,
            Step::Wait => true,
            Step::Begin(size) => {
                orders.extend(self.begin(size, number));
                true
            }
            Step::Cancel => {
                self.cancel(orders);
                true
            }
            Step::Renew => {
                orders.extend(self.renew(connection));
                false
            }
        }
    }

    fn begin(&mut self, size: u16, number: u64) -> Option<Order> {
        let line = self.line.as_mut()?;
        if !line.consumers.iter().any(Consuming::takes) {
            line.first = line.doubtful > 0;
            self.stall_detector = StallDetector::begin(Instant::now());
        }
        let tag: ShortString = format!("hookbro.{}.{}.{number}", self.rung.lane, self.rung.attempt.get()).into();
        let share = Share::new(size, &self.settled, &self.outstanding);
        line.consumers.push(Consuming { number, tag: tag.clone(), share, standing: Standing::Beginning });
        let (rung, queue, channel) = (self.index, ShortString::from(self.rung.queue.as_str()), line.channel.clone());
        Some(Box::pin(async move {
            let consumer = in_time(async {
                channel.basic_qos(size, BasicQosOptions::default()).await?;
                let options = BasicConsumeOptions::default();
                Ok(channel.basic_consume(queue, tag, options, FieldTable::default()).await?)
            });
            Done::Begun { rung, number, consumer: consumer.await }
        }))
    }

    /// A consumer's order was carried out. Its stream is to be read where this is true.
    pub(super) fn begun(&mut self, number: u64, orders: &mut Vec<Order>) -> bool {
        let (rung, Some(line)) = (self.index, &mut self.line) else { return false };
        let Some(consumer) = line.consumers.iter_mut().find(|consumer| consumer.number == number) else { return false };
        if consumer.standing == Standing::Unwanted {
            consumer.standing = Standing::Cancelling;
            orders.push(cancelling(rung, &line.channel, consumer));
        } else {
            consumer.standing = Standing::Live;
        }
        true
    }

    /// Ends all consumers. What they have unsettled stays.
    pub(super) fn cancel(&mut self, orders: &mut Vec<Order>) {
        let (rung, Some(line)) = (self.index, &mut self.line) else { return };
        for consumer in line.consumers.iter_mut().filter(|consumer| consumer.takes()) {
            if consumer.standing == Standing::Live {
                consumer.standing = Standing::Cancelling;
                orders.push(cancelling(rung, &line.channel, consumer));
            } else {
                consumer.standing = Standing::Unwanted;
            }
        }
    }

    /// Ends the consumers that sent more than there is room for, and returns the surplus once no more arrive; true until then.
    fn return_surplus(&mut self, orders: &mut Vec<Order>) -> bool {
        let Some(line) = self.line.as_mut().filter(|line| !line.surplus.is_empty()) else { return false };
        if line.consumers.iter().all(|consumer| consumer.standing == Standing::Ended) {
            for (tag, taken) in line.surplus.drain(..) {
                line.settler.give_back(tag, taken);
            }
            return false;
        }
        self.cancel(orders);
        true
    }

    /// After a while more may be taken again, by consumers that begin anew.
    pub(super) fn grow(&mut self, now: Instant, orders: &mut Vec<Order>) -> bool {
        let grows = self.allowance.grow(now);
        if grows {
            self.cancel(orders);
        }
        grows
    }

    /// The broker has confirmed the end of a consumer.
    pub(super) fn cancelled(&mut self, number: u64) {
        let consumers = self.line.iter_mut().flat_map(|line| &mut line.consumers);
        for consumer in consumers.filter(|consumer| consumer.number == number) {
            // Its stream may have been read to the end by now.
            if consumer.standing == Standing::Cancelling {
                consumer.standing = Standing::Ending;
            }
        }
    }

    pub(super) fn is_cancelling(&self) -> bool {
        let mut consumers = self.line.iter().flat_map(|line| &line.consumers);
        consumers.any(|consumer| consumer.standing == Standing::Cancelling)
    }

    pub(super) fn knows(&self, number: u64) -> bool {
        self.line.as_ref().is_some_and(|line| line.consumers.iter().any(|consumer| consumer.number == number))
    }

    /// Nothing more of this consumer arrives; false if nobody has cancelled it.
    pub(super) fn stream_ended(&mut self, number: u64) -> bool {
        let Some(line) = &mut self.line else { return true };
        let Some(consumer) = line.consumers.iter_mut().find(|consumer| consumer.number == number) else { return true };
        if consumer.takes() {
            return false;
        }
        consumer.standing = Standing::Ended;
        consumer.share.await_settlements();
        line.doubtful += consumer.share.size() - consumer.share.unsettled().min(consumer.share.size());
        true
    }

    /// Closes the channel, on which nothing is unsettled that has arrived, and opens another.
    fn renew(&mut self, connection: &Arc<Connection>) -> Option<Order> {
        let Line { channel, .. } = self.line.take()?;
        let (rung, connection) = (self.index, Arc::clone(connection));
        Some(Box::pin(async move {
            let opened = in_time(async {
                channel.close(200, "hookbro opens another".into()).await?;
                Ok(connection.create_channel().await?)
            });
            Done::Opened { rung, channel: opened.await }
        }))
    }

    /// It cannot be consumed: after a while, what of its queue is missing is declared, and another channel opened.
    pub(super) fn repair(&mut self, connection: &Arc<Connection>, topology: &Arc<Topology>) -> Order {
        if self.troubled.replace(Instant::now()).is_none_or(|before| before.elapsed() > SOUND_AFTER) {
            self.backoff = Backoff::new();
        }
        let broken = self.line.take();
        let (rung, queue, wait) = (self.index, self.rung.queue.clone(), self.backoff.next_wait());
        let (connection, topology) = (Arc::clone(connection), Arc::clone(topology));
        Box::pin(async move {
            if let Some(Line { channel, .. }) = broken
                && channel.status().connected()
            {
                // What it says does not matter: another channel is opened whatever this one's end.
                let _ = tokio::time::timeout(ORDER_TIMEOUT, channel.close(200, "hookbro opens another".into())).await;
            }
            tokio::time::sleep(wait).await;
            let opened = in_time(async {
                if let Some(queue) = topology.queues.iter().find(|declared| declared.name == queue) {
                    declare(&connection, &topology.only(queue)).await?;
                }
                Ok(connection.create_channel().await?)
            });
            Done::Opened { rung, channel: opened.await }
        })
    }

    /// A delivery of this consumer, of so many bytes.
    pub(super) fn arrived(&mut self, number: u64, tag: u64, bytes: usize, now: Instant) -> Arrival {
        let Some(line) = &mut self.line else { return Arrival::Gone };
        let unsettled = line.unsettled();
        let Some(consumer) = line.consumers.iter().find(|consumer| consumer.number == number) else {
            return Arrival::Gone;
        };
        let taken = consumer.share.take();
        if std::mem::take(&mut line.first) {
            for lost in line.arrivals.first_arrived(tag) {
                tracing::debug!(queue = &*self.queue, "a delivery came after the end of its consumer; it goes back");
                line.settler.return_lost(lost);
            }
            line.doubtful = 0;
        } else {
            line.arrivals.arrived(tag);
        }
        self.stall_detector.delivered(now);
        let more = self.allowance.arrived(bytes, now);
        // However little room others leave, one is worked.
        let held = if unsettled == 0 { Some(self.budget.hold(bytes)) } else { self.budget.try_hold(bytes) };
        let Some(held) = held else {
            if self.allowance.shrink(unsettled, now) {
                let (queue, events) = (&*self.queue, self.allowance.events());
                tracing::info!(
                    queue,
                    events,
                    "large events: fewer are taken at once, to stay within broker.memory_budget"
                );
            }
            line.surplus.push((tag, taken));
            return Arrival::Surplus;
        };
        self.received.inc();
        Arrival::Fits { arrived: Arrived { settler: Arc::clone(&line.settler), taken: Some(taken), held }, more }
    }

    /// Whether a consumer is owed a delivery for too long.
    pub(super) fn check(&mut self, ready: u64, now: Instant, timeout: Duration) -> Flow {
        let Some(line) = &self.line else { return Flow::Unknown };
        // Without a permit, what was sent may wait for deliveries that an earlier session left unsettled.
        let room = line.has_room() && self.permits.available_permits() > 0;
        self.stall_detector.check(ready, room, now, timeout)
    }

    /// Ends the settling of what is settled; answers the channel, to be kept until that has ended.
    pub(super) fn close(self) -> Option<(Channel, JoinHandle<()>)> {
        let Line { channel, settling, .. } = self.line?;
        Some((channel, settling))
    }
}

impl Line {
    /// Deliveries that are held.
    fn unsettled(&self) -> u16 {
        let unsettled: u16 = self.consumers.iter().map(|consumer| consumer.share.unsettled()).sum();
        unsettled.saturating_sub(u16::try_from(self.surplus.len()).unwrap_or(u16::MAX))
    }

    fn has_room(&self) -> bool {
        let live = self.consumers.iter().filter(|consumer| consumer.standing == Standing::Live);
        live.into_iter().any(|consumer| consumer.share.unsettled() < consumer.share.size())
    }
}

fn cancelling(rung: usize, channel: &Channel, consumer: &Consuming) -> Order {
    let (number, tag, channel) = (consumer.number, consumer.tag.clone(), channel.clone());
    Box::pin(async move {
        let cancelled = in_time(async { Ok(channel.basic_cancel(tag, BasicCancelOptions::default()).await?) });
        Done::Cancelled { rung, number, cancelled: cancelled.await }
    })
}

async fn in_time<T>(order: impl Future<Output = Result<T, NotDone>>) -> Result<T, NotDone> {
    tokio::time::timeout(ORDER_TIMEOUT, order).await.unwrap_or(Err(NotDone::Silent))
}
