//! What follows from the pauses of projects: the board kept up to date, and what was parked released once its
//! project is resumed, whoever resumed it and whoever kept it.

use crate::{
    observe::health::{Broker, Health},
    pipeline::{
        journal::Unread,
        parking::{NotPassed, Parking, Passed},
        pauses::{Board, PauseStore, Paused, Pauses},
    },
    process::stop::Stop,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, time::Instant};

/// How often the store is asked: what one replica is told, the others heed so much later.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// The same until it has answered for the first time.
const FIRST_POLL_EVERY: Duration = Duration::from_millis(50);
/// How long delivery waits for that. A store that is away longer must not keep events from their way; pauses are then
/// heeded from the moment on at which it comes back.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// How often it is checked whether anything is parked of which no pause is known.
const CHECK_EVERY: Duration = Duration::from_secs(5);
/// How often all parked events are looked through although nobody asks for it: a process may have been killed right after it
/// parked an event whose project had just been resumed, while others are still paused.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// Longest pass. The broker closes the channel of whoever holds messages for 30 minutes.
const LONGEST_PASS: Duration = Duration::from_secs(600);
/// Waits before a pass that failed is tried again, doubling.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Keeps the board up to date for as long as the process runs.
pub async fn follow<S: PauseStore>(pauses: Arc<Pauses<S>>) {
    let began = Instant::now();
    let mut away = false;
    loop {
        let heard = match pauses.refresh().await {
            Ok(_) => true,
            Err(Unread::Off) => return,
            Err(error) => {
                let starting = pauses.board().known().borrow().is_none() && began.elapsed() < FIRST_WAIT;
                if !away && !starting {
                    tracing::warn!(%error, "the pauses of projects cannot be read; those known before are heeded");
                }
                away = !starting;
                false
            }
        };
        if heard && std::mem::take(&mut away) {
            tracing::info!("the pauses of projects are read again");
        }
        let starting = !heard && began.elapsed() < FIRST_WAIT;
        tokio::time::sleep(if starting { FIRST_POLL_EVERY } else { POLL_EVERY }).await;
    }
}

/// Waits until the pauses are known, [`FIRST_WAIT`] at most.
pub async fn known(board: &Board, stop: &Stop) {
    let mut known = board.known();
    tokio::select! {
        // The sender lives as long as the board.
        _ = known.wait_for(Option::is_some) => {}
        () = stop.requested.cancelled() => {}
        () = tokio::time::sleep(FIRST_WAIT) => {
            tracing::warn!("the journal's store does not answer: events go out before it is known which projects are paused");
        }
    }
}

/// Releases what is parked and may go.
#[derive(Debug)]
pub struct Resumer<K> {
    pub board: Arc<Board>,
    pub parking: Arc<K>,
    pub health: Arc<Health>,
    pub stop: Stop,
}

impl<K: Parking> Resumer<K> {
    /// Until the process stops. Looks at once, for what a process before this one may have left.
    pub async fn run(self) {
        let mut wait = WAITS[0];
        while self.ready().await {
            let mut known = self.board.known();
            // From before the pass: what is resumed while it goes on may have been passed over.
            let before = known.borrow_and_update().clone().unwrap_or_default();
            match self.pass().await {
                Ok(Passed { left: 0, .. }) => {
                    wait = WAITS[0];
                    self.reason(before, &mut known).await;
                    continue;
                }
                Ok(_) => {}
                Err(error @ NotPassed::TooMany(_)) => {
                    tracing::warn!(%error, "not all parked events can be looked through");
                    self.reason(before, &mut known).await;
                    continue;
                }
                Err(NotPassed::Busy) => tracing::debug!("another replica releases the parked events"),
                Err(error) => tracing::warn!(%error, "not all parked events are released yet; trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.stop.requested.cancelled() => {}
            }
            wait = (wait * 2).min(WAITS[1]);
        }
        self.parking.close().await;
    }

    /// Waits for all that a pass needs: pauses that are known, and a broker with the topology in place. False at the end.
    async fn ready(&self) -> bool {
        let (mut known, mut broker) = (self.board.known(), self.health.broker.subscribe());
        let both = async {
            let known = known.wait_for(Option::is_some).await.is_ok();
            known && broker.wait_for(|broker| matches!(broker, Broker::Connected { .. })).await.is_ok()
        };
        tokio::select! {
            biased;
            () = self.stop.requested.cancelled() => false,
            both = both => both,
        }
    }

    async fn pass(&self) -> Result<Passed, NotPassed> {
        let until = Instant::now() + LONGEST_PASS;
        let goes_on = || Instant::now() < until && !self.stop.requested.is_cancelled();
        let passed = self.parking.release(|project| self.board.is_paused(project), goes_on).await?;
        let Passed { released, kept, left } = passed;
        if released > 0 {
            tracing::info!(
                events = released,
                kept,
                left,
                "parked events of projects that are not paused are delivered again"
            );
        }
        Ok(passed)
    }

    /// Waits for a reason to look again, or for the end.
    async fn reason(&self, mut before: Arc<Paused>, known: &mut watch::Receiver<Option<Arc<Paused>>>) {
        let looked = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = self.stop.requested.cancelled() => return,
                () = self.board.something_parked_late() => return,
                changed = known.changed() => {
                    let now = known.borrow_and_update().clone().unwrap_or_default();
                    if changed.is_err() || before.keys().any(|project| !now.contains_key(project)) {
                        return;
                    }
                    before = now;
                }
                () = tokio::time::sleep(CHECK_EVERY) => {
                                        let overdue = before.is_empty() || looked.elapsed() > LOOK_EVERY;
                    if self.parking.parked() > 0 && overdue {
                        return;
                    }
                }
            }
        }
    }
}
