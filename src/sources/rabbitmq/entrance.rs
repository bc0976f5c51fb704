//! What leads publishers' events to our queues, seen to stand on the very connection that promises them.
//!
//! `mandatory` proves that some queue took an event, and another team's queue on the same exchange is one. What is bound cannot
//! be asked over AMQP, so it is bound again, which changes nothing where it stands. Which binding that is, the newest
//! arrangement of lanes decides: one that a newer replica took away must not come back.

use super::{
    changeover::{StandError, newest, remembers},
    connect::{ConnectError, Connector, close, not_found},
    declare::{DeclareError, declare_topic_exchange},
    topology::{Binding, Topology},
};
use lapin::{
    Channel, Connection, ExchangeKind,
    options::{ExchangeBindOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Longest time that a proof may take. Whoever posted an event waits for it.
const PROVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How old a proof may be: a binding that somebody took off by hand is back after so long.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long a refusal is not asked for again, so that a flood of requests is none of questions. A queue that is missing is
/// about to be declared, most of the time.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// The same for what nobody is about to mend. Each question reads what is remembered of lanes, and counts towards the delivery
/// limit of that.
const ASK_REFUSED_AGAIN: Duration = Duration::from_secs(5);

/// Why no event may be promised yet. Names no host: it is told to whoever posts events.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStanding {
    #[error("{0} does not stand on the broker yet; hookbro declares it once it consumes")]
    Missing(String),
    #[error("the broker does not let {object} be bound: {says}")]
    Refused { object: String, says: String },
    #[error("the lanes are changing, or cannot be read")]
    Lanes,
    #[error("the broker did not show within {PROVE_TIMEOUT:?} that its exchange leads to the work queue")]
    Silent,
}

impl NotStanding {
    fn again_after(&self) -> Duration {
        match self {
            Self::Missing(_) => ASK_AGAIN,
            Self::Refused { .. } | Self::Lanes | Self::Silent => ASK_REFUSED_AGAIN,
        }
    }

    fn of(object: &str, error: &lapin::Error) -> Self {
        match not_found(error) {
            Some(_) => Self::Missing(object.to_owned()),
            None => Self::Refused { object: object.to_owned(), says: error.to_string() },
        }
    }
}

/// What publishers' events come through.
#[derive(Debug)]
pub struct Entrance(Topology);

/// By which way, as far as the newest arrangement says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// The work queue is bound to the publishers' exchange; nobody has ever had lanes.
    Direct,
    /// The same, and what is remembered of lanes says so.
    DirectAgain,
    /// This fork is.
    Fork(String),
}

/// What one connection has been shown.
#[derive(Debug, Default)]
pub(super) struct Shown {
    proof: Option<Arc<Proof>>,
    refused: Option<(Instant, NotStanding)>,
}

impl Shown {
    /// What was shown before, shown anew where that is too long ago.
    pub(super) async fn proof(
        &mut self,
        entrance: &Entrance,
        connector: &Connector,
        connection: &Connection,
    ) -> Result<Arc<Proof>, NotStanding> {
        if let Some(proof) = self.proof.as_ref().filter(|proof| proof.at.elapsed() < RENEW_EVERY) {
            return Ok(Arc::clone(proof));
        }
        if let Some((at, refused)) = &self.refused
            && at.elapsed() < refused.again_after()
        {
            return Err(refused.clone());
        }
        let before = self.proof.take().map(|proof| proof.way.clone());
        let proving = entrance.prove(connector, connection, before);
        match tokio::time::timeout(PROVE_TIMEOUT, proving).await.unwrap_or(Err(NotStanding::Silent)) {
            Ok(proof) => {
                let proof = Arc::new(proof);
                *self = Self { proof: Some(Arc::clone(&proof)), refused: None };
                Ok(proof)
            }
            Err(refused) => {
                tracing::debug!(error = %refused, "no event is promised yet");
                self.refused = Some((Instant::now(), refused.clone()));
                Err(refused)
            }
        }
    }

    /// `proof` does not hold any more.
    pub(super) fn doubt(&mut self, proof: &Arc<Proof>) {
        self.proof.take_if(|known| Arc::ptr_eq(known, proof));
    }
}

impl Entrance {
    pub fn new(topology: Topology) -> Self {
        Self(topology)
    }

    /// `before` is the way that was seen earlier on this connection.
    async fn prove(
        &self,
        connector: &Connector,
        connection: &Connection,
        before: Option<Way>,
    ) -> Result<Proof, NotStanding> {
        let queue = self.0.work_queue();
        let channel = self.channel(connection).await?;
        look_at_queue(&channel, queue).await.map_err(|error| NotStanding::of(&named_queue(queue), &error))?;
        let way = match before {
            Some(Way::Fork(fork)) if self.bind_fork(&channel, &fork).await.is_ok() => Way::Fork(fork),
            // Asking what is remembered costs more than this is worth.
            Some(Way::DirectAgain) => Way::DirectAgain,
            _ => self.find(connector, connection).await?,
        };
        let channel = self.channel(connection).await?;
        Ok(Proof {
            channel,
            queue: queue.to_owned(),
            way,
            at: Instant::now(),
            begun: AtomicU64::default(),
            last: Mutex::new((0, true)),
        })
    }

