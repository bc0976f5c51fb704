//! One connection's life as a consumer: a channel per rung, streams that start and stop, deliveries with their attempt.
//!
//! Any channel error, a stream that ends unasked and a lost connection all end the session; the owner opens another.

use super::{
    depths::{Depths, Unknown, watch_depths},
    settle::{AmqpReceipt, Settler},
    stall_detector::{Flow, StallDetector},
    trace,
};
use crate::{
    event::Attempt,
    observe::{health::Health, metrics::Metrics, trace::Traces},
    pipeline::{
        delivery::{Delivery, Message, Unsettled},
        source::{Demand, Occasion},
    },
    sources::rabbitmq::{
        connect::{ConnectError, Connector, close},
        dead_letters::republish::{DEFER_LIMIT, Original, Republisher},
        headers::{header_bytes, replays, unreadable},
        topology::{
            Rung, Topology,
            changeover::{ApplyError, apply},
        },
    },
};
use futures_util::{
    StreamExt as _,
    future::join_all,
    stream::{self, BoxStream, SelectAll},
};
use lapin::{
    Channel, Connection, Event,
    options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use prometheus::IntCounter;
use std::{sync::Arc, time::Duration, time::Instant};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

/// A broker that answers neither cancel nor consume for so long is gone.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);
/// Declaring a full ladder takes a fraction of a second; a broker that is forming its cluster may take many.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the last settlements to be written, for all channels together.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// Deliveries that `rung` may have unsettled under `demand`; `None`: it is not consumed.
fn prefetch(demand: Demand, rung: &Rung) -> Option<u16> {
    match demand {
        Demand::Nothing => None,
        Demand::One => Some(1),
        Demand::Full => Some(rung.prefetch),
    }
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error("cannot open a channel: {0}")]
    Channel(lapin::Error),
    #[error("the broker did not declare everything within {OPEN_TIMEOUT:?}")]
    Silent,
}

/// What ended a session.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnded {
    #[error("the broker closed the channel or the connection: {0}")]
    Broker(#[from] lapin::Error),
    #[error("the broker cancelled a consumer, as when a queue is deleted")]
    Cancelled,
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker did not answer within {ORDER_TIMEOUT:?}")]
    Silent,
    /// Found by the stall detector: the connection lives, and a consumer on it is dead.
    #[error("the consumer of queue `{queue}` stalled: messages are ready, and the broker has sent none for {} s", stalled.as_secs())]
    Stalled { queue: String, stalled: Duration },
    #[error("the broker did not answer how many messages are in the queues for {} s", .0.as_secs())]
    Unanswered(Duration),
}

enum Incoming {
    Delivery(usize, Box<lapin::message::Delivery>, Option<OwnedSemaphorePermit>),
    Failed(lapin::Error),
    /// A stream of that epoch came to its end.
    StreamEnded(u64),
    Connection(Event),
    Depths(Depths),
    /// Nobody answers the question for the depths.
    Unanswered,
}

/// A rung with its channel open, consumed or not.
struct OpenRung {
    rung: Rung,
    permits: Arc<Semaphore>,
    queue: Arc<str>,
    channel: Channel,
    settler: Arc<Settler>,
    settling: JoinHandle<()>,
    consumer: Option<ShortString>,
    received: IntCounter,
    stall_detector: StallDetector,
}

/// Bounds the deliveries in flight of each rung, over a halt or a reconnect too, while old ones are still unsettled. One
/// bound for all of them would let a flooding lane keep the others' deliveries out.
#[derive(Debug)]
pub struct Permits(Vec<Arc<Semaphore>>);

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
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub traces: Traces,
    /// How long a queue may owe a delivery before the stall detector ends its session.
    pub watchdog: Duration,
}

/// A connection with the topology in place, consuming on its owner's demand.
pub struct Session {
    connection: Connection,
    rungs: Vec<OpenRung>,
    streams: SelectAll<BoxStream<'static, Incoming>>,
    /// Counts the changes of demand, so that the end of a stream we cancelled is not taken for a loss.
    epoch: u64,
    demand: Demand,
    shared: Shared,
}

impl Session {
    /// Connects, declares the topology and opens a channel per rung. Nothing is consumed yet.
    pub async fn open(
        connector: &Connector,
        topology: &Topology,
        occasion: Occasion,
        shared: Shared,
    ) -> Result<Self, OpenError> {
        let connection = connector.connect("hookbro consumer").await?;
        let opening = Self::open_on(connector, connection, topology, occasion, shared);
        tokio::time::timeout(OPEN_TIMEOUT, opening).await.unwrap_or(Err(OpenError::Silent))
    }

