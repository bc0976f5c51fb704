//! A sink that answers from a script: the second implementation that the port is for.

use crate::{
    event::{AppId, Cause, Dispatch, Event, PauseReason},
    pipeline::sink::{Answer, Create, Repeat, Sink, Stored},
    process::secret::{Generation, Secret, SecretSource},
};
use std::{collections::VecDeque, sync::Mutex, time::Duration};

/// Answers each call with the next of its script, and from its end on with the last.
#[derive(Debug)]
pub(super) struct FakeSink {
    script: Mutex<VecDeque<Answer>>,
    probe: Mutex<Result<(), Answer>>,
    proofs: Mutex<VecDeque<Answer>>,
    calls: Mutex<Vec<(String, Create)>>,
    credentials: (SecretSource, Secret),
}

impl FakeSink {
    pub(super) fn answering(script: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            script: Mutex::new(script.into_iter().collect()),
            probe: Mutex::new(Ok(())),
            proofs: Mutex::default(),
            calls: Mutex::default(),
            credentials: Secret::changing("one"),
        }
    }

    pub(super) fn answer_from_now_on(&self, script: impl IntoIterator<Item = Answer>) {
        *self.script.lock().unwrap() = script.into_iter().collect();
    }

    /// What conflicts are proved to be, one after another; without any, repeats that were called for.
    pub(super) fn prove_conflicts(self, proofs: impl IntoIterator<Item = Answer>) -> Self {
        *self.proofs.lock().unwrap() = proofs.into_iter().collect();
        self
    }

    pub(super) fn answer_probes(&self, answer: Result<(), Answer>) {
        *self.probe.lock().unwrap() = answer;
    }

    pub(super) fn change_credentials(&self, value: &str) {
        self.credentials.0.set(value);
    }

    /// Which application each call named, and whether it might create it.
    pub(super) fn calls(&self) -> Vec<(String, Create)> {
        self.calls.lock().unwrap().clone()
    }
}

impl Sink for FakeSink {
    async fn deliver(&self, _: &Event, app: &AppId, create: Create) -> Answer {
        self.calls.lock().unwrap().push((app.to_string(), create));
        tokio::task::yield_now().await;
        let mut script = self.script.lock().unwrap();
        if script.len() > 1 { script.pop_front().unwrap() } else { script.front().unwrap().clone() }
    }

    async fn prove(&self, _: &Event, _: &AppId, _: bool, goes_on: &(dyn Fn() -> bool + Send + Sync)) -> Option<Answer> {
        tokio::task::yield_now().await;
        goes_on().then(|| self.proofs.lock().unwrap().pop_front().unwrap_or_else(|| repeated(Dispatch::Called)))
    }

    async fn probe(&self) -> Result<(), Answer> {
        self.probe.lock().unwrap().clone()
    }

    fn generation(&self) -> Generation {
        self.credentials.1.generation()
    }

    async fn credentials_changed(&self, seen: Generation) {
        self.credentials.1.changed_since(seen).await;
    }
}

pub(super) fn accepted() -> Answer {
    Answer::Accepted(Stored { status: Some(202), message: Some("msg_1".into()) })
}

pub(super) fn repeated(dispatch: Dispatch) -> Answer {
    Answer::Repeated(Repeat { message: Some("msg_1".into()), dispatch })
}

pub(super) fn cause(status: u16) -> Cause {
    Cause { status: Some(status), detail: format!("answered {status}") }
}

pub(super) fn failed() -> Answer {
    Answer::Failed { cause: cause(500), wait: None }
}

pub(super) fn unusable(reason: PauseReason) -> Answer {
    Answer::Unusable { reason, cause: cause(401) }
}

pub(super) fn throttled(seconds: u64) -> Answer {
    Answer::Throttled { wait: Duration::from_secs(seconds), cause: cause(429) }
}
