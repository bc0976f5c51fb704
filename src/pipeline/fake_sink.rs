//! A sink that answers from a script: the second implementation that the seam is for.

use crate::{
    event::{Cause, DeadReason, Dispatch, Event, HaltReason, ProjectId},
    pipeline::sink::{Outcome, Probed, Repeat, Sink, Stored, Terms},
    process::secret::{Generation, Secret, SecretSource},
};
use std::{collections::VecDeque, sync::Mutex, time::Duration};

/// Answers each event with the next outcome of its script, and from its end on with the last.
#[derive(Debug)]
pub(super) struct FakeSink {
    script: Mutex<VecDeque<Outcome>>,
    probe: Mutex<Result<Probed, Outcome>>,
    calls: Mutex<Vec<String>>,
    credentials: (SecretSource, Secret),
}

impl FakeSink {
    pub(super) fn answering(script: impl IntoIterator<Item = Outcome>) -> Self {
        Self {
            script: Mutex::new(script.into_iter().collect()),
            probe: Mutex::new(Ok(Probed::Well)),
            calls: Mutex::default(),
            credentials: Secret::changing("one"),
        }
    }

    pub(super) fn answer_from_now_on(&self, script: impl IntoIterator<Item = Outcome>) {
        *self.script.lock().unwrap() = script.into_iter().collect();
    }

    pub(super) fn answer_probes(&self, outcome: Result<Probed, Outcome>) {
        *self.probe.lock().unwrap() = outcome;
    }

    pub(super) fn change_credentials(&self, value: &str) {
        self.credentials.0.set(value);
    }

    /// The destination of each event.
    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }
}

impl Sink for FakeSink {
    type Destination = ProjectId;

    fn destination(&self, event: &Event) -> ProjectId {
        event.project.clone()
    }

    async fn deliver(&self, _: &Event, to: &ProjectId, _: Terms<'_>) -> Option<Outcome> {
        self.calls.lock().unwrap().push(to.to_string());
        tokio::task::yield_now().await;
        let mut script = self.script.lock().unwrap();
        Some(if script.len() > 1 { script.pop_front().unwrap() } else { script.front().unwrap().clone() })
    }

    async fn probe(&self) -> Result<Probed, Outcome> {
        self.probe.lock().unwrap().clone()
    }

    fn generation(&self) -> Generation {
        self.credentials.1.generation()
    }

    async fn credentials_changed(&self, seen: Generation) {
        self.credentials.1.changed_since(seen).await;
    }
}

pub(super) fn accepted() -> Outcome {
    Outcome::Accepted(Stored { status: Some(202), message: Some("msg_1".into()) })
}

pub(super) fn repeated(dispatch: Dispatch) -> Outcome {
    Outcome::Repeated(Repeat { status: Some(409), message: Some("msg_1".into()), dispatch })
}

pub(super) fn cause(status: u16) -> Cause {
    Cause { status: Some(status), detail: format!("answered {status}") }
}

pub(super) fn dead(reason: DeadReason, status: u16) -> Outcome {
    Outcome::Dead { reason, cause: cause(status) }
}

pub(super) fn failed() -> Outcome {
    Outcome::Failed { cause: cause(500), wait: None }
}

pub(super) fn unusable(reason: HaltReason) -> Outcome {
    Outcome::Halt { reason, cause: cause(401), wait: None }
}

pub(super) fn throttled(seconds: u64) -> Outcome {
    let wait = Some(Duration::from_secs(seconds));
    Outcome::Halt { reason: HaltReason::RateLimited, cause: cause(429), wait }
}
