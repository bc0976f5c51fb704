//! The migration to other queue arguments, without losing a message. Arguments cannot change in place, so each queue that differs
//! is emptied into a holding queue, deleted, declared again, and gets its messages back.
//!
//! Every event always has a queue: the holding queue is bound before the old one is unbound, and the new one before the
//! holding one is deleted. Every move is a confirmed publish and then an ack, so a crash repeats; a second run continues
//! from there. A work queue is only touched when nobody consumes it: a replica's unacknowledged deliveries cannot be seen, and
//! would be lost with the queue. Delay queues have no consumers and move while replicas are up.
//!
//! Lanes change first: the bindings of a queue must be known before they are moved, and deleting a queue deletes unknown
//! bindings with it.

use super::{
    Queue, Topology,
    changeover::{ApplyError, ROUTING_GRACE, apply},
    declare::{DeclareError, declare, differences},
};
use crate::{
    pipeline::source::Occasion,
    sources::rabbitmq::{
        connect::{ConnectError, Connector, close, not_found},
        exclusive::{LOCK_TIMEOUT, NotHeld, lock},
        headers::portable,
        publish::{PublishError, Publisher},
    },
};
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{
        BasicAckOptions, BasicGetOptions, ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::FieldTable,
};

/// Behind the name of a queue whose messages are being moved.
const HOLDING: &str = ".migrating";
/// How often a queue is emptied before it is given up on: nothing is bound to it any more, so once is enough.
const MOST_POURS: usize = 3;

/// Why a migration stopped. What was moved so far is safe; run it again.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Declare(#[from] DeclareError),
    #[error(transparent)]
    Apply(#[from] ApplyError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error("the broker refused while moving queue `{queue}`: {source}")]
    Broker { queue: String, source: lapin::Error },
    #[error(
        "queue `{queue}` has {consumers} consumers, whose deliveries in flight would be lost with it: stop the replicas, or \
         whoever else reads it, and run this again"
    )]
    Consumed { queue: String, consumers: u32 },
    #[error("another process has been reading queue `{queue}` for {LOCK_TIMEOUT:?}: run this again when it is done")]
    Locked { queue: String },
    #[error(
        "queue `{queue}` receives messages all the while, past its bindings: find out who publishes to it, and run this again"
    )]
    NeverEmpty { queue: String },
}

/// One run. Owns its connections.
pub struct Migration<'t> {
    topology: &'t Topology,
    connector: Connector,
    connection: Connection,
    publisher: Publisher,
}

impl<'t> Migration<'t> {
    pub async fn open(
        connector: Connector,
        publisher: Publisher,
        topology: &'t Topology,
    ) -> Result<Self, MigrateError> {
        let connection = connector.connect("hookbro migrate").await?;
        Ok(Self { topology, connector, connection, publisher })
    }

