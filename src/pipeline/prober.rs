//! Ends a halt: waits, probes, and then lets one event through; where none comes, the probe's success is enough.

use super::{
    halt::Halt,
    halt_state::{Halted, State, Step},
    watched::Watcher,
};
use crate::{
    event::HaltReason,
    pipeline::sink::{Outcome, Probed, Sink},
    process::secret::Generation,
};
use std::time::Duration;
use tokio::time::Instant;

/// First and longest wait between two probes: soon after a hiccup, and gently through a long outage.
const PROBE_EVERY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// For so long nobody may come to be tried before there is nothing to try: longer than those at their last attempt let others
/// go first, and than a source takes to bring what lies ready.
pub(super) const QUIET: Duration = Duration::from_secs(5);

/// Probes for as long as the process runs. Starts with one probe, so that a wrong token shows at once and not
/// with the first event.
pub async fn keep<S: Sink>(halt: &Halt, sink: &S) {
    let mut seen = sink.generation();
    // What else it may say is nothing certain about message calls; the first event will tell.
    if let Err(
        outcome @ Outcome::Halt { reason: HaltReason::Auth | HaltReason::Unreachable | HaltReason::RateLimited, .. },
    ) = sink.probe().await
    {
        begin(halt, HaltReason::Failing, outcome);
    }
    let mut states = halt.states();
    loop {
        states.wait_for(|state| matches!(state, State::Halted(_))).await;
        let mut wait = PROBE_EVERY.0;
        loop {
            let awaited = states.wait_for(|state| !matches!(state, State::Halted(c) if c.step != Step::Waiting)).await;
            let State::Halted(closed) = awaited else { break };
            wait_for_reason(&closed, wait, sink, seen).await;
            wait = (wait * 2).min(PROBE_EVERY.1);
            seen = sink.generation();
            if try_again(halt, sink, closed.reason).await == Some(Probed::Well) {
                until_tried_or_quiet(halt, &mut states).await;
            }
        }
        seen = sink.generation();
    }
}

/// Waits until trying has a chance: the far side's own date if it gave one, else a while or new credentials.
async fn wait_for_reason<S: Sink>(closed: &Halted, wait: Duration, sink: &S, seen: Generation) {
    if let Some(until) = closed.must_wait() {
        return tokio::time::sleep_until(until).await;
    }
    tokio::select! {
        biased;
        () = tokio::time::sleep(wait) => {}
        () = sink.credentials_changed(seen) => tracing::info!("the credentials changed: probing at once"),
    }
}

async fn try_again<S: Sink>(halt: &Halt, sink: &S, reason: HaltReason) -> Option<Probed> {
    // After a rate limit the one event is the probe: another call would only count against the limit.
    let probed = if reason == HaltReason::RateLimited { Ok(Probed::Well) } else { sink.probe().await };
    match probed {
        Ok(probed) => {
            halt.step(Step::Waiting, Step::HalfOpen);
            Some(probed)
        }
        Err(outcome) => {
            begin(halt, reason, outcome);
            None
        }
    }
}

/// Waits while an event may be tried, until one has shown more or none has come for [`QUIET`].
async fn until_tried_or_quiet(halt: &Halt, states: &mut Watcher<'_, State>) {
    let is_at = |state: &State, step| matches!(state, State::Halted(closed) if closed.step == step);
    let mut quiet_since = Instant::now();
    loop {
        let state = states.wait_for(|state| !is_at(state, Step::Probing)).await;
        if !is_at(&state, Step::HalfOpen) {
            return;
        }
        // One may come and prove nothing before this task can see it.
        quiet_since = halt.last_tried().map_or(quiet_since, |tried| tried.max(quiet_since));
        let changed = states.wait_for(|state| !is_at(state, Step::HalfOpen));
        match tokio::time::timeout_at(quiet_since + QUIET, changed).await {
            Ok(_) => {}
            Err(_) if halt.last_tried().is_some_and(|tried| tried > quiet_since) => {}
            Err(_) if halt.await_first_event() => return,
            Err(_) => quiet_since = Instant::now(),
        }
    }
}

/// Halts for what a probe came to; `otherwise` is the reason where that names none.
fn begin(halt: &Halt, otherwise: HaltReason, outcome: Outcome) {
    let until = |wait: Duration| Instant::now() + wait;
    match outcome {
        Outcome::Halt { reason, cause, wait } => halt.begin(reason, &cause, wait.map(until)),
        Outcome::Failed { cause, wait } => halt.begin(otherwise, &cause, wait.map(until)),
        other => tracing::warn!(outcome = ?other, "the probe was answered in an unexpected way"),
    }
}
