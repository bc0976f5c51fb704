//! One connection's life as a consumer: a channel per rung, consumers that begin and end, deliveries with their attempt.
//!
//! A lost connection and a work queue that cannot be consumed end the session; the owner opens another. A retry queue that
//! cannot be consumed is tried again alone, and the other queues go on.

use super::{
    depths::{Depths, Unknown, watch_depths},
    message::{self, Origin},
    notices::{Notice, notices},
    open::{OPEN_TIMEOUT, OpenError, apply_without_spare},
    rung::{Arrival, Done, NotDone, ORDER_TIMEOUT, OpenRung, Order},
    settle::AmqpReceipt,
    shared::Shared,
    stall_detector::Flow,
};
use crate::{
    pipeline::{
        delivery::Delivery,
        source::{Demand, Occasion},
    },
    sources::rabbitmq::{
        connect::{Connector, close, is_of_a_channel},
        dead_letters::republish::QueueKind,
        headers::header_bytes,
        topology::Topology,
    },
};
use futures_util::{
    StreamExt as _,
    future::join_all,
    stream::{self, BoxStream, FuturesUnordered, SelectAll},
};
use lapin::{Channel, Connection, Consumer, Event};
use std::{sync::Arc, time::Duration, time::Instant};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

/// Longest wait for the last settlements to be written, for all channels together.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

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

/// A consumer of a rung, by its number.
#[derive(Debug, Clone, Copy)]
struct From {
    rung: usize,
    number: u64,
}

enum Incoming {
    Delivery(From, Box<lapin::message::Delivery>, Option<OwnedSemaphorePermit>),
    ConsumerFailed(From, lapin::Error),
    ConsumerEnded(From),
    Connection(Event),
    Depths(Depths),
    DepthsRefused(lapin::Error),
    /// Nobody answers the question for the depths.
    Unanswered,
    Notice(Notice),
}

