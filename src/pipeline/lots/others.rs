//! The lot that projects without one of their own share, worked in rounds.

use super::{Contents, LOOK_AFTER, Lots, lock};
use crate::{
    event::ParkReason,
    pipeline::{
        backoff::Backoff,
        parking::{Lot, NotNow, Parking, Whose},
        sink::Sink,
    },
};
use jiff::Timestamp;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::Instant};

/// Events that are taken in one round, and the first and longest wait after a round that did not make them fewer: each costs a
/// copy.
const MOST_IN_A_ROUND: u64 = 1_000;
const ROUND_EVERY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

impl<K: Parking, S: Sink> Lots<K, S> {
    /// Takes events of projects without a lot of their own, for ever.
    pub(super) async fn work_others(&self) {
        let mut backoff = Backoff::with(self.jitter.of("others"));
        loop {
            self.ready().await;
            let Err(error) = self.rounds_of_others(&mut backoff).await;
            let wait = backoff.next_wait();
            tracing::warn!(%error, wait_ms = wait.as_millis(), "parked events of projects without a queue of their own cannot be taken; trying again");
            tokio::time::sleep(wait).await;
        }
    }

    /// Round by round takes all that lies there and sees who may go; the rest comes back by being parked again.
    async fn rounds_of_others(&self, backoff: &mut Backoff) -> Result<Infallible, NotNow> {
        let mut lot = self.parking.open(Whose::Others).await?;
        let room = Arc::new(Semaphore::new(self.room_of_one));
        let mut wait = ROUND_EVERY.0;
        loop {
            let events = lot.count().await?;
            let since = lock(&self.others).since;
            self.show_others(events, since);
            let mut oldest = None;
            for _ in 0..events.min(MOST_IN_A_ROUND) {
                self.until_wanted(&mut lot, &room).await?;
                let places = self.places(&room).await;
                let Some(taken) = lot.take().await? else { break };
                oldest = oldest.into_iter().chain(taken.since).min();
                self.begin(taken, None, places);
            }
            // Never closed.
            drop(room.acquire_many(u32::try_from(self.room_of_one).unwrap_or(u32::MAX)).await);
            backoff.reset();
            let left = lot.count().await?;
            self.show_others(left, oldest);
            if left == 0 || left < events {
                wait = ROUND_EVERY.0;
            }
            if left == 0 || left >= events {
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(ROUND_EVERY.1);
            }
        }
    }

    /// Waits until nothing is halted, and gives up what is overdue meanwhile: a round takes nothing during a halt.
    async fn until_wanted(&self, lot: &mut K::Lot, room: &Arc<Semaphore>) -> Result<(), NotNow> {
        let mut look_at = Instant::now() + LOOK_AFTER;
        loop {
            tokio::select! {
                biased;
                () = self.pool.handler.halt.until_wanted() => return Ok(()),
                () = tokio::time::sleep_until(look_at) => {
                    let since = self.give_up_overdue(lot, room).await?;
                    look_at = self.max_age.next_look(since);
                    self.show_others(lot.count().await?, since);
                }
            }
        }
    }

    fn show_others(&self, events: u64, since: Option<Timestamp>) {
        let since = since.filter(|_| events > 0);
        *lock(&self.others) = Contents { events, reason: ParkReason::Provisioning, since };
    }
}
