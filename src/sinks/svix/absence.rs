//! Applications that Svix was found not to have, so that a burst of events for one of them does not ask for each.

use super::{
    answer::{Answer, Messages, Presence},
    route::AppId,
};
use crate::process::secret::Generation;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How long a missing application is taken for missing: a burst's worth. Events that come later ask again.
const REMEMBERED: Duration = Duration::from_secs(5);
/// Applications remembered, some 200 bytes each; of what is above that each event asks.
const MOST: usize = 1_000;

/// What was answered, when, and under which credentials.
#[derive(Debug)]
struct Lookup {
    at: Instant,
    under: Generation,
    answer: Result<Presence, Answer>,
}

/// One at a time asks for an application; those who wait for it share its answer.
type Slot = Arc<tokio::sync::Mutex<Option<Lookup>>>;

/// Asks for applications, each rarely.
#[derive(Debug, Default)]
pub(super) struct Absences(Mutex<HashMap<AppId, Slot>>);

impl Absences {
    /// Whether `app` is there; nothing if it was not to go on when its turn to ask came.
    pub(super) async fn ask<M: Messages>(
        &self,
        calls: &M,
        app: &AppId,
        under: Generation,
        goes_on: &(dyn Fn() -> bool + Send + Sync),
    ) -> Option<Result<Presence, Answer>> {
        let wanted = Instant::now();
        let slot = self.slot(app);
        let mut last = slot.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.under == under && last.holds(wanted)) {
            return Some(last.answer.clone());
        }
        if !goes_on() {
            return None;
        }
        let answer = calls.look_up(app).await;
        *last = Some(Lookup { at: Instant::now(), under, answer: answer.clone() });
        Some(answer)
    }

    fn slot(&self, app: &AppId) -> Slot {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(app) {
            return Arc::clone(slot);
        }
        if slots.len() >= MOST {
            // One that is locked is in use.
            slots.retain(|_, slot| slot.try_lock().map_or(true, |last| last.as_ref().is_some_and(Lookup::is_fresh)));
        }
        let slot = Slot::default();
        if slots.len() < MOST {
            slots.insert(app.detached(), Arc::clone(&slot));
        }
        slot
    }
}

impl Lookup {
    /// Whether this answers who wants to know since `wanted`.
    fn holds(&self, wanted: Instant) -> bool {
        self.at > wanted || self.is_fresh()
    }

    fn is_fresh(&self) -> bool {
        self.answer == Ok(Presence::Missing) && self.at.elapsed() < REMEMBERED
    }
}
