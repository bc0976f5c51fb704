//! The dead-letter queue as operations use it, within the bounds that their process sets.

use super::{
    discard::{self, DiscardError},
    queue::{Limits, QueueReader, ReadError},
    replay,
};
use crate::{
    observe::health::Health,
    operate::{
        dead_letters::{Action, Bounds, Browsed, DeadLetterFilter, DeadLetters, DeadLettersError, Outcome},
        progress::Progress,
    },
    sources::rabbitmq::{
        connect::Connector,
        publish::Publisher,
        settings::Access,
        topology::Topology,
        transfer::{Reader as _, Transferred},
    },
};
use std::{
    num::NonZeroU32,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// The dead-letter queue of one topology.
#[derive(Debug)]
pub struct DeadLetterQueue {
    connector: Connector,
    access: Access,
    topology: Topology,
    /// Where discarded letters are written, unless a change names a file.
    folder: PathBuf,
    bounds: Bounds,
    /// Of the running process, whose count of the dead-letter queue must know what it takes out itself.
    health: Option<Arc<Health>>,
    stop: CancellationToken,
}

impl DeadLetterQueue {
    /// What is under way when `stop` comes ends early.
    pub fn new(
        access: Access,
        topology: Topology,
        folder: PathBuf,
        bounds: Bounds,
        health: Option<Arc<Health>>,
        stop: CancellationToken,
    ) -> Self {
        Self { connector: Connector::new(access.clone()), access, topology, folder, bounds, health, stop }
    }

    /// Runs `work`, which takes dead letters out of their queue.
    async fn taking<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.health {
            Some(health) => health.taking_dead(work).await,
            None => work.await,
        }
    }

    async fn open(&self) -> Result<QueueReader, DeadLettersError> {
        let limits = Limits { letters: self.bounds.letters, lock: self.bounds.lock };
        QueueReader::open_within(&self.connector, &self.topology, limits).await.map_err(failed)
    }

    async fn begin(&self, action: Action) -> Result<QueueReader, DeadLettersError> {
        tokio::select! {
            () = self.stop.cancelled() => {
                Err(DeadLettersError::Midway { action, done: 0, why: STOPPING.to_owned() })
            }
            begun = within(self.bounds.begin, self.open()) => begun,
        }
    }
}

/// Given up after a while, its connection goes with it and the broker has everything back.
async fn within<T>(
    longest: Option<Duration>,
    work: impl Future<Output = Result<T, DeadLettersError>>,
) -> Result<T, DeadLettersError> {
    match longest {
        Some(longest) => tokio::time::timeout(longest, work).await.unwrap_or(Err(DeadLettersError::Slow)),
        None => work.await,
    }
}

/// Why a change that its process ends midway is not made whole.
const STOPPING: &str = "hookbro is stopping";

fn failed(error: ReadError) -> DeadLettersError {
    match error {
        ReadError::TooMany { left, most, .. } => DeadLettersError::TooMany { there: left.into(), most },
        ReadError::Locked { .. } => DeadLettersError::Locked(error.to_string()),
        ReadError::Connect(_) | ReadError::Read { .. } | ReadError::Replay(_) | ReadError::Defect(_) => {
            DeadLettersError::Away(error.to_string())
        }
    }
}

impl DeadLetters for DeadLetterQueue {
    async fn browse(
        &self,
        filter: &DeadLetterFilter,
        mut visit: impl FnMut(Browsed<'_>) -> ControlFlow<()> + Send,
    ) -> Result<(), DeadLettersError> {
        let browsing = async {
            let mut queue = self.open().await?;
            let browsed = loop {
                match queue.next().await {
                    Ok(Some(unsettled)) => {
                        let properties = || unsettled.properties();
                        if filter.matches(&unsettled.letter)
                            && visit(Browsed::new(&unsettled.letter, &properties)).is_break()
                        {
                            break Ok(());
                        }
                    }
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(failed(error)),
                }
            };
            queue.close().await;
            browsed
        };
        within(self.bounds.browse, browsing).await
    }

    async fn replay(
        &self,
        filter: &DeadLetterFilter,
        rate: Option<NonZeroU32>,
        progress: &Progress,
    ) -> Result<Outcome, DeadLettersError> {
        let queue = self.begin(Action::Replay).await?;
        progress.begin(queue.left().into());
        let publisher = Arc::new(Publisher::new(self.access.clone(), "hookbro replay"));
        let (began, mut why) = (Instant::now(), None);
        let seen = |replayed| {
            progress.examine();
            progress.changed_so_far(replayed);
            if self.stop.is_cancelled() {
                why = Some(STOPPING.to_owned());
            } else if let Some(longest) = self.bounds.replay.filter(|longest| began.elapsed() > *longest) {
                why = Some(format!("a replay takes {} minutes at most", longest.as_secs() / 60));
            }
            if why.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let pace = rate.map(|rate| {
            let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.get());
            // At most this rate: what a stall has missed is not made up for.
            pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            pace
        });
        let replay = replay::run(queue, Arc::clone(&publisher), &self.topology, filter, pace, seen);
        let Transferred { moved: events, stopped_by } = self.taking(replay).await;
        publisher.close().await;
        progress.changed_so_far(events);
        match stopped_by.map(|error| error.to_string()).or(why) {
            None => Ok(Outcome { events, file: None }),
            Some(why) => Err(DeadLettersError::Midway { action: Action::Replay, done: events, why }),
        }
    }

    async fn discard(
        &self,
        filter: &DeadLetterFilter,
        to: Option<&Path>,
        progress: &Progress,
    ) -> Result<Outcome, DeadLettersError> {
        let queue = self.begin(Action::Discard).await?;
        progress.begin(queue.left().into());
        let path = to.map_or_else(|| self.folder.join(discard::file_name(self.topology.dead())), Path::to_owned);
        let seen = || {
            progress.examine();
            if self.stop.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        match self.taking(discard::run(queue, filter, &path, seen)).await {
            Ok(events) => {
                progress.changed_so_far(events);
                Ok(Outcome { events, file: Some(path.display().to_string()) })
            }
            Err(error @ DiscardError::File { .. }) => Err(DeadLettersError::File(match to {
                Some(_) => error.to_string(),
                None => format!(
                    "{error}: discarded dead letters are written to $STATE_DIRECTORY or the working folder first, unless \
                     `hookbro dead discard --to` names a file"
                ),
            })),
            Err(DiscardError::Before(error)) => Err(failed(error)),
            Err(error @ DiscardError::Midway { .. }) => Err(DeadLettersError::Away(error.to_string())),
            Err(DiscardError::Stopped) => {
                Err(DeadLettersError::Midway { action: Action::Discard, done: 0, why: STOPPING.to_owned() })
            }
        }
    }
}