    async fn open_on(
        connector: &Connector,
        connection: Connection,
        topology: &Topology,
        occasion: Occasion,
        shared: Shared,
    ) -> Result<Self, OpenError> {
        for stranded in apply(connector, &connection, topology, occasion).await? {
            tracing::warn!("{stranded}");
        }
        let Shared { metrics, health, .. } = &shared;
        let mut rungs = Vec::with_capacity(topology.rungs.len());
        for (rung, permits) in topology.rungs.iter().zip(&shared.permits.0) {
            let channel = connection.create_channel().await.map_err(OpenError::Channel)?;
            let (settler, settling) = Settler::start(channel.clone(), rung.prefetch, Arc::clone(metrics));
            let received = metrics.received(rung.attempt);
            let queue = rung.queue.as_str().into();
            let (rung, permits) = (rung.clone(), Arc::clone(permits));
            let stall_detector = StallDetector::begin(Instant::now());
            rungs.push(OpenRung {
                rung,
                permits,
                queue,
                channel,
                settler,
                settling,
                consumer: None,
                received,
                stall_detector,
            });
        }
        let probe = connection.create_channel().await.map_err(OpenError::Channel)?;
        let depths = watch_depths(probe, topology.clone(), Arc::clone(metrics), Arc::clone(health), shared.watchdog);
        let depths = depths.map(|round| match round {
            Ok(depths) => Incoming::Depths(depths),
            Err(Unknown::Refused(error)) => Incoming::Failed(error),
            Err(Unknown::Unanswered) => Incoming::Unanswered,
        });
        let mut streams = SelectAll::new();
        streams.push(connection.events_listener().map(Incoming::Connection).boxed());
        streams.push(depths.boxed());
        Ok(Self { connection, rungs, streams, epoch: 0, demand: Demand::Nothing, shared })
    }

    /// Starts or stops consuming. What the broker sent before a stop still comes out of [`Session::next`].
    pub async fn set_demand(&mut self, demand: Demand) -> Result<(), SessionEnded> {
        if demand == self.demand {
            return Ok(());
        }
        self.demand = demand;
        self.epoch += 1;
        tokio::time::timeout(ORDER_TIMEOUT, self.apply_demand()).await.unwrap_or(Err(SessionEnded::Silent))
    }

    async fn apply_demand(&mut self) -> Result<(), SessionEnded> {
        for (index, open) in self.rungs.iter_mut().enumerate() {
            if let Some(tag) = open.consumer.take() {
                open.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
            }
            let Some(prefetch) = prefetch(self.demand, &open.rung) else { continue };
            open.channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            let tag: ShortString =
                format!("hookbro.{}.{}.{}", open.rung.lane, open.rung.attempt.get(), self.epoch).into();
            let queue = open.rung.queue.as_str().into();
            let options = BasicConsumeOptions::default();
            let consumer = open.channel.basic_consume(queue, tag.clone(), options, FieldTable::default()).await?;
            open.consumer = Some(tag);
            open.stall_detector = StallDetector::begin(Instant::now());
            let epoch = self.epoch;
            let permits = Arc::clone(&open.permits);
            let deliveries = consumer.then(move |item| {
                let permits = Arc::clone(&permits);
                async move {
                    match item {
                        // Never closed, so there always is a permit in the end.
                        Ok(delivery) => {
                            Incoming::Delivery(index, Box::new(delivery), permits.acquire_owned().await.ok())
                        }
                        Err(error) => Incoming::Failed(error),
                    }
                }
            });
            self.streams.push(deliveries.chain(stream::iter([Incoming::StreamEnded(epoch)])).boxed());
        }
        Ok(())
    }

