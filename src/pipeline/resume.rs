//! Keeps the board of paused projects up to date with their store.

use crate::{
    pipeline::pauses::{Board, PauseStore, Pauses},
    process::stop::Stop,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often the store is asked: a pause at one replica reaches the others so much later.
const POLL_EVERY: Duration = Duration::from_secs(2);
/// The same until it has answered for the first time.
const FIRST_POLL_EVERY: Duration = Duration::from_millis(50);
/// How long delivery waits for that once its source is open. A store that is away longer must not keep events from their way;
/// pauses then hold from the moment on at which it comes back.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Keeps the board up to date for as long as the process runs.
pub async fn follow<S: PauseStore>(pauses: Arc<Pauses<S>>) {
    let began = Instant::now();
    let mut away = false;
    loop {
        let heard = match pauses.refresh().await {
            Ok(_) => true,
            Err(error) => {
                let starting = pauses.board().known().borrow().is_none() && began.elapsed() < FIRST_WAIT;
                if !away && !starting {
                    tracing::warn!(%error, "the pauses of projects cannot be read; those known before hold");
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
        biased;
        // The sender lives as long as the board.
        _ = known.wait_for(Option::is_some) => {}
        () = stop.requested.cancelled() => {}
        () = tokio::time::sleep(FIRST_WAIT) => {
            tracing::warn!("events go out although it is not known which projects are paused");
        }
    }
}
