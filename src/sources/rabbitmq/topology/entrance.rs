//! The entrance: the bindings that lead publishers' events to our queues, proved on the connection that publishes.
//!
//! `mandatory` proves that some queue took an event, and that may be another team's queue on the same exchange. AMQP cannot list
//! bindings, so the proof binds again, which changes nothing where the binding exists. The newest arrangement of lanes decides
//! which binding that is: one that a newer replica removed must not come back.

use super::{
    Binding, Topology,
    changeover::{ApplyError, is_recorded, newest},
    declare::{DeclareError, declare_topic_exchange},
};
use crate::sources::rabbitmq::connect::{ConnectError, Connector, close, not_found};
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
/// How old a proof may be: a binding that somebody removed by hand is back after so long.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How long a refusal is valid, so that a flood of requests causes no flood of proofs. A queue that is missing is about to be
/// declared, most of the time.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// The same for a refusal that lasts. Each proof reads the lane record, and counts towards the delivery limit of its queue.
const ASK_REFUSED_AGAIN: Duration = Duration::from_secs(5);

/// Why no event can be accepted yet. Names no host: whoever posts events reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotProved {
    #[error("{0} does not exist on the broker yet; hookbro declares it once it consumes")]
    Missing(String),
    #[error("the broker refuses to bind {object}: {says}")]
    Refused { object: String, says: String },
    #[error("the lanes are changing, or their record cannot be read")]
    Lanes,
    #[error("the broker did not show within {PROVE_TIMEOUT:?} that its exchange leads to the work queue")]
    Silent,
}

impl NotProved {
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

/// The bindings that publishers' events enter by.
#[derive(Debug)]
pub struct Entrance(Topology);

/// The route of publishers' events in the newest arrangement of lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Route {
    /// The work queue is bound to the publishers' exchange; lanes were never configured.
    Direct,
    /// The same, and the lane record says so.
    DirectAgain,
    /// This fork is bound to it.
    Fork(String),
}

/// The last proof or refusal on one connection.
#[derive(Debug, Default)]
pub struct LastProof {
    proof: Option<Arc<Proof>>,
    refused: Option<(Instant, NotProved)>,
}

impl LastProof {
    /// The last proof, or a new one where that is too old.
    pub async fn proof(
        &mut self,
        entrance: &Entrance,
        connector: &Connector,
        connection: &Connection,
    ) -> Result<Arc<Proof>, NotProved> {
        if let Some(proof) = self.proof.as_ref().filter(|proof| proof.at.elapsed() < RENEW_EVERY) {
            return Ok(Arc::clone(proof));
        }
        if let Some((at, refused)) = &self.refused
            && at.elapsed() < refused.again_after()
        {
            return Err(refused.clone());
        }
        let before = self.proof.take().map(|proof| proof.route.clone());
        let proving = entrance.prove(connector, connection, before);
        match tokio::time::timeout(PROVE_TIMEOUT, proving).await.unwrap_or(Err(NotProved::Silent)) {
            Ok(proof) => {
                let proof = Arc::new(proof);
                *self = Self { proof: Some(Arc::clone(&proof)), refused: None };
                Ok(proof)
            }
            Err(refused) => {
                tracing::debug!(error = %refused, "events by HTTP are refused: their route to the work queue is not proved");
                self.refused = Some((Instant::now(), refused.clone()));
                Err(refused)
            }
        }
    }

    /// `proof` does not hold any more.
    pub fn doubt(&mut self, proof: &Arc<Proof>) {
        self.proof.take_if(|known| Arc::ptr_eq(known, proof));
    }
}

impl Entrance {
    pub fn new(topology: Topology) -> Self {
        Self(topology)
    }

    /// `before` is the route that was found earlier on this connection.
    async fn prove(
        &self,
        connector: &Connector,
        connection: &Connection,
        before: Option<Route>,
    ) -> Result<Proof, NotProved> {
        let queue = self.0.work_queue();
        let channel = self.channel(connection).await?;
        ask_for_queue(&channel, queue).await.map_err(|error| NotProved::of(&named_queue(queue), &error))?;
        let route = match before {
            Some(Route::Fork(fork)) if self.bind_fork(&channel, &fork).await.is_ok() => Route::Fork(fork),
            // Reading the lane record costs more than this is worth.
            Some(Route::DirectAgain) => Route::DirectAgain,
            _ => self.find(connector, connection).await?,
        };
        let channel = self.channel(connection).await?;
        Ok(Proof {
            channel,
            queue: queue.to_owned(),
            route,
            at: Instant::now(),
            begun: AtomicU64::default(),
            last: Mutex::new((0, true)),
        })
    }

