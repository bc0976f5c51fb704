//! What was kept aside while its project was paused, on its way again: one pass from the oldest event to the newest that lay
//! there when it began.
//!
//! What may go is published in its order and taken out once that is confirmed, so that a crash repeats and never loses. What
//! may not stays in hand until the pass ends, and goes back to the front as it lay; only its place is remembered, so that
//! memory is bounded by one consumer's share. A pass that ends early takes the rest in hand too, for what it has would come
//! back behind that. One that is killed cannot, and may leave another order where more than [`FIRST_SHARE`] events were to
//! stay.

use super::{
    connect::{ConnectError, Connector, close},
    headers::fresh_properties,
    heard::close_once_heard,
    lock::{LOCK_TIMEOUT, NotHeld, lock},
    look::{IDLE, MAX_CONSUMERS, alone, stands},
    publish::{CHANNELS, Outgoing, PublishError, Publisher},
    topology::Topology,
};
use crate::event::{Event, ProjectId};
use crate::pipeline::parking::Passed;
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _, future::try_join_all};
use lapin::{
    Channel, Consumer,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use std::time::{Duration, Instant};

/// Events published before their confirms are waited for.
const RUN: usize = CHANNELS;
/// What the first consumer may have in hand; the next has twice as much, so that 32 reach two million events that stay.
const FIRST_SHARE: u16 = 1_000;
/// While so many events are ready where they enter, no more are sent there: the other projects' stand in the same line.
const ENTRY_ROOM: u32 = 1_000;
/// Longest wait for that. A line that is never shorter must not keep them for ever.
const ROOM_TIMEOUT: Duration = Duration::from_secs(1);
const ASK_ROOM_EVERY: Duration = Duration::from_millis(50);
/// How long a pass that ends early keeps on for the order's sake: some hundred thousand events, and well within the grace of
/// a stop.
const REST_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a pass ended early. What was not published and confirmed is where it was.
#[derive(Debug, thiserror::Error)]
pub enum ParkedError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot read queue `{queue}`: {source}")]
    Read { queue: String, source: lapin::Error },
    #[error("another process has been letting go of queue `{queue}` for {LOCK_TIMEOUT:?}")]
    Locked { queue: String },
    #[error(
        "queue `{queue}` holds {left} events behind {kept} of paused projects, more than are passed over: resume some of those"
    )]
    TooMany { queue: String, kept: u64, left: u32 },
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Lets go of what was kept aside.
#[derive(Debug)]
pub struct LetGo {
    pub connector: Connector,
    pub publisher: Publisher,
    pub topology: Topology,
}

impl LetGo {
    /// One pass. `stays` says whose events are passed over, `goes_on` whether the pass does.
    pub async fn pass(
        &self,
        stays: impl Fn(&ProjectId) -> bool,
        goes_on: impl Fn() -> bool,
    ) -> Result<Passed, ParkedError> {
        let queue = self.topology.parked();
        let read = |source| ParkedError::Read { queue: queue.to_owned(), source };
        let connection = self.connector.connect("hookbro parked").await?;
        let passed = async {
            let channel =
                lock(&connection, &format!("{queue}.lock"), LOCK_TIMEOUT).await.map_err(|not_held| match not_held {
                    NotHeld::ByOther => ParkedError::Locked { queue: queue.to_owned() },
                    NotHeld::Refused(source) => read(source),
                })?;
            let left = alone(&channel, queue).await.map_err(read)?;
            let mut pass =
                Pass { of: self, channel, consumers: Vec::new(), share: 0, in_hand: 0, left, gone: 0, kept: 0 };
            let walked = pass.walk(stays, goes_on).await;
            let Pass { gone, kept, left, .. } = pass;
            // An error that ends the connection has said what is wrong.
            let _ = tokio::time::timeout(REST_TIMEOUT, pass.rest()).await;
            // What stays goes back in its order with the channel. Ending the consumers before would put an event that is on its
            // way to one of them in front of it, and so would a nack of many at once (RabbitMQ 3.10 and 4.0).
            let closed = close_once_heard(&connection, &pass.channel, queue).await;
            walked.and(closed.map_err(read)).map(|()| Passed { released: gone, kept, left })
        };
        let passed = passed.await;
        close(connection).await;
        passed
    }

