//! The migration to other queue arguments, without losing a message. Arguments cannot change in place, so each queue that differs
//! is emptied into a holding queue, deleted, declared again, and gets its messages back.
//!
//! Every event always has a queue: the holding queue is bound before the old one is unbound, and the new one before the
//! holding one is deleted. So if a replica with the old settings binds the old queue again, all that enters it is in the holding
//! queue too. Every move is a confirmed publish and then an ack, so a crash repeats; a second run continues from there. No queue
//! is deleted before [`emptiness`](super::emptiness) has proved that nothing is left in it, not even on its way to the next
//! queue. Delay queues have no consumers and move while replicas are up: their holding queues have the new arguments, and
//! retries go on from there if the proof does not come. A work queue is only touched when nobody consumes it.
//!
//! Lanes change first: the bindings of a queue must be known before they are moved, and deleting a queue deletes unknown
//! bindings with it.

use super::{
    Binding, Queue, Topology,
    changeover::{ApplyError, ROUTING_GRACE, apply},
    declare::{DeclareError, declare, differences},
    emptiness::{NotProved, PROOF_TIMEOUT, nobody_holds, nothing_is_left},
    management::{Management, ManagementError},
};
use crate::{
    pipeline::source::Occasion,
    sources::rabbitmq::{
        connect::{ConnectError, Connector, close, not_found},
        exclusive::{LOCK_TIMEOUT, NotHeld, lock},
        headers::portable,
        publish::{PublishError, Publisher},
        settings::Settings,
    },
};
use futures_util::{StreamExt as _, stream};
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
/// Queues that move at the same time: each waits for the broker's samples most of the while, and has a few channels.
const AT_ONCE: usize = 16;

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
    #[error(transparent)]
    Management(#[from] ManagementError),
    #[error("the broker refused while moving queue `{queue}`: {source}")]
    Broker { queue: String, source: lapin::Error },
    #[error(
        "events may be on their way from queue `{queue}` to the next one, which AMQP does not show, and they would be deleted with \
         it: set broker.management_url, such as http://HOST:15672, so that RabbitMQ's management API can be asked"
    )]
    Unseen { queue: String },
    #[error(
        "queue `{queue}` has {consumers} consumers, whose deliveries in flight would be lost with it: stop the replicas, or \
         whoever else reads it, and run this again"
    )]
    Consumed { queue: String, consumers: u32 },
    #[error("another process has been reading queue `{queue}` for {LOCK_TIMEOUT:?}: run this again when it is done")]
    Locked { queue: String },
    #[error("another `topology migrate` has been running for {LOCK_TIMEOUT:?}: run this again when it is done")]
    Running,
    #[error(
        "queue `{queue}` receives messages all the while, past its bindings: find out who publishes to it, and run this again"
    )]
    NeverEmpty { queue: String },
    #[error(
        "{PROOF_TIMEOUT:?} were not enough for the last {messages} messages of queue `{queue}`: somebody holds them, or they are on \
         their way to a queue that does not take them; see that it does, and run this again. The queue is not deleted"
    )]
    Left { queue: String, messages: u64 },
    #[error(
        "in {PROOF_TIMEOUT:?} the broker has not said what is left in queue `{queue}`: it may be busy, without its collector of \
         metrics, or another one than broker.management_url leads to; run this again. The queue is not deleted"
    )]
    Unsampled { queue: String },
}

/// A queue that has to move.
#[derive(Debug, Clone, Copy)]
pub struct Planned<'t> {
    pub queue: &'t Queue,
    /// The old one exists, with other arguments. If not, an earlier run has left its messages in the holding queue.
    differs: bool,
}

/// One run. Owns its connections.
pub struct Migration<'t> {
    topology: &'t Topology,
    connector: Connector,
    connection: Connection,
    publisher: Publisher,
    management: Option<Management>,
}

impl<'t> Migration<'t> {
    pub async fn open(settings: &Settings, topology: &'t Topology) -> Result<Self, MigrateError> {
        let management = Management::new(settings)?;
        let connector = Connector::new(settings.access.clone());
        let connection = connector.connect("hookbro migrate").await?;
        let publisher = Publisher::new(settings.access.clone(), "hookbro migrate");
        Ok(Self { topology, connector, connection, publisher, management })
    }