    /// The queues that exist with other arguments, or that an earlier run has left half moved.
    pub async fn plan(&self) -> Result<Vec<&'t Queue>, MigrateError> {
        let differing = differences(&self.connection, self.topology).await?;
        let mut plan = Vec::new();
        for queue in &self.topology.queues {
            let object = format!("queue `{}`", queue.name);
            let differs = differing.iter().any(|found| found.object == object && found.blocks());
            if differs || self.counts(&holding(queue)).await?.is_some() {
                plan.push(queue);
            }
        }
        Ok(plan)
    }

    /// Declares everything but the planned queues, lanes included, so that only the bindings of the topology lead to them.
    /// Changes nothing if one of them may not be moved.
    pub async fn prepare(&self, plan: &[&Queue]) -> Result<(), MigrateError> {
        let mut around = self.topology.clone();
        for queue in plan {
            if self.is_work(queue) {
                self.refuse_consumed(queue).await?;
            }
            around.queues.retain(|other| other.name != queue.name);
            if self.counts(&queue.name).await?.is_none() {
                // An earlier run has deleted it: its messages, old and new, are in its holding queue.
                let to_it = around.bindings.iter_mut().filter(|binding| binding.queue == queue.name);
                to_it.for_each(|binding| binding.queue = holding(queue));
            }
        }
        // Messages left in old lanes are reported by the next process that starts.
        apply(&self.connector, &self.connection, &around, Occasion::Start).await?;
        Ok(())
    }

    /// Moves one queue of a prepared plan to the arguments that the topology asks for; answers how many messages moved with
    /// it.
    pub async fn migrate(&self, queue: &Queue) -> Result<u64, MigrateError> {
        if self.keeps(queue) {
            // A reader has all of it unsettled, which cannot be seen.
            self.lock(&queue.name).await?;
        }
        if self.keeps(queue) || self.is_work(queue) {
            self.refuse_consumed(queue).await?;
        }
        let holding = holding(queue);
        self.make_holding(&holding).await?;
        self.rebind(queue, &queue.name, &holding).await?;
        // A message that was being routed when the binding was removed is still on its way to the queue.
        tokio::time::sleep(ROUTING_GRACE).await;
        self.empty(&queue.name, &holding).await?;
        let channel = self.channel(&queue.name).await?;
        let deleted = channel.queue_delete(queue.name.as_str().into(), QueueDeleteOptions::default()).await;
        deleted.map_err(broker(&queue.name))?;
        // Declares the one queue that is missing now, and binds it; the rest exists.
        declare(&self.connection, &self.topology.only(queue)).await?;
        self.rebind(queue, &holding, &queue.name).await?;
        tokio::time::sleep(ROUTING_GRACE).await;
        let moved = self.empty(&holding, self.topology.filled_by(&queue.name)).await?;
        channel.queue_delete(holding.as_str().into(), QueueDeleteOptions::default()).await.map_err(broker(&holding))?;
        let gone = channel.exchange_delete(holding.as_str().into(), ExchangeDeleteOptions::default()).await;
        gone.map_err(broker(&holding))?;
        Ok(moved)
    }

    pub async fn close(self) {
        self.publisher.close().await;
        close(self.connection).await;
    }

    /// Whether replicas consume it.
    fn is_work(&self, queue: &Queue) -> bool {
        queue.name == self.topology.moved() || self.topology.rungs.iter().any(|rung| rung.queue == queue.name)
    }

    /// Whether its messages stay until a reader removes them.
    fn keeps(&self, queue: &Queue) -> bool {
        [self.topology.dead(), self.topology.parked()].contains(&queue.name.as_str())
    }

    /// Takes the lock of `queue`, as every reader does. Held until the migration closes.
    async fn lock(&self, queue: &str) -> Result<(), MigrateError> {
        let locked = lock(&self.connection, &self.topology.lock(queue), LOCK_TIMEOUT).await;
        locked.map(drop).map_err(|not_held| match not_held {
            NotHeld::ByOther => MigrateError::Locked { queue: queue.to_owned() },
            NotHeld::Refused(source) => broker(queue)(source),
        })
    }

    async fn refuse_consumed(&self, queue: &Queue) -> Result<(), MigrateError> {
        match self.counts(&queue.name).await? {
            Some((_, consumers)) if consumers > 0 => {
                Err(MigrateError::Consumed { queue: queue.name.clone(), consumers })
            }
            _ => Ok(()),
        }
    }

    /// A durable queue without arguments that matter, behind a fanout exchange of its name: the routing key survives.
    async fn make_holding(&self, name: &str) -> Result<(), MigrateError> {
        let channel = self.channel(name).await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange =
            channel.exchange_declare(name.into(), ExchangeKind::Fanout, durable, FieldTable::default()).await;
        exchange.map_err(broker(name))?;
        // A queue that an earlier run has left, perhaps of an earlier version, is used as it is.
        if self.counts(name).await?.is_none() {
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let queue = Queue::holding(name.to_owned());
            channel.queue_declare(name.into(), durable, queue.table()).await.map_err(broker(name))?;
        }
        let bound =
            channel.queue_bind(name.into(), name.into(), "".into(), QueueBindOptions::default(), FieldTable::default());
        bound.await.map_err(broker(name))
    }

    /// What leads to `queue` in the topology leads to `to` from now on, and no longer to `from`.
    async fn rebind(&self, queue: &Queue, from: &str, to: &str) -> Result<(), MigrateError> {
        let channel = self.channel(to).await?;
        let bindings = self.topology.bindings.iter().filter(|binding| binding.queue == queue.name);
        for binding in bindings.clone() {
            let (exchange, key) = (binding.exchange.as_str().into(), binding.routing_key.as_str().into());
            let bound =
                channel.queue_bind(to.into(), exchange, key, QueueBindOptions::default(), FieldTable::default());
            bound.await.map_err(broker(to))?;
        }
        for binding in bindings {
            let (exchange, key) = (binding.exchange.as_str().into(), binding.routing_key.as_str().into());
            let unbound = channel.queue_unbind(from.into(), exchange, key, FieldTable::default());
            unbound.await.map_err(broker(from))?;
        }
        Ok(())
    }

    /// Pours until the broker counts nothing ready in `from`, which is deleted next.
    async fn empty(&self, from: &str, to: &str) -> Result<u64, MigrateError> {
        let mut moved = 0;
        for _ in 0..MOST_POURS {
            moved += self.pour(from, to).await?;
            if self.counts(from).await?.is_none_or(|(ready, _)| ready == 0) {
                return Ok(moved);
            }
        }
        Err(MigrateError::NeverEmpty { queue: from.to_owned() })
    }

    /// Moves every message of `from` to the fanout exchange `to`, one confirmed at a time.
    #[expect(
        clippy::disallowed_methods,
        reason = "a migration moves messages and settles no event: the copy is confirmed before"
    )]
    async fn pour(&self, from: &str, to: &str) -> Result<u64, MigrateError> {
        let mut moved = 0;
        if self.counts(from).await?.is_none() {
            return Ok(moved);
        }
        let channel = self.channel(from).await?;
        loop {
            let got = channel.basic_get(from.into(), BasicGetOptions::default()).await.map_err(broker(from))?;
            let Some(delivery) = got.map(|got| got.delivery) else { return Ok(moved) };
            let key = delivery.routing_key.as_str();
            self.publisher.publish(to, key, portable(&delivery.properties), &delivery.data).await?;
            let acked = channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await;
            acked.map_err(broker(from))?;
            moved += 1;
        }
    }

    /// Messages ready and consumers of a queue; none if it does not exist.
    async fn counts(&self, name: &str) -> Result<Option<(u32, u32)>, MigrateError> {
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        let channel = self.channel(name).await?;
        match channel.queue_declare(name.into(), passive, FieldTable::default()).await {
            Ok(queue) => Ok(Some((queue.message_count(), queue.consumer_count()))),
            Err(error) if not_found(&error).is_some() => Ok(None),
            Err(error) => Err(broker(name)(error)),
        }
    }

    async fn channel(&self, queue: &str) -> Result<Channel, MigrateError> {
        self.connection.create_channel().await.map_err(broker(queue))
    }
}

fn holding(queue: &Queue) -> String {
    format!("{}{HOLDING}", queue.name)
}

fn broker(queue: &str) -> impl FnOnce(lapin::Error) -> MigrateError {
    move |source| MigrateError::Broker { queue: queue.to_owned(), source }
}
