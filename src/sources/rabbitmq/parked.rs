//! The queue of parked events, and their release: one pass from the oldest event to the newest that was there when it began.
//!
//! An event that is released is published in its order and removed once that is confirmed, so that a crash repeats and never
//! loses. An event that stays parked is unsettled until the pass ends, and goes back to its old place; only its delivery tag is
//! kept, so that memory is bounded by one consumer's share. A pass that ends early takes the rest too, because its unsettled
//! events would come back behind that. One that is killed cannot, and may leave another order where more than [`FIRST_SHARE`]
//! events were to stay.

use super::{
    connect::{ConnectError, Connector, close},
    dead_letters::{
        ack_barrier::close_after_acks,
        snapshot::{IDLE, MAX_CONSUMERS},
    },
    exclusive::{LOCK_TIMEOUT, NotHeld, alone, counts, lock},
    headers::fresh_properties,
    publish::{CHANNELS, Outgoing, PublishError, Publisher},
    settings::Settings,
    topology::Topology,
};
use crate::{
    event::{Event, ProjectId},
    observe::health::Health,
    pipeline::parking::{NotPassed, Parking, Passed},
};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::try_join_all};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Events published before their confirms are waited for.
const RUN: usize = CHANNELS;
/// What the first consumer may have unsettled; the next has twice as much, so that 32 reach two million events that stay.
const FIRST_SHARE: u16 = 1_000;
/// While so many events are ready in the queue that released events enter, no more are sent there: other projects' events are in
/// the same queue.
const ENTRY_ROOM: u32 = 1_000;
/// Longest wait for that. A queue that is never shorter must not keep them parked for ever.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
const ASK_ROOM_EVERY: Duration = Duration::from_millis(50);
/// How long a pass that ends early goes on, for the order's sake: some hundred thousand events, and well within the grace of
/// a stop.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a pass ended early. What was not published and confirmed is where it was.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read queue `{queue}`: {source}")]
    Read { queue: String, source: lapin::Error },
    #[error("another process has been releasing events of queue `{queue}` for {LOCK_TIMEOUT:?}")]
    Locked { queue: String },
    #[error(
        "queue `{queue}` holds {left} events behind {kept} of paused projects, more than one pass can skip: resume some of these projects"
    )]
    TooMany { queue: String, kept: u64, left: u32 },
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// The queue of parked events.
#[derive(Debug)]
pub struct ParkedQueue {
    connector: Connector,
    publisher: Publisher,
    topology: Topology,
    health: Arc<Health>,
}

impl ParkedQueue {
    pub fn new(settings: &Settings, health: &Arc<Health>) -> Self {
        Self {
            connector: Connector::new(settings.access.clone()),
            publisher: Publisher::new(settings.access.clone(), "hookbro parked publisher"),
            topology: Topology::new(settings),
            health: Arc::clone(health),
        }
    }

    /// One pass. `stays` answers whose events stay parked, `goes_on` whether the pass goes on.
    async fn pass(
        &self,
        stays: impl Fn(&ProjectId) -> bool,
        goes_on: impl Fn() -> bool,
    ) -> Result<Passed, ReleaseError> {
        let queue = self.topology.parked();
        let read = |source| ReleaseError::Read { queue: queue.to_owned(), source };
        let connection = self.connector.connect("hookbro parked").await?;
        let passed = async {
            let channel =
                lock(&connection, &format!("{queue}.lock"), LOCK_TIMEOUT).await.map_err(|not_held| match not_held {
                    NotHeld::ByOther => ReleaseError::Locked { queue: queue.to_owned() },
                    NotHeld::Refused(source) => read(source),
                })?;
            let left = alone(&channel, queue).await.map_err(read)?;
            let mut pass =
                Pass { of: self, channel, consumers: Vec::new(), share: 0, unsettled: 0, left, released: 0, kept: 0 };
            let walked = pass.walk(stays, goes_on).await;
            let Pass { released, kept, left, .. } = pass;
            // An error that ends the connection is reported by the walk before or the close below.
            let _ = tokio::time::timeout(REST_TIMEOUT, pass.rest()).await;
            // Events that stay go back in their order with the channel. If the consumers ended before, an event on its way to
            // one of them would come back in front of them; so it would after a nack of many at once (RabbitMQ 3.10 and 4.0).
            let closed = close_after_acks(&connection, &pass.channel, queue).await;
            walked.and(closed.map_err(read)).map(|()| Passed { released, kept, left })
        };
        let passed = passed.await;
        close(connection).await;
        passed
    }
}

impl Parking for ParkedQueue {
    async fn release(
        &self,
        stays: impl Fn(&ProjectId) -> bool + Send + Sync,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> Result<Passed, NotPassed> {
        self.pass(stays, goes_on).await.map_err(|error| match error {
            ReleaseError::Locked { .. } => NotPassed::Busy,
            ReleaseError::TooMany { .. } => NotPassed::TooMany(Box::new(error)),
            other => NotPassed::Failed(Box::new(other)),
        })
    }

    fn parked(&self) -> u64 {
        self.health.queues.borrow().get(self.topology.parked()).copied().unwrap_or(0)
    }

    async fn close(&self) {
        self.publisher.close().await;
    }
}

struct Pass<'q> {
    of: &'q ParkedQueue,
    channel: Channel,
    /// All but the last have their whole share unsettled, and are sent no more. One that is dropped would be cancelled.
    consumers: Vec<Consumer>,
    /// What the last one may have unsettled, and has.
    share: u16,
    unsettled: u16,
    left: u32,
    released: u64,
    kept: u64,
}

