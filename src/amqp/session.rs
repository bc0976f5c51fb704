//! One connection's life as a consumer: a channel per rung, streams that start and stop, deliveries with their attempt.
//!
//! Any channel error, a stream that ends unasked and a lost connection all end the session; the owner opens another.

use super::{
    changeover::{StandError, stand},
    connect::{ConnectError, Connector, close},
    copies::{Copies, Original},
    depths::watch_depths,
    headers::{header_bytes, replays},
    settle::{AmqpReceipt, Settler},
    topology::{Rung, Topology},
    trace,
};
use crate::{
    domain::Attempt,
    ports::{
        delivery::{Delivery, Message, Unsettled},
        health::Health,
        metrics::Metrics,
        trace::Traces,
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
use tokio::task::JoinHandle;
use tokio_util::task::AbortOnDropHandle;

/// A broker that answers neither cancel nor consume for so long is gone.
const ORDER_TIMEOUT: Duration = Duration::from_secs(10);
/// Declaring a full ladder takes a fraction of a second; a broker that is forming its cluster may take many.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the last settlements to be written, for all channels together.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How much the broker may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Nothing,
    /// One unsettled delivery per rung: enough to try whether Svix is back.
    One,
    /// Each rung's prefetch.
    Full,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Declare(#[from] StandError),
    #[error("cannot open a channel: {0}")]
    Channel(lapin::Error),
    #[error("the broker did not declare everything within {OPEN_TIMEOUT:?}")]
    Silent,
}

/// What ended a session.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error("the broker closed the channel or the connection: {0}")]
    Broker(#[from] lapin::Error),
    #[error("the broker cancelled a consumer, as when a queue is deleted")]
    Cancelled,
    #[error("the broker closed the connection")]
    Closed,
    #[error("the broker did not answer within {ORDER_TIMEOUT:?}")]
    Silent,
}

enum Incoming {
    Delivery(usize, Box<lapin::message::Delivery>),
    Failed(lapin::Error),
    /// A stream of that epoch came to its end.
    StreamEnded(u64),
    Connection(Event),
}

struct Lane {
    rung: Rung,
    queue: Arc<str>,
    channel: Channel,
    settler: Arc<Settler>,
    settling: JoinHandle<()>,
    consumer: Option<ShortString>,
    received: IntCounter,
}

/// A connection with the topology in place, consuming as its owner says.
pub struct Session {
    connection: Connection,
    lanes: Vec<Lane>,
    streams: SelectAll<BoxStream<'static, Incoming>>,
    /// Counts the changes of flow, so that the end of a stream we cancelled is not taken for a loss.
    epoch: u64,
    flow: Flow,
    copies: Arc<Copies>,
    metrics: Arc<Metrics>,
    traces: Traces,
}

impl Session {
    /// Connects, makes the topology stand and opens a channel per rung. Nothing is consumed yet.
    pub async fn open(
        connector: &Connector,
        topology: &Topology,
        copies: Arc<Copies>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        traces: Traces,
    ) -> Result<Self, OpenError> {
        let connection = connector.connect("hookbro consumer").await?;
        let opening = Self::open_on(connector, connection, topology, copies, metrics, health);
        let opened = tokio::time::timeout(OPEN_TIMEOUT, opening).await.unwrap_or(Err(OpenError::Silent));
        opened.map(|session| Self { traces, ..session })
    }

    async fn open_on(
        connector: &Connector,
        connection: Connection,
        topology: &Topology,
        copies: Arc<Copies>,
        metrics: Arc<Metrics>,
        health: Arc<Health>,
    ) -> Result<Self, OpenError> {
        for stranded in stand(connector, &connection, topology).await? {
            tracing::warn!("{stranded}");
        }
        let mut lanes = Vec::with_capacity(topology.rungs.len());
        for rung in &topology.rungs {
            let channel = connection.create_channel().await.map_err(OpenError::Channel)?;
            let (settler, settling) = Settler::start(channel.clone(), rung.prefetch, Arc::clone(&metrics));
            let received = metrics.received(rung.attempt);
            let queue = rung.queue.as_str().into();
            lanes.push(Lane { rung: rung.clone(), queue, channel, settler, settling, consumer: None, received });
        }
        let probe = connection.create_channel().await.map_err(OpenError::Channel)?;
        let depths = watch_depths(probe, topology.clone(), Arc::clone(&metrics), health);
        let mut streams = SelectAll::new();
        streams.push(connection.events_listener().map(Incoming::Connection).boxed());
        streams.push(stream::once(depths).map(Incoming::Failed).boxed());
        Ok(Self {
            connection,
            lanes,
            streams,
            epoch: 0,
            flow: Flow::Nothing,
            copies,
            metrics,
            traces: Traces::default(),
        })
    }

    /// Starts or stops consuming. What the broker sent before a stop still comes out of [`Session::next`].
    pub async fn set_flow(&mut self, flow: Flow) -> Result<(), Ended> {
        if flow == self.flow {
            return Ok(());
        }
        self.flow = flow;
        self.epoch += 1;
        tokio::time::timeout(ORDER_TIMEOUT, self.apply_flow()).await.unwrap_or(Err(Ended::Silent))
    }

    async fn apply_flow(&mut self) -> Result<(), Ended> {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(tag) = lane.consumer.take() {
                lane.channel.basic_cancel(tag, BasicCancelOptions::default()).await?;
            }
            let prefetch = match self.flow {
                Flow::Nothing => continue,
                Flow::One => 1,
                Flow::Full => lane.rung.prefetch,
            };
            lane.channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
            let tag: ShortString =
                format!("hookbro.{}.{}.{}", lane.rung.lane, lane.rung.attempt.get(), self.epoch).into();
            let queue = lane.rung.queue.as_str().into();
            let options = BasicConsumeOptions::default();
            let consumer = lane.channel.basic_consume(queue, tag.clone(), options, FieldTable::default()).await?;
            lane.consumer = Some(tag);
            let epoch = self.epoch;
            let deliveries = consumer.map(move |item| match item {
                Ok(delivery) => Incoming::Delivery(index, Box::new(delivery)),
                Err(error) => Incoming::Failed(error),
            });
            self.streams.push(deliveries.chain(stream::iter([Incoming::StreamEnded(epoch)])).boxed());
        }
        Ok(())
    }

    /// The next delivery. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Delivery<AmqpReceipt>, Ended> {
        while let Some(incoming) = self.streams.next().await {
            match incoming {
                Incoming::Delivery(lane, delivery) => return Ok(self.delivery(lane, delivery)),
                Incoming::Failed(error) | Incoming::Connection(Event::Error(error)) => return Err(error.into()),
                Incoming::StreamEnded(epoch) if epoch == self.epoch && self.flow != Flow::Nothing => {
                    return Err(if self.connected() { Ended::Cancelled } else { Ended::Closed });
                }
                Incoming::Connection(Event::ConnectionBlocked(reason)) => {
                    tracing::warn!(reason, "the broker blocks this connection");
                }
                Incoming::StreamEnded(_) | Incoming::Connection(_) => {}
            }
        }
        Err(Ended::Closed)
    }

    /// Whether the connection stands, as far as this side can tell.
    pub fn connected(&self) -> bool {
        self.connection.status().connected()
    }

    /// A delivery that has arrived already, without waiting for one.
    pub fn next_arrived(&mut self) -> Option<Delivery<AmqpReceipt>> {
        use futures_util::FutureExt as _;
        while let Some(Some(incoming)) = self.streams.next().now_or_never() {
            if let Incoming::Delivery(lane, delivery) = incoming {
                return Some(self.delivery(lane, delivery));
            }
        }
        None
    }

    fn delivery(&self, lane: usize, mut delivery: Box<lapin::message::Delivery>) -> Delivery<AmqpReceipt> {
        let lane = &self.lanes[lane];
        lane.received.inc();
        let attempt: Attempt = lane.rung.attempt;
        let trace = trace::begin(&self.traces, &delivery, &lane.queue, attempt);
        let body = std::mem::take(&mut delivery.data).into();
        let properties = &delivery.properties;
        let owned = |text: &Option<ShortString>| text.as_ref().map(|t| t.as_str().to_owned());
        let received = Instant::now();
        let message = Message {
            body,
            attempt,
            content_type: owned(properties.content_type()),
            content_encoding: owned(properties.content_encoding()),
            header_bytes: header_bytes(properties),
            replayed: replays(properties),
            received,
            trace,
            waited: lane.rung.waited,
            next_delay: lane.rung.next_delay,
            lane: lane.rung.lane,
        };
        let receipt = AmqpReceipt {
            tag: delivery.delivery_tag,
            settler: Arc::clone(&lane.settler),
            copies: Arc::clone(&self.copies),
            original: Original { delivery, queue: Arc::clone(&lane.queue), attempt, received },
        };
        Delivery { message, token: Unsettled::new(receipt, Arc::clone(&self.metrics)) }
    }

    /// Writes what is settled and says goodbye. Every token must be gone by then; the broker delivers the rest again.
    pub async fn close(self) {
        drop(self.streams);
        // Kept to the end: a dropped channel closes itself, and would race the connection's own goodbye.
        let mut channels = Vec::with_capacity(self.lanes.len());
        let mut settling = Vec::with_capacity(self.lanes.len());
        for lane in self.lanes {
            drop(lane.settler);
            channels.push(lane.channel);
            settling.push(AbortOnDropHandle::new(lane.settling));
        }
        if tokio::time::timeout(FLUSH_TIMEOUT, join_all(settling)).await.is_err() {
            tracing::warn!("some deliveries are still unsettled; the broker keeps them");
        }
        close(self.connection).await;
    }
}