/// A connection with the topology in place, consuming on its owner's demand.
pub struct Session {
    connection: Arc<Connection>,
    topology: Arc<Topology>,
    rungs: Vec<OpenRung>,
    /// The channel of the notices, and the task that settles on it.
    notices: Option<(Channel, JoinHandle<()>)>,
    streams: SelectAll<BoxStream<'static, Incoming>>,
    /// Orders to the broker that are under way.
    orders: FuturesUnordered<Order>,
    /// The number of the next consumer.
    number: u64,
    /// Hears of settlements that make room for a further consumer.
    settled: Arc<Notify>,
    /// Nothing is to be ordered until something happens.
    at_rest: bool,
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
        for stranded in apply_without_spare(connector, &connection, topology, occasion).await? {
            tracing::warn!("{stranded}");
        }
        let Shared { metrics, health, .. } = &shared;
        let settled = Arc::new(Notify::new());
        let mut rungs = Vec::with_capacity(topology.rungs.len());
        let bounds = shared.permits.0.iter().zip(&shared.budgets.queues);
        for (rung, (permits, budget)) in topology.rungs.iter().enumerate().zip(bounds) {
            let channel = connection.create_channel().await.map_err(OpenError::Channel)?;
            let open = OpenRung::new(rung, permits, channel, budget, metrics, &settled);
            if open.is_spare() {
                available(&shared, &open);
            }
            rungs.push(open);
        }
        let probe = connection.create_channel().await.map_err(OpenError::Channel)?;
        let (connection, topology) = (Arc::new(connection), Arc::new(topology.clone()));
        let (on, metrics, health) = (Arc::clone(&connection), Arc::clone(metrics), Arc::clone(health));
        let depths = watch_depths(probe, on, (*topology).clone(), metrics, health, shared.watchdog);
        let depths = depths.map(|round| match round {
            Ok(depths) => Incoming::Depths(depths),
            Err(Unknown::Refused(error)) => Incoming::DepthsRefused(error),
            Err(Unknown::Unanswered) => Incoming::Unanswered,
        });
        let mut streams = SelectAll::new();
        streams.push(connection.events_listener().map(Incoming::Connection).boxed());
        streams.push(depths.boxed());
        let notices = notices(Arc::clone(&connection), Arc::clone(&topology), shared.clone());
        streams.push(notices.map(Incoming::Notice).boxed());
        Ok(Self {
            connection,
            topology,
            rungs,
            notices: None,
            streams,
            orders: FuturesUnordered::new(),
            number: 0,
            settled,
            at_rest: true,
            demand: Demand::Nothing,
            shared,
        })
    }

    /// Says how much may be consumed. What the broker sent before a stop still comes out of [`Session::next`].
    pub async fn set_demand(&mut self, demand: Demand) -> Result<(), SessionEnded> {
        if demand != self.demand {
            // The consumer of one event stays, and others are added.
            if (self.demand, demand) != (Demand::One, Demand::Full) {
                let mut orders = Vec::new();
                self.rungs.iter_mut().for_each(|open| open.cancel(&mut orders));
                self.orders.extend(orders);
            }
            self.demand = demand;
            self.at_rest = false;
        }
        // Orders have a time limit of their own.
        while self.rungs.iter().any(OpenRung::is_cancelling)
            && let Some(done) = self.orders.next().await
        {
            self.done(done)?;
        }
        Ok(())
    }

    /// Orders what the demand asks for.
    fn order(&mut self) {
        let mut orders = Vec::new();
        self.at_rest = true;
        for open in &mut self.rungs {
            self.number += 1;
            self.at_rest &= !open.step(self.demand, self.number, &self.connection, &mut orders);
        }
        self.orders.extend(orders);
    }

    /// What has become of an order.
    fn done(&mut self, done: Done) -> Result<(), SessionEnded> {
        self.at_rest = false;
        match done {
            Done::Begun { rung, number, consumer } => match consumer {
                Ok(consumer) => self.begun(From { rung, number }, consumer),
                Err(why) => return self.lost(From { rung, number }, why),
            },
            Done::Cancelled { rung, number, cancelled } => match cancelled {
                Ok(()) => self.rungs[rung].cancelled(number),
                Err(why) => return self.lost(From { rung, number }, why),
            },
            Done::Opened { rung, channel } => match channel {
                Ok(channel) => self.rungs[rung].opened(channel),
                Err(why) => return self.trouble(rung, why),
            },
        }
        Ok(())
    }

    fn begun(&mut self, from: From, consumer: Consumer) {
        let open = &mut self.rungs[from.rung];
        let mut orders = Vec::new();
        if !open.begun(from.number, &mut orders) {
            return;
        }
        self.orders.extend(orders);
        let permits = Arc::clone(&open.permits);
        let deliveries = consumer.then(move |item| {
            let permits = Arc::clone(&permits);
            async move {
                match item {
                    // Never closed, so there always is a permit in the end.
                    Ok(delivery) => Incoming::Delivery(from, Box::new(delivery), permits.acquire_owned().await.ok()),
                    Err(error) => Incoming::ConsumerFailed(from, error),
                }
            }
        });
        self.streams.push(deliveries.chain(stream::iter([Incoming::ConsumerEnded(from)])).boxed());
        if self.rungs[from.rung].is_spare() && available(&self.shared, &self.rungs[from.rung]) {
            tracing::info!(queue = &*self.rungs[from.rung].queue, "retry queue is consumed again");
        }
    }

    /// A rung that cannot be consumed ends the session, unless the others can do without it.
    fn trouble(&mut self, rung: usize, why: NotDone) -> Result<(), SessionEnded> {
        let connected = self.connected();
        let open = &mut self.rungs[rung];
        if !(open.is_spare() && connected) {
            return Err(match why {
                NotDone::Refused(error) => error.into(),
                NotDone::Ended if connected => SessionEnded::Cancelled,
                NotDone::Ended => SessionEnded::Closed,
                NotDone::Declare(_) | NotDone::Silent => SessionEnded::Silent,
            });
        }
        self.orders.push(open.repair(&self.connection, &self.topology));
        self.shared.metrics.queue_unavailable.with_label_values(&[&open.queue]).set(1);
        let detail = why.to_string();
        if self.shared.health.queue_unavailable(&open.queue, detail.clone()) {
            tracing::warn!(
                queue = &*open.queue,
                error = detail,
                "retry queue cannot be consumed; it is tried again alone"
            );
        }
        Ok(())
    }

    /// The next delivery. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Delivery<AmqpReceipt>, SessionEnded> {
        loop {
            let incoming = if self.at_rest && self.orders.is_empty() {
                self.streams.next().await
            } else {
                if !self.at_rest {
                    self.order();
                }
                tokio::select! {
                    Some(done) = self.orders.next() => {
                        self.done(done)?;
                        continue;
                    }
                    incoming = self.streams.next() => incoming,
                    () = self.settled.notified() => continue,
                }
            };
            let Some(incoming) = incoming else { return Err(SessionEnded::Closed) };
            match incoming {
                Incoming::Delivery(from, delivery, permit) => {
                    if let Some(delivery) = self.delivery(from, delivery, permit) {
                        return Ok(delivery);
                    }
                }
                Incoming::ConsumerFailed(from, error) => self.lost(from, error.into())?,
                Incoming::ConsumerEnded(from) => {
                    self.at_rest = false;
                    if !self.rungs[from.rung].stream_ended(from.number) {
                        self.lost(from, NotDone::Ended)?;
                    }
                }
                // Whoever uses the channel gets the error as well.
                Incoming::Connection(Event::Error(error)) if is_of_a_channel(&error) => {}
                Incoming::Connection(Event::Error(error)) | Incoming::DepthsRefused(error) => return Err(error.into()),
                Incoming::Connection(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "broker blocks the consumer connection");
                }
                Incoming::Depths(depths) => self.detect_stalls(&depths)?,
                Incoming::Notice(Notice::Opened(channel, settling)) => self.notices = Some((channel, settling)),
                Incoming::Notice(Notice::Arrived(delivery)) => return Ok(*delivery),
                Incoming::Unanswered => {
                    self.shared.metrics.watchdog_reconnects.inc();
                    return Err(SessionEnded::Unanswered(self.shared.watchdog));
                }
                Incoming::Connection(_) => {}
            }
        }
    }

    /// A consumer failed, or ended unasked. One of a channel that has been given up does not matter any more.
    fn lost(&mut self, from: From, why: NotDone) -> Result<(), SessionEnded> {
        if self.rungs[from.rung].knows(from.number) { self.trouble(from.rung, why) } else { Ok(()) }
    }

    /// Finds a consumer that is owed a delivery for too long. During a halt that waits for one probe the detector runs too:
    /// from a dead consumer that event would never come.
    fn detect_stalls(&mut self, depths: &Depths) -> Result<(), SessionEnded> {
        if self.demand == Demand::Nothing {
            return Ok(());
        }
        let now = Instant::now();
        let mut orders = Vec::new();
        for open in &mut self.rungs {
            self.at_rest &= !open.grow(now, &mut orders);
            let Some(ready) = depths.get(&*open.queue) else { continue };
            match open.check(*ready, now, self.shared.watchdog) {
                Flow::Flowing => self.shared.health.consumer_flows(&open.queue),
                Flow::Unknown => {}
                Flow::Stalled(stalled) => {
                    self.shared.metrics.watchdog_reconnects.inc();
                    self.shared.health.consumer_stalled(&open.queue);
                    return Err(SessionEnded::Stalled { queue: open.queue.to_string(), stalled });
                }
            }
        }
        self.orders.extend(orders);
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
            match incoming {
                Incoming::Delivery(from, delivery, permit) => {
                    if let Some(delivery) = self.delivery(from, delivery, permit) {
                        return Some(delivery);
                    }
                }
                Incoming::Notice(Notice::Opened(channel, settling)) => self.notices = Some((channel, settling)),
                Incoming::Notice(Notice::Arrived(delivery)) => return Some(*delivery),
                // The session ends, whatever else it is.
                _ => {}
            }
        }
        None
    }

    fn delivery(
        &mut self,
        from: From,
        delivery: Box<lapin::message::Delivery>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Option<Delivery<AmqpReceipt>> {
        let open = &mut self.rungs[from.rung];
        let header_bytes = header_bytes(&delivery.properties);
        let bytes = delivery.data.len() + header_bytes;
        let arrived = match open.arrived(from.number, delivery.delivery_tag, bytes, Instant::now()) {
            Arrival::Fits { arrived, more } => {
                self.at_rest &= !more;
                arrived
            }
            Arrival::Surplus => {
                self.at_rest = false;
                return None;
            }
            Arrival::Gone => return None,
        };
        let origin = Origin {
            queue: &open.queue,
            lane: open.rung.lane,
            attempt: open.rung.attempt,
            waited: open.rung.waited,
            next_delay: open.rung.next_delay,
            kind: QueueKind::Rung,
            given_up: None,
        };
        Some(message::delivery(origin, self.shared.context(), delivery, header_bytes, arrived, permit))
    }

    /// Ends a session that is of no use any more. Unsettled deliveries keep their channel, and a channel its
    /// connection: left open, the broker would go on sending to nobody.
    pub async fn abandon(self) {
        close(self.connection).await;
    }

    /// Writes what is settled and closes the connection. Every token must be gone by then; the broker delivers the rest again.
    pub async fn close(self) {
        drop((self.streams, self.orders));
        // Kept to the end: a dropped channel closes itself, and would race the connection's own close.
        let mut channels = Vec::with_capacity(self.rungs.len());
        let mut settling = Vec::with_capacity(self.rungs.len());
        for (channel, settled) in self.rungs.into_iter().filter_map(OpenRung::close).chain(self.notices) {
            channels.push(channel);
            settling.push(AbortOnDropHandle::new(settled));
        }
        if tokio::time::timeout(FLUSH_TIMEOUT, join_all(settling)).await.is_err() {
            tracing::warn!(
                "some deliveries are still unsettled when the session closes; the broker delivers them again"
            );
        }
        close(self.connection).await;
    }
}

/// A retry queue is consumed, or about to be; true if it could not be before.
fn available(shared: &Shared, open: &OpenRung) -> bool {
    shared.metrics.queue_unavailable.with_label_values(&[&open.queue]).set(0);
    shared.health.queue_available(&open.queue)
}