impl Pass<'_> {
    async fn walk(
        &mut self,
        stays: impl Fn(&ProjectId) -> bool,
        goes_on: impl Fn() -> bool,
    ) -> Result<(), ReleaseError> {
        let mut run = Vec::with_capacity(RUN);
        while self.left > 0 && goes_on() {
            let arrived = self.consumers.last_mut().and_then(|consumer| consumer.next().now_or_never());
            let arrived = match arrived {
                Some(arrived) => arrived.transpose().map_err(|source| self.read(source))?,
                None => {
                    // The broker waits for these before it sends more.
                    self.send(&mut run).await?;
                    self.next().await?
                }
            };
            // Less than was counted: somebody else took some away.
            let Some(mut delivery) = arrived else { break };
            let body = Bytes::from(std::mem::take(&mut delivery.data));
            (self.unsettled, self.left) = (self.unsettled + 1, self.left - 1);
            if project_of(&body).is_some_and(|project| stays(&project)) {
                self.kept += 1;
                continue;
            }
            run.push((delivery, body));
            if run.len() == RUN {
                self.send(&mut run).await?;
            }
        }
        self.send(&mut run).await
    }

    /// Takes the rest, unread and unsettled.
    async fn rest(&mut self) -> Result<(), ReleaseError> {
        while self.left > 0 && self.next().await?.is_some() {
            (self.unsettled, self.left) = (self.unsettled + 1, self.left - 1);
        }
        Ok(())
    }

    /// Waits for the next one, from a further consumer if the last one has its whole share.
    async fn next(&mut self) -> Result<Option<Delivery>, ReleaseError> {
        if self.unsettled == self.share {
            if self.consumers.len() == MAX_CONSUMERS {
                let queue = self.of.topology.parked().to_owned();
                return Err(ReleaseError::TooMany { queue, kept: self.kept, left: self.left });
            }
            self.consume().await.map_err(|source| self.read(source))?;
        }
        let Some(consumer) = self.consumers.last_mut() else { return Ok(None) };
        let arrived = tokio::time::timeout(IDLE, consumer.next()).await.unwrap_or(None);
        arrived.transpose().map_err(|source| self.read(source))
    }

    /// Publishes a run to the queues that its events enter, and removes them once that is confirmed.
    #[expect(
        clippy::disallowed_methods,
        reason = "a parked event was settled when it was parked: it leaves by its release"
    )]
    async fn send(&mut self, run: &mut Vec<(Delivery, Bytes)>) -> Result<(), ReleaseError> {
        let mut tags = Vec::with_capacity(run.len());
        let mut outgoing: Vec<Outgoing> = Vec::with_capacity(run.len());
        for (delivery, body) in run.drain(..) {
            tags.push(delivery.delivery_tag);
            let routing_key = delivery.routing_key.to_string();
            let exchange = self.of.topology.entry(&routing_key).to_owned();
            let properties = fresh_properties(&delivery.properties);
            outgoing.push(Outgoing { exchange, routing_key, properties, body });
        }
        let Some(first) = outgoing.first() else { return Ok(()) };
        self.room(&first.exchange).await.map_err(|source| self.read(source))?;
        self.of.publisher.publish_run(&outgoing).await?;
        let acks = tags.iter().map(|tag| self.channel.basic_ack(*tag, BasicAckOptions::default()));
        try_join_all(acks).await.map_err(|source| self.read(source))?;
        self.released += tags.len() as u64;
        // They were the last consumer's: a further one begins once none waits to be sent.
        self.unsettled -= tags.len() as u16;
        Ok(())
    }

    /// Waits until the queue `entry` is short, or for [`ROOM_TIMEOUT`].
    async fn room(&self, entry: &str) -> lapin::Result<()> {
        let began = Instant::now();
        while counts(&self.channel, entry).await?.0 >= ENTRY_ROOM && began.elapsed() < ROOM_TIMEOUT {
            tokio::time::sleep(ASK_ROOM_EVERY).await;
        }
        Ok(())
    }

    async fn consume(&mut self) -> lapin::Result<()> {
        self.share = if self.consumers.is_empty() { FIRST_SHARE } else { self.share.saturating_mul(2) };
        self.unsettled = 0;
        self.channel.basic_qos(self.share, BasicQosOptions::default()).await?;
        let tag = format!("hookbro.parked.{:02}", self.consumers.len());
        let (queue, options) = (self.of.topology.parked().into(), BasicConsumeOptions::default());
        self.consumers.push(self.channel.basic_consume(queue, tag.into(), options, FieldTable::default()).await?);
        Ok(())
    }

    fn read(&self, source: lapin::Error) -> ReleaseError {
        ReleaseError::Read { queue: self.of.topology.parked().to_owned(), source }
    }
}

/// Whose event it is. A body that is no event is nobody's: it is released, and becomes a dead letter as malformed.
fn project_of(body: &Bytes) -> Option<ProjectId> {
    Event::parse(body.clone(), usize::MAX).ok().map(|event| event.project)
}