    async fn find(&self, connector: &Connector, connection: &Connection) -> Result<Route, NotProved> {
        let topic = &self.0.topic_exchange;
        declare_topic_exchange(connection, topic).await.map_err(|error| match error {
            DeclareError::Refused { object, source } => NotProved::of(&object, &source),
            DeclareError::Differs { object, broker_says } => NotProved::Refused { object, says: broker_says },
        })?;
        let channel = self.channel(connection).await?;
        let unreadable = |error: ApplyError| {
            tracing::warn!(%error, "cannot read the lane record, so events by HTTP are refused");
            NotProved::Lanes
        };
        let recorded = is_recorded(connection, &self.0).await.map_err(|error| unreadable(error.into()))?;
        if !recorded {
            self.bind_direct(&channel).await?;
            // Another process may have declared the first lanes meanwhile, and removed the binding that was restored here.
            if !is_recorded(connection, &self.0).await.map_err(|error| unreadable(error.into()))? {
                return Ok(Route::Direct);
            }
        }
        // The lock ends with its connection; under it nothing changes between reading and binding.
        let own = connector.connect("hookbro lanes").await.map_err(|error: ConnectError| unreadable(error.into()))?;
        let found = async {
            let Some(fork) = newest(&own, &self.0).await.map_err(unreadable)? else {
                self.bind_direct(&channel).await?;
                return Ok(Route::DirectAgain);
            };
            self.bind_fork(&channel, &fork).await?;
            if !recorded {
                self.unbind_direct(&channel).await?;
            }
            Ok(Route::Fork(fork))
        };
        let found = found.await;
        close(own).await;
        found
    }

    async fn bind_direct(&self, channel: &Channel) -> Result<(), NotProved> {
        let queue = self.0.work_queue();
        for key in self.0.keys() {
            self.bind(channel, queue, &self.0.topic_exchange, key).await?;
        }
        Ok(())
    }

    async fn unbind_direct(&self, channel: &Channel) -> Result<(), NotProved> {
        let (queue, exchange) = (self.0.work_queue(), &self.0.topic_exchange);
        for key in self.0.keys() {
            let unbound =
                channel.queue_unbind(queue.into(), exchange.as_str().into(), key.into(), FieldTable::default());
            unbound.await.map_err(|error| NotProved::of(&named_queue(queue), &error))?;
        }
        Ok(())
    }

    /// The fork itself, its default route, and its lanes where it is our own.
    async fn bind_fork(&self, channel: &Channel, fork: &str) -> Result<(), NotProved> {
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
            bound.await.map_err(|error| NotProved::of(&format!("exchange `{fork}`"), &error))?;
        }
        Ok(())
    }

    async fn bind(&self, channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), NotProved> {
        let options = QueueBindOptions::default();
        let bound = channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default()).await;
        bound.map_err(|error| NotProved::of(&named_queue(queue), &error))
    }

    async fn channel(&self, connection: &Connection) -> Result<Channel, NotProved> {
        connection.create_channel().await.map_err(|error| NotProved::of("a channel", &error))
    }
}

/// Proof that publishers' events reach our queues.
#[derive(Debug)]
pub struct Proof {
    channel: Channel,
    queue: String,
    route: Route,
    at: Instant,
    /// Checks that have begun.
    begun: AtomicU64,
    /// The number of the last check that has ended, and its answer.
    last: Mutex<(u64, bool)>,
}

impl Proof {
    /// Whether the route still exists, by a check that begins after this call. Callers that wait for the same check share it.
    pub async fn holds(&self) -> bool {
        let wanted = self.begun.load(Ordering::SeqCst) + 1;
        let mut last = self.last.lock().await;
        if last.0 < wanted {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            *last = (number, self.check().await.is_ok());
        }
        last.1
    }

    async fn check(&self) -> lapin::Result<()> {
        ask_for_queue(&self.channel, &self.queue).await?;
        let Route::Fork(fork) = &self.route else { return Ok(()) };
        let passive = ExchangeDeclareOptions { passive: true, ..ExchangeDeclareOptions::default() };
        self.channel.exchange_declare(fork.as_str().into(), ExchangeKind::Topic, passive, FieldTable::default()).await
    }
}

async fn ask_for_queue(channel: &Channel, queue: &str) -> lapin::Result<()> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), passive, FieldTable::default()).await.map(drop)
}

fn named_queue(queue: &str) -> String {
    format!("queue `{queue}`")
}
