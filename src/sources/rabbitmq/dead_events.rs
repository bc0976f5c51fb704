//! The dead queue as a running hookbro looks into it, beside the deliveries of the same process: within less memory and
//! patience than the command line has.

use super::{
    access::Access,
    connect::Connector,
    dead_queue::{DeadQueue, DeadQueueError, Patience},
    dead_work::{self, DiscardError},
    publish::Publisher,
    replay::{Replay, Replayed},
    topology::Topology,
};
use crate::{
    observe::health::Health,
    operate::{
        dead::{DeadError, DeadEvents, DeadLine, DeadPage, DeadWhole, Dealt, Progress},
        dead_event::DeadFilter,
    },
};
use std::{
    ops::ControlFlow,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Most events that are looked through: some 100 MiB of memory at usual sizes while they are replayed, in a process that
/// has deliveries to make.
const MOST: usize = 20_000;
/// Longest wait for another process to be done.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// Longest look, from the connection on. Twenty thousand events take a second.
const LOOK_TIMEOUT: Duration = Duration::from_secs(40);
/// The same for the beginning of a change, which may have to restore an order first.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(150);
/// Longest replay: before the broker's `consumer_timeout` (30 minutes by default) ends it.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(25 * 60);

/// The dead queue of one topology.
#[derive(Debug)]
pub struct BrokerDead {
    connector: Connector,
    access: Access,
    topology: Topology,
    /// Where discarded events are written to.
    folder: PathBuf,
    health: Arc<Health>,
    stop: CancellationToken,
}

impl BrokerDead {
    /// What is under way when `stop` comes ends early.
    pub fn new(
        access: Access,
        topology: Topology,
        folder: PathBuf,
        health: Arc<Health>,
        stop: CancellationToken,
    ) -> Self {
        Self { connector: Connector::new(access.clone()), access, topology, folder, health, stop }
    }

    async fn open(&self) -> Result<DeadQueue, DeadError> {
        let patience = Patience { events: MOST, lock: LOCK_PATIENCE };
        DeadQueue::open_within(&self.connector, &self.topology, patience).await.map_err(failed)
    }

    /// Given up after a while, its connection goes with the look and the broker has everything back.
    async fn look<T>(
        &self,
        look: impl AsyncFnOnce(&mut DeadQueue) -> Result<T, DeadQueueError>,
    ) -> Result<T, DeadError> {
        let looking = async {
            let mut queue = self.open().await?;
            let looked = look(&mut queue).await.map_err(failed);
            queue.close().await;
            looked
        };
        tokio::time::timeout(LOOK_TIMEOUT, looking).await.unwrap_or(Err(DeadError::Slow))
    }

    async fn begin(&self) -> Result<DeadQueue, DeadError> {
        tokio::time::timeout(BEGIN_TIMEOUT, self.open()).await.unwrap_or(Err(DeadError::Slow))
    }
}

fn failed(error: DeadQueueError) -> DeadError {
    match error {
        DeadQueueError::TooMany { left, most, .. } => DeadError::TooMany { there: left.into(), most },
        DeadQueueError::Locked { .. } => DeadError::Locked(error.to_string()),
        DeadQueueError::Connect(_)
        | DeadQueueError::Read { .. }
        | DeadQueueError::Replay(_)
        | DeadQueueError::Defect(_) => DeadError::Away(error.to_string()),
    }
}

impl DeadEvents for BrokerDead {
    async fn page(&self, filter: &DeadFilter, skip: u64, limit: usize) -> Result<DeadPage, DeadError> {
        self.look(async |queue| {
            let mut page = DeadPage::default();
            while let Some(in_hand) = queue.next().await? {
                if !filter.matches(&in_hand.event) {
                    continue;
                }
                page.total += 1;
                if page.total > skip && page.events.len() < limit {
                    page.events.push(DeadLine::of(in_hand.event));
                }
            }
            Ok(page)
        })
        .await
    }

    async fn whole(&self, filter: &DeadFilter, limit: usize) -> Result<Vec<DeadWhole>, DeadError> {
        self.look(async |queue| {
            let mut found = Vec::new();
            while let Some(in_hand) = queue.next().await? {
                if found.len() < limit && filter.matches(&in_hand.event) {
                    let properties = in_hand.properties();
                    found.push(DeadWhole { event: in_hand.event, properties });
                }
            }
            Ok(found)
        })
        .await
    }

    async fn replay(&self, filter: &DeadFilter, progress: &Progress) -> Result<Dealt, DeadError> {
        let queue = self.begin().await?;
        let publisher = Publisher::new(self.access.clone(), "hookbro replay");
        let (began, mut why) = (Instant::now(), None);
        let seen = |replayed| {
            progress.look();
            progress.changed_so_far(replayed);
            if self.stop.is_cancelled() {
                why = Some("hookbro is stopping".to_owned());
            } else if began.elapsed() > REPLAY_TIMEOUT {
                why = Some(format!("a replay takes {} minutes at most", REPLAY_TIMEOUT.as_secs() / 60));
            }
            if why.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let replay = Replay::new(queue, publisher, &self.topology);
        let Replayed { events, stopped_by } =
            self.health.taking_dead(dead_work::replay(replay, filter, None, seen)).await;
        progress.changed_so_far(events);
        match stopped_by.map(|error| error.to_string()).or(why) {
            None => Ok(Dealt { events, file: None }),
            Some(why) => Err(DeadError::Midway { done: events, why }),
        }
    }

    async fn discard(&self, filter: &DeadFilter, progress: &Progress) -> Result<Dealt, DeadError> {
        let queue = self.begin().await?;
        let path = self.folder.join(dead_work::discard_file(self.topology.dead()));
        let seen = || {
            progress.look();
            if self.stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match self.health.taking_dead(dead_work::discard(queue, filter, &path, seen)).await {
            Ok(events) => {
                progress.changed_so_far(events);
                Ok(Dealt { events, file: Some(path.display().to_string()) })
            }
            Err(error @ DiscardError::File { .. }) => Err(DeadError::File(format!(
                "{error}: discarded events are written to $STATE_DIRECTORY or the working folder first"
            ))),
            Err(DiscardError::Before(error)) => Err(failed(error)),
            Err(error @ DiscardError::Midway { .. }) => Err(DeadError::Away(error.to_string())),
            Err(DiscardError::Stopped) => Err(DeadError::Midway { done: 0, why: "hookbro is stopping".to_owned() }),
        }
    }
}