    async fn find(&self, connector: &Connector, connection: &Connection) -> Result<Way, NotStanding> {
        let topic = &self.0.topic_exchange;
        declare_topic_exchange(connection, topic).await.map_err(|error| match error {
            DeclareError::Refused { object, source } => NotStanding::of(&object, &source),
            DeclareError::Differs { object, broker_says } => NotStanding::Refused { object, says: broker_says },
        })?;
        let channel = self.channel(connection).await?;
        let unreadable = |error: StandError| {
            tracing::warn!(%error, "cannot see which lanes lead to the work queue");
            NotStanding::Lanes
        };
        let remembered = remembers(connection, &self.0).await.map_err(|error| unreadable(error.into()))?;
        if !remembered {
            self.bind_direct(&channel).await?;
            // Somebody may have had the first lanes meanwhile, and taken off what was put back here.
            if !remembers(connection, &self.0).await.map_err(|error| unreadable(error.into()))? {
                return Ok(Way::Direct);
            }
        }
        // The lock goes with its connection, and with the lock nothing changes between the look and the binding.
        let own = connector.connect("hookbro lanes").await.map_err(|error: ConnectError| unreadable(error.into()))?;
        let found = async {
            let Some(fork) = newest(&own, &self.0).await.map_err(unreadable)? else {
                self.bind_direct(&channel).await?;
                return Ok(Way::DirectAgain);
            };
            self.bind_fork(&channel, &fork).await?;
            if !remembered {
                self.unbind_direct(&channel).await?;
            }
            Ok(Way::Fork(fork))
        };
        let found = found.await;
        close(own).await;
        found
    }

    async fn bind_direct(&self, channel: &Channel) -> Result<(), NotStanding> {
        let queue = self.0.work_queue();
        for key in self.0.keys() {
            self.bind(channel, queue, &self.0.topic_exchange, key).await?;
        }
        Ok(())
    }

    async fn unbind_direct(&self, channel: &Channel) -> Result<(), NotStanding> {
        let (queue, exchange) = (self.0.work_queue(), &self.0.topic_exchange);
        for key in self.0.keys() {
            let unbound =
                channel.queue_unbind(queue.into(), exchange.as_str().into(), key.into(), FieldTable::default());
            unbound.await.map_err(|error| NotStanding::of(&named_queue(queue), &error))?;
        }
        Ok(())
    }

    /// The fork itself, what takes the rest from it, and its lanes as far as it is our own.
    async fn bind_fork(&self, channel: &Channel, fork: &str) -> Result<(), NotStanding> {
        let queue = self.0.work_queue();
        self.bind(channel, queue, queue, "").await?;
        for Binding { queue, exchange, routing_key } in &self.0.bindings {
            if exchange == fork {
                self.bind(channel, queue, exchange, routing_key).await?;
            }
        }
        for key in self.0.keys() {
            let (from, options) = (self.0.topic_exchange.as_str(), ExchangeBindOptions::default());
            let bound = channel.exchange_bind(fork.into(), from.into(), key.into(), options, FieldTable::default());
            bound.await.map_err(|error| NotStanding::of(&format!("exchange `{fork}`"), &error))?;
        }
        Ok(())
    }

    async fn bind(&self, channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), NotStanding> {
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await;
        bound.map_err(|error| NotStanding::of(&named_queue(queue), &error))
    }

    async fn channel(&self, connection: &Connection) -> Result<Channel, NotStanding> {
        connection.create_channel().await.map_err(|error| NotStanding::of("a channel", &error))
    }
}

/// The broker has shown that publishers' events come to us.
#[derive(Debug)]
pub(super) struct Proof {
    channel: Channel,
    queue: String,
    way: Way,
    at: Instant,
    /// Looks that have begun.
    begun: AtomicU64,
    /// The number of the last look that has ended, and what it saw.
    last: Mutex<(u64, bool)>,
}

impl Proof {
    /// Whether the way still stands, by a look that begins after this call. Whoever waits for the same look shares it.
    pub(super) async fn holds(&self) -> bool {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if last.0 < wanted {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *last = (number, self.look().await.is_ok());
        }
        last.1
    }

    async fn look(&self) -> lapin::Result<()> {
        look_at_queue(&self.channel, &self.queue).await?;
        let Way::Fork(fork) = &self.way else { return Ok(()) };
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        self.channel.exchange_declare(fork.as_str().into(), ExchangeKind::Topic, passive, FieldTable::default()).await
    }
}

async fn look_at_queue(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.map(drop)
}

fn named_queue(queue: &str) -> String {
    format!("queue `{queue}`")
}