    pub async fn close(&self) {
        self.publisher.close().await;
    }
}

struct Pass<'l> {
    of: &'l LetGo,
    channel: Channel,
    /// All but the last have their share in hand, and are sent no more. One that is dropped would be cancelled.
    consumers: Vec<Consumer>,
    /// What the last one may have in hand, and has.
    share: u16,
    in_hand: u16,
    left: u32,
    gone: u64,
    kept: u64,
}

impl Pass<'_> {
    async fn walk(
        &mut self,
        stays: impl Fn(&ProjectId) -> bool,
        goes_on: impl Fn() -> bool,
    ) -> Result<(), ParkedError> {
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
            (self.in_hand, self.left) = (self.in_hand + 1, self.left - 1);
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

    /// Takes what is left in hand, without a look at it.
    async fn rest(&mut self) -> Result<(), ParkedError> {
        while self.left > 0 && self.next().await?.is_some() {
            (self.in_hand, self.left) = (self.in_hand + 1, self.left - 1);
        }
        Ok(())
    }

    /// Waits for the next one, from a further consumer if the last one has its share in hand.
    async fn next(&mut self) -> Result<Option<Delivery>, ParkedError> {
        if self.in_hand == self.share {
            if self.consumers.len() == MAX_CONSUMERS {
                let queue = self.of.topology.parked().to_owned();
                return Err(ParkedError::TooMany { queue, kept: self.kept, left: self.left });
            }
            self.consume().await.map_err(|source| self.read(source))?;
        }
        let Some(consumer) = self.consumers.last_mut() else { return Ok(None) };
        let arrived = tokio::time::timeout(IDLE, consumer.next()).await.unwrap_or(None);
        arrived.transpose().map_err(|source| self.read(source))
    }

    /// Publishes a run where its events enter, and takes them out once that is confirmed.
    async fn send(&mut self, run: &mut Vec<(Delivery, Bytes)>) -> Result<(), ParkedError> {
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
        self.gone += tags.len() as u64;
        // They were the last consumer's: a further one begins once none waits to be sent.
        self.in_hand -= tags.len() as u16;
        Ok(())
    }

    /// Waits until the line at `entry` is short, or for [`ROOM_TIMEOUT`].
    async fn room(&self, entry: &str) -> lapin::Result<()> {
        let began = Instant::now();
        while stands(&self.channel, entry).await?.0 >= ENTRY_ROOM && began.elapsed() < ROOM_TIMEOUT {
            tokio::time::sleep(ASK_ROOM_EVERY).await;
        }
        Ok(())
    }

    async fn consume(&mut self) -> lapin::Result<()> {
        self.share = if self.consumers.is_empty() { FIRST_SHARE } else { self.share.saturating_mul(2) };
        self.in_hand = 0;
        self.channel.basic_qos(self.share, BasicQosOptions::default()).await?;
        let tag = format!("hookbro.parked.{:02}", self.consumers.len());
        let (queue, options) = (self.of.topology.parked().into(), BasicConsumeOptions::default());
        self.consumers.push(self.channel.basic_consume(queue, tag.into(), options, FieldTable::default()).await?);
        Ok(())
    }

    fn read(&self, source: lapin::Error) -> ParkedError {
        ParkedError::Read { queue: self.of.topology.parked().to_owned(), source }
    }
}

/// Whose event it is. What is no event is nobody's, and finds its end where all such do.
fn project_of(body: &Bytes) -> Option<ProjectId> {
    Event::parse(body.clone(), usize::MAX).ok().map(|event| event.project)
}
