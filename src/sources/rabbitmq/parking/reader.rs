//! The queue of parked events as operators' changes read it: message by message, each unsettled until it is removed or the
//! reading ends. Beside it, hookbro goes on to take events from the same queue.

use super::index::IndexError;
use crate::sources::rabbitmq::{
    connect::{ConnectError, not_found},
    dead_letters::ack_barrier::close_after_acks,
    exclusive::counts,
    publish::PublishError,
    transfer::{Claim, Reader},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use lapin::{
    Channel, Connection,
    message::{BasicGetMessage, Delivery},
    options::{BasicAckOptions, BasicGetOptions},
};
use tokio::task::JoinError;

/// Why parked events cannot be read or moved.
#[derive(Debug, thiserror::Error)]
pub(super) enum LotError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("cannot read queue `{queue}`: {source}")]
    Read { queue: String, source: lapin::Error },
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("moving a parked event ended in a defect of hookbro: {0}")]
    Defect(#[from] JoinError),
}

/// One reading of a queue, from its oldest message to the newest that was there at the beginning.
pub(super) struct LotReader<'c> {
    connection: &'c Connection,
    channel: Channel,
    queue: String,
    /// The message that was asked for. Kept, since whoever waits for it may turn to something else first.
    asked: Option<BoxFuture<'static, lapin::Result<Option<BasicGetMessage>>>>,
    left: u32,
}

impl<'c> LotReader<'c> {
    /// None: there is no such queue.
    pub(super) async fn open(connection: &'c Connection, queue: String) -> Result<Option<Self>, LotError> {
        let opened = async {
            let channel = connection.create_channel().await?;
            let (left, _) = counts(&channel, &queue).await?;
            Ok((channel, left))
        };
        match opened.await {
            Ok((channel, left)) => Ok(Some(Self { connection, channel, queue, asked: None, left })),
            Err(error) if not_found(&error).is_some() => Ok(None),
            Err(source) => Err(LotError::Read { queue, source }),
        }
    }

    fn failed(&self, source: lapin::Error) -> LotError {
        LotError::Read { queue: self.queue.clone(), source }
    }
}

impl Reader for LotReader<'_> {
    type Message = Delivery;
    type Error = LotError;

    fn left(&self) -> u32 {
        self.left
    }

    async fn next(&mut self) -> Result<Option<Delivery>, LotError> {
        if self.left == 0 {
            return Ok(None);
        }
        let asked = self.asked.get_or_insert_with(|| {
            let (channel, queue) = (self.channel.clone(), self.queue.clone());
            async move { channel.basic_get(queue.into(), BasicGetOptions::default()).await }.boxed()
        });
        let taken = asked.await;
        self.asked = None;
        let taken = taken.map_err(|source| self.failed(source))?;
        // hookbro may have taken others meanwhile.
        self.left = if taken.is_some() { self.left - 1 } else { 0 };
        Ok(taken.map(|taken| taken.delivery))
    }

    #[expect(clippy::disallowed_methods, reason = "an operator's decision, not a verdict: its successor is confirmed")]
    async fn remove(&mut self, claim: Claim) -> Result<(), LotError> {
        let acked = self.channel.basic_ack(claim.0, BasicAckOptions::default()).await;
        acked.map_err(|source| self.failed(source))
    }

    async fn close_after_removing(self) -> Result<(), LotError> {
        let closed = close_after_acks(self.connection, &self.channel, &self.queue).await;
        closed.map_err(|source| self.failed(source))
    }
}
