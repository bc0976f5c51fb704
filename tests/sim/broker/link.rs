//! What one process knows of the broker, and its connections.

use super::{Broker, Happening, state::State};
use hookbro::{event::ProjectId, observe::metrics::Metrics};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One process' end. Clones share it.
#[derive(Clone)]
pub struct Link(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub broker: Broker,
    pub process: u32,
    pub metrics: Arc<Metrics>,
    /// The process ends now: nothing is waited for.
    pub cut: CancellationToken,
    /// Projects that are known to have a lot.
    pub known: Mutex<BTreeSet<ProjectId>>,
    /// The one for lots, once there is one.
    pub parking: Mutex<Option<u64>>,
}

/// The broker is not there.
#[derive(Debug, thiserror::Error)]
#[error("the broker is away")]
pub(super) struct Away;

impl Link {
    pub fn new(broker: &Broker, process: u32, metrics: Arc<Metrics>, cut: CancellationToken) -> Self {
        let broker = broker.clone();
        let (known, parking) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { broker, process, metrics, cut, known, parking }))
    }
}

impl Inner {
    pub(super) fn saw(&self, what: Happening) {
        self.broker.0.fate.saw(Instant::now(), what);
    }

    pub(super) async fn connect(&self) -> Result<u64, Away> {
        self.broker.travel().await;
        let mut state = self.broker.state();
        if state.is_away(Instant::now()) { Err(Away) } else { Ok(state.connect(self.process)) }
    }

    /// The connection for lots, a new one if there is none.
    pub(super) async fn parking(&self) -> Result<u64, Away> {
        let kept = *self.parking.lock().unwrap();
        if let Some(connection) = kept.filter(|kept| self.broker.state().is_connected(*kept)) {
            return Ok(connection);
        }
        let connection = self.connect().await?;
        *self.parking.lock().unwrap() = Some(connection);
        Ok(connection)
    }

    /// Takes or looks at something on a connection, if it is there. Nobody waits for that.
    pub(super) fn on<T>(&self, connection: u64, how: impl FnOnce(&mut State, Instant) -> T) -> Result<T, Away> {
        let mut state = self.broker.state();
        if state.is_connected(connection) { Ok(how(&mut state, Instant::now())) } else { Err(Away) }
    }
}