    /// The next delivery. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Delivery<AmqpReceipt>, SessionEnded> {
        while let Some(incoming) = self.streams.next().await {
            match incoming {
                Incoming::Delivery(rung, delivery, permit) => return Ok(self.delivery(rung, delivery, permit)),
                Incoming::Failed(error) | Incoming::Connection(Event::Error(error)) => return Err(error.into()),
                Incoming::StreamEnded(epoch) if epoch == self.epoch && self.demand != Demand::Nothing => {
                    return Err(if self.connected() { SessionEnded::Cancelled } else { SessionEnded::Closed });
                }
                Incoming::Connection(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "broker blocks the consumer connection");
                }
                Incoming::Depths(depths) => self.detect_stalls(&depths)?,
                Incoming::Unanswered => {
                    self.shared.metrics.watchdog_reconnects.inc();
                    return Err(SessionEnded::Unanswered(self.shared.watchdog));
                }
                Incoming::StreamEnded(_) | Incoming::Connection(_) => {}
            }
        }
        Err(SessionEnded::Closed)
    }

    /// Finds a consumer that is owed a delivery for too long. During a halt that waits for one probe the detector runs too:
    /// from a dead consumer that event would never come.
    fn detect_stalls(&mut self, depths: &Depths) -> Result<(), SessionEnded> {
        let now = Instant::now();
        for open in &mut self.rungs {
            let Some(prefetch) = prefetch(self.demand, &open.rung) else { continue };
            let ready = depths.get(&open.rung.queue).copied().unwrap_or(0);
            // Each unsettled delivery keeps a reference to its rung's settler. Those taken before the last change of demand
            // are counted too, though the broker no longer does: then room is seen late, and never wrongly.
            let unsettled = Arc::strong_count(&open.settler) - 1;
            // Without a permit, what was sent may wait for deliveries that an earlier session left unsettled.
            let room = unsettled < usize::from(prefetch) && open.permits.available_permits() > 0;
            match open.stall_detector.check(ready, room, now, self.shared.watchdog) {
                Flow::Flowing => self.shared.health.consumer_flows(&open.rung.queue),
                Flow::Unknown => {}
                Flow::Stalled(stalled) => {
                    self.shared.metrics.watchdog_reconnects.inc();
                    self.shared.health.consumer_stalled(&open.rung.queue);
                    return Err(SessionEnded::Stalled { queue: open.rung.queue.clone(), stalled });
                }
            }
        }
        Ok(())
    }

    /// Whether the connection is open, as far as this side can tell.
    pub fn connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// A delivery that has arrived already, without waiting for one.
    pub fn next_arrived(&mut self) -> Option<Delivery<AmqpReceipt>> {
        use futures_util::FutureExt as _;
        while let Some(Some(incoming)) = self.streams.next().now_or_never() {
            if let Incoming::Delivery(rung, delivery, permit) = incoming {
                return Some(self.delivery(rung, delivery, permit));
            }
        }
        None
    }

    fn delivery(
        &mut self,
        rung: usize,
        mut delivery: Box<lapin::message::Delivery>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Delivery<AmqpReceipt> {
        let open = &mut self.rungs[rung];
        open.received.inc();
        let attempt: Attempt = open.rung.attempt;
        let trace = trace::begin(&self.shared.traces, &delivery, &open.queue, attempt);
        let body = std::mem::take(&mut delivery.data).into();
        let properties = &delivery.properties;
        let owned = |text: &Option<ShortString>| text.as_ref().map(|t| t.as_str().to_owned());
        let received = Instant::now();
        open.stall_detector.delivered(received);
        let message = Message {
            body,
            attempt,
            content_type: owned(properties.content_type()),
            content_encoding: owned(properties.content_encoding()),
            unreadable: unreadable(properties),
            header_bytes: header_bytes(properties),
            replayed: replays(properties),
            queue: Arc::clone(&open.queue),
            routing_key: delivery.routing_key.as_str().to_owned(),
            received,
            deadline: received + DEFER_LIMIT,
            trace,
            waited: open.rung.waited,
            next_delay: open.rung.next_delay,
            lane: open.rung.lane,
        };
        let receipt = AmqpReceipt {
            tag: delivery.delivery_tag,
            settler: Arc::clone(&open.settler),
            republisher: Arc::clone(&self.shared.republisher),
            original: Original { delivery, queue: Arc::clone(&open.queue), attempt, received },
            _permit: permit,
        };
        Delivery { message, token: Unsettled::new(receipt, Arc::clone(&self.shared.metrics)) }
    }

    /// Ends a session that is of no use any more. Unsettled deliveries keep their channel, and a channel its
    /// connection: left open, the broker would go on sending to nobody.
    pub async fn abandon(self) {
        close(self.connection).await;
    }

    /// Writes what is settled and closes the connection. Every token must be gone by then; the broker delivers the rest again.
    pub async fn close(self) {
        drop(self.streams);
        // Kept to the end: a dropped channel closes itself, and would race the connection's own close.
        let mut channels = Vec::with_capacity(self.rungs.len());
        let mut settling = Vec::with_capacity(self.rungs.len());
        for open in self.rungs {
            drop(open.settler);
            channels.push(open.channel);
            settling.push(AbortOnDropHandle::new(open.settling));
        }
        if tokio::time::timeout(FLUSH_TIMEOUT, join_all(settling)).await.is_err() {
            tracing::warn!(
                "some deliveries are still unsettled when the session closes; the broker delivers them again"
            );
        }
        close(self.connection).await;
    }
}