    /// Waits for the migration of another process. From then on this one is alone, until it closes.
    pub async fn take_turn(&self) -> Result<(), MigrateError> {
        let name = format!("{}.migrate.lock", self.topology.work_queue());
        let locked = lock(&self.connection, &name, LOCK_TIMEOUT).await;
        locked.map(drop).map_err(|not_held| match not_held {
            NotHeld::ByOther => MigrateError::Running,
            NotHeld::Refused(source) => broker(&name)(source),
        })
    }

    /// The queues that exist with other arguments, or that an earlier run has left half moved.
    pub async fn plan(&self) -> Result<Vec<Planned<'t>>, MigrateError> {
        let differing = differences(&self.connection, self.topology).await?;
        let mut plan = Vec::new();
        for queue in &self.topology.queues {
            let object = format!("queue `{}`", queue.name);
            let differs = differing.iter().any(|found| found.object == object && found.blocks());
            if differs || self.counts(&holding(queue)).await?.is_some() {
                plan.push(Planned { queue, differs });
            }
        }
        Ok(plan)
    }

    /// Declares everything but the planned queues, lanes included, so that only the bindings of the topology lead to them.
    /// Changes nothing if one of them may not be moved.
    pub async fn prepare(&self, plan: &[Planned<'_>]) -> Result<(), MigrateError> {
        let mut around = self.topology.clone();
        for Planned { queue, .. } in plan {
            if queue.dead_letters() {
                // Asked for the answer alone: a user without rights is found out before anything moves.
                self.management(queue)?.sample(&queue.name).await?;
            }
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

    /// Moves the queues of a prepared plan to the arguments that the topology asks for; answers in its order how many messages
    /// moved with each. One that does not move stops no other.
    pub async fn migrate(&self, plan: &[Planned<'_>]) -> Vec<Result<u64, MigrateError>> {
        let moving: Vec<_> = plan.iter().map(|planned| self.migrate_one(*planned)).collect();
        stream::iter(moving).buffered(AT_ONCE).collect().await
    }

    async fn migrate_one(&self, Planned { queue, differs }: Planned<'_>) -> Result<u64, MigrateError> {
        let holding = holding(queue);
        if self.keeps(queue) {
            // A reader has all of it unsettled, which cannot be seen.
            self.lock(&queue.name).await?;
        }
        let mut aside = 0;
        if differs {
            if self.keeps(queue) || self.is_work(queue) {
                self.refuse_consumed(queue).await?;
            }
            self.make_holding(queue).await?;
            self.rebind(&self.leading_to(queue).await?, &queue.name, &holding).await?;
            aside = self.retire(&queue.name, &holding, queue.dead_letters()).await?;
        }
        // Declares the one queue that is missing now, and binds it; the rest exists. At once: replicas notice that it is gone.
        declare(&self.connection, &self.topology.only(queue)).await?;
        self.rebind(&self.leading_to(queue).await?, &holding, &queue.name).await?;
        let back = self.retire(&holding, self.topology.filled_by(&queue.name), queue.delays()).await?;
        let channel = self.channel(&holding).await?;
        let gone = channel.exchange_delete(holding.as_str().into(), ExchangeDeleteOptions::default()).await;
        gone.map_err(broker(&holding))?;
        // What waited may have gone on from the holding queue, and what came meanwhile is only there.
        Ok(aside.max(back))
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

    fn management(&self, queue: &Queue) -> Result<&Management, MigrateError> {
        self.management.as_ref().ok_or_else(|| MigrateError::Unseen { queue: queue.name.clone() })
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

    /// The holding queue, behind a fanout exchange of its name: the routing key survives.
    async fn make_holding(&self, of: &Queue) -> Result<(), MigrateError> {
        let name = holding(of);
        let name = name.as_str();
        let channel = self.channel(name).await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange =
            channel.exchange_declare(name.into(), ExchangeKind::Fanout, durable, FieldTable::default()).await;
        exchange.map_err(broker(name))?;
        // A queue that an earlier run has left, perhaps of an earlier version, is used as it is.
        if self.counts(name).await?.is_none() {
            let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
            let queue = Queue::holding(name.to_owned(), of);
            channel.queue_declare(name.into(), durable, queue.table()).await.map_err(broker(name))?;
        }
        let bound =
            channel.queue_bind(name.into(), name.into(), "".into(), QueueBindOptions::default(), FieldTable::default());
        bound.await.map_err(broker(name))
    }

    /// What leads to `queue` or to its holding queue: the topology's bindings, and those that the broker has beside, such as one
    /// of a key that is no longer configured.
    async fn leading_to(&self, queue: &Queue) -> Result<Vec<Binding>, MigrateError> {
        let holding = holding(queue);
        let ours = self.topology.bindings.iter().filter(|binding| binding.queue == queue.name);
        let mut leading: Vec<_> = ours.cloned().collect();
        if let Some(management) = &self.management {
            leading.extend(management.bindings(&queue.name).await?);
            leading.extend(management.bindings(&holding).await?);
        }
        leading.retain(|binding| binding.exchange != holding);
        leading.sort_unstable_by(|one, other| lead(one).cmp(&lead(other)));
        leading.dedup_by(|one, other| lead(one) == lead(other));
        Ok(leading)
    }

    /// What leads to `from` leads to `to` from now on.
    async fn rebind(&self, leading: &[Binding], from: &str, to: &str) -> Result<(), MigrateError> {
        let channel = self.channel(to).await?;
        for binding in leading {
            let (exchange, key) = (binding.exchange.as_str().into(), binding.routing_key.as_str().into());
            let bound =
                channel.queue_bind(to.into(), exchange, key, QueueBindOptions::default(), FieldTable::default());
            bound.await.map_err(broker(to))?;
        }
        for binding in leading {
            let (exchange, key) = (binding.exchange.as_str().into(), binding.routing_key.as_str().into());
            let unbound = channel.queue_unbind(from.into(), exchange, key, FieldTable::default());
            unbound.await.map_err(broker(from))?;
        }
        Ok(())
    }

    /// Empties `from`, to which nothing is bound any more, into the exchange `to`, and deletes it. Without proof that nothing is
    /// left in it, it stays.
    async fn retire(&self, from: &str, to: &str, dead_letters: bool) -> Result<u64, MigrateError> {
        if self.counts(from).await?.is_none() {
            return Ok(0);
        }
        // A message that was being routed when the binding was removed is still on its way to the queue.
        tokio::time::sleep(ROUTING_GRACE).await;
        let mut moved = self.pour(from, to).await?;
        for _ in 0..MOST_POURS {
            let proved = match &self.management {
                Some(management) if dead_letters => nothing_is_left(&self.connection, management, from).await,
                None if dead_letters => return Err(MigrateError::Unseen { queue: from.to_owned() }),
                _ => nobody_holds(&self.connection, from).await,
            };
            proved.map_err(|not_proved| match not_proved {
                NotProved::Broker(source) => broker(from)(source),
                NotProved::Management(error) => error.into(),
                NotProved::Left(messages) => MigrateError::Left { queue: from.to_owned(), messages },
                NotProved::Unsampled => MigrateError::Unsampled { queue: from.to_owned() },
            })?;
            // What somebody published right to it, past its bindings.
            let late = self.pour(from, to).await?;
            if late == 0 {
                let channel = self.channel(from).await?;
                let deleted = channel.queue_delete(from.into(), QueueDeleteOptions::default()).await;
                return deleted.map(|_| moved).map_err(broker(from));
            }
            moved += late;
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
        let channel = self.channel(from).await?;
        loop {
            let got = channel.basic_get(from.into(), BasicGetOptions::default()).await.map_err(broker(from))?;
            let Some(delivery) = got.map(|got| got.delivery) else { break };
            let key = delivery.routing_key.as_str();
            self.publisher.publish(to, key, portable(&delivery.properties), &delivery.data).await?;
            let acked = channel.basic_ack(delivery.delivery_tag, BasicAckOptions::default()).await;
            acked.map_err(broker(from))?;
            moved += 1;
        }
        // The broker counts a channel that has taken messages among the consumers.
        channel.close(200, "hookbro has moved the messages".into()).await.map_err(broker(from))?;
        Ok(moved)
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

/// A binding without the queue that it leads to.
fn lead(binding: &Binding) -> (&str, &str) {
    (&binding.exchange, &binding.routing_key)
}

fn holding(queue: &Queue) -> String {
    format!("{}{HOLDING}", queue.name)
}

fn broker(queue: &str) -> impl FnOnce(lapin::Error) -> MigrateError {
    move |source| MigrateError::Broker { queue: queue.to_owned(), source }
}
