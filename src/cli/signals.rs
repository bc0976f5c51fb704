//! SIGTERM and SIGINT: the first asks for an orderly end, the second for a quick one, the third gets an immediate one.

use crate::process::stop::{LAST_CALLS, Stop};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a process that did not end in an orderly way.
const EXIT_AT_ONCE: i32 = 1;
/// After the last calls: settling what they came to, the goodbye to the broker, the last entries of the journal.
const CLOSING: Duration = Duration::from_secs(5);

struct Signals(Signal, Signal);

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// A [`Stop`] that the process's signals request.
pub(super) async fn listen() -> std::io::Result<Stop> {
    let mut signals = Signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = Stop::default();
    let (requested, hurried) = (stop.requested.clone(), stop.hurried.clone());
    tokio::spawn(async move {
        signals.next().await;
        requested.cancel();
        signals.next().await;
        // A call that is cut off between Svix's commit and its queue leaves a message that nobody is called for.
        let seconds = LAST_CALLS.as_secs();
        eprintln!("hookbro: second signal; ending within {seconds} s, once calls in flight are answered");
        hurried.cancel();
        tokio::select! {
            () = signals.next() => {}
            () = tokio::time::sleep(LAST_CALLS + CLOSING) => {}
        }
        eprintln!("hookbro: exiting at once; the broker delivers what was in flight again");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(stop)
}
