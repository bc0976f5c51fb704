//! SIGTERM and SIGINT: the first asks for an orderly end, the second gets an immediate one.

use crate::ports::stop::Stop;
use tokio::signal::unix::{SignalKind, signal};

/// Exit code of a process that was told twice.
const EXIT_AT_ONCE: i32 = 1;

/// A [`Stop`] that the process's signals request.
pub(super) async fn listen() -> std::io::Result<Stop> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = Stop::default();
    let requested = stop.requested.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if requested.is_cancelled() {
                eprintln!("hookbro: second signal, exiting at once; the broker delivers what was in flight again");
                std::process::exit(EXIT_AT_ONCE);
            }
            requested.cancel();
        }
    });
    Ok(stop)
}
