//! Notices of events that the broker itself has moved to the dead-letter queue. Each notice is a copy of such an event, in a
//! queue beside that one, so that nobody has to look at the dead letters. It becomes a delivery that is given up already, and is
//! counted, logged and written down like any other.
//!
//! Read whatever the demand: a halt is no reason not to say what is given up. Trouble with it is its own; the session goes on.

use super::{
    message::{Arrived, Origin, delivery},
    rung::{NotDone, ORDER_TIMEOUT},
    settle::{AmqpReceipt, Settler},
    shared::Shared,
};
use crate::{
    event::Cause,
    pipeline::{backoff::Backoff, delivery::Delivery},
    sources::rabbitmq::{
        dead_letters::republish::QueueKind,
        death::Death,
        headers::{header_bytes, is_dead_copy},
        topology::{Topology, declare::declare},
    },
};
use futures_util::{
    StreamExt as _,
    stream::{self, Stream},
};
use lapin::{
    Channel, Connection, Consumer,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// One at a time: they are rare, and each is a whole event in memory.
const PREFETCH: u16 = 1;

/// Shortest wait before another try. A queue that is declared while the broker still deletes it costs the whole connection
/// (541), and notices can wait.
const AGAIN: Duration = Duration::from_secs(1);

/// What the reading of notices comes to.
pub(super) enum Notice {
    /// Their channel, and the task that settles on it: to be kept until that has ended.
    Opened(Channel, JoinHandle<()>),
    Arrived(Box<Delivery<AmqpReceipt>>),
}

/// Reads notices on a channel of its own for as long as the connection lives.
pub(super) fn notices(
    connection: Arc<Connection>,
    topology: Arc<Topology>,
    shared: Shared,
) -> impl Stream<Item = Notice> + Send + 'static {
    let reader = NoticeReader { connection, topology, shared, open: None, backoff: Backoff::new() };
    stream::unfold(reader, |mut reader| async move { Some((reader.next().await, reader)) })
}

struct NoticeReader {
    connection: Arc<Connection>,
    topology: Arc<Topology>,
    shared: Shared,
    open: Option<(Consumer, Arc<Settler>)>,
    backoff: Backoff,
}

impl NoticeReader {
    async fn next(&mut self) -> Notice {
        loop {
            let ended = match &mut self.open {
                None => match self.open().await {
                    Ok(opened) => return opened,
                    Err(why) => why,
                },
                Some((consumer, settler)) => match consumer.next().await {
                    Some(Ok(message)) => {
                        let settler = Arc::clone(settler);
                        match self.arrived(message, settler) {
                            Some(notice) => return notice,
                            None => continue,
                        }
                    }
                    Some(Err(error)) => error.into(),
                    None => NotDone::Ended,
                },
            };
            self.open = None;
            self.unavailable(&ended).await;
        }
    }

    async fn open(&mut self) -> Result<Notice, NotDone> {
        let queue = self.topology.moved();
        let opening = async {
            if let Some(declared) = self.topology.queues.iter().find(|declared| declared.name == queue) {
                declare(&self.connection, &self.topology.only(declared)).await?;
            }
            let channel = self.connection.create_channel().await?;
            channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
            let (tag, options) = ("hookbro.notices".into(), BasicConsumeOptions::default());
            let consumer = channel.basic_consume(queue.into(), tag, options, FieldTable::default()).await?;
            Ok((channel, consumer))
        };
        let opened: Result<_, NotDone> =
            tokio::time::timeout(ORDER_TIMEOUT, opening).await.unwrap_or(Err(NotDone::Silent));
        let (channel, consumer) = opened?;
        let (settler, settling) = Settler::start(channel.clone(), PREFETCH, Arc::clone(&self.shared.metrics));
        self.open = Some((consumer, settler));
        self.backoff.reset();
        self.shared.metrics.queue_unavailable.with_label_values(&[queue]).set(0);
        if self.shared.health.queue_available(queue) {
            tracing::info!(queue, "queue of notices is consumed again");
        }
        Ok(Notice::Opened(channel, settling))
    }

    /// Says that notices cannot be read, and waits before the next try; for ever if the session is about to end.
    async fn unavailable(&mut self, why: &NotDone) {
        let queue = self.topology.moved();
        // The connection's own error may come a moment later.
        tokio::time::sleep(self.backoff.next_wait().max(AGAIN)).await;
        if !self.connection.status().connected() {
            return std::future::pending().await;
        }
        self.shared.metrics.queue_unavailable.with_label_values(&[queue]).set(1);
        if self.shared.health.queue_unavailable(queue, why.to_string()) {
            tracing::warn!(
                queue,
                error = %why,
                "queue of notices cannot be consumed; what the broker itself gives up is not counted until it can"
            );
        }
    }

    /// The delivery that a message announces; none if it announces nothing that the broker has done.
    fn arrived(&self, message: lapin::message::Delivery, settler: Arc<Settler>) -> Option<Notice> {
        let Some(death) = Death::by_broker(&message.properties, is_dead_copy(&message.properties), &self.topology)
        else {
            let key = message.routing_key.as_str();
            tracing::debug!(routing_key = key, "somebody else published a dead letter; hookbro does not count it");
            settler.remove(message.delivery_tag);
            return None;
        };
        let header_bytes = header_bytes(&message.properties);
        let held = self.shared.budgets.parked.hold(message.data.len() + header_bytes);
        let origin = Origin {
            queue: &death.queue.as_str().into(),
            lane: self.topology.rungs.iter().find(|rung| rung.queue == death.queue).map_or(0, |rung| rung.lane),
            attempt: death.attempt,
            waited: Duration::ZERO,
            next_delay: None,
            kind: QueueKind::Notices,
            given_up: Some(Cause { status: None, detail: death.to_string() }),
        };
        let arrived = Arrived { settler, taken: None, held };
        let (context, message) = (self.shared.context(), Box::new(message));
        Some(Notice::Arrived(Box::new(delivery(origin, context, message, header_bytes, arrived, None))))
    }
}
