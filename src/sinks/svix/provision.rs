//! Applications that are missing: when to create one, one at a time, and when that would be a mistake.
//!
//! Another organisation's token looks exactly like missing applications (`tests/contract/auth_other_org_msg.json`), so
//! creation is limited, and stops where an application known under another token is gone.

use super::{
    absence::Absences,
    answer::{Answer, Create, Messages, Presence},
    route::{AppId, Destination, UnknownProject},
};
use crate::{
    event::{Cause, Event, HaltReason},
    observe::metrics::Metrics,
    process::secret::Generation,
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};
use tokio::time::Instant;

/// The window that `routing.provision_limit` counts in.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Applications remembered as having accepted; far above any organisation, so that memory stays bounded.
const MAX_KNOWN: usize = 100_000;
/// Rounds of creating and writing before the event climbs its rung: somebody deletes as fast as we create.
const ROUNDS: usize = 3;

/// Asked before each call but the first.
type GoesOn<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// Calls Svix for an event, and creates its application when that is missing and may be created.
#[derive(Debug)]
pub(super) struct Provisioner {
    unknown_project: UnknownProject,
    limit: usize,
    metrics: Arc<Metrics>,
    created: Mutex<VecDeque<Instant>>,
    /// One turn per application that is being created now.
    turns: Mutex<HashMap<AppId, Arc<tokio::sync::Mutex<Created>>>>,
    known: RwLock<Known>,
    absences: Absences,
}

/// Whether an earlier holder of the same turn has created the application.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Created {
    #[default]
    NotYet,
    ByNeighbour,
}

/// What the credentials have been seen to reach.
#[derive(Debug, Default)]
struct Known {
    accepted: HashMap<AppId, Generation>,
    /// Credentials under which an application of earlier ones was missing.
    suspect: Option<Generation>,
    /// Credentials under which an application of earlier ones was there: the same organisation.
    proven: Option<Generation>,
}

impl Provisioner {
    pub fn new(unknown_project: UnknownProject, limit: u32, metrics: Arc<Metrics>) -> Self {
        Self {
            unknown_project,
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            metrics,
            created: Mutex::default(),
            turns: Mutex::default(),
            known: RwLock::default(),
            absences: Absences::default(),
        }
    }

    /// Hands over one event. [`Answer::AppMissing`] comes back only where no application may be created; nothing at all if
    /// it was not to go on between two of its calls.
    pub async fn deliver<M: Messages>(
        &self,
        calls: &M,
        event: &Event,
        to: &Destination,
        goes_on: GoesOn<'_>,
    ) -> Option<Answer> {
        let generation = calls.generation();
        let mut answer = calls.post(event, to.app(), Create::Never).await;
        if let Answer::NotFound(cause) = answer {
            // Boxed, since it is rare and would make the task of every event three times as large.
            answer = Box::pin(self.not_found(calls, event, to, generation, cause, goes_on)).await?;
        }
        if matches!(answer, Answer::Accepted(_) | Answer::Conflict) {
            self.remember(to.app(), generation);
        }
        Some(answer)
    }

    /// Finds out what was not found, and creates it if that is an application which may be created.
    async fn not_found<M: Messages>(
        &self,
        calls: &M,
        event: &Event,
        to: &Destination,
        generation: Generation,
        cause: Cause,
        goes_on: GoesOn<'_>,
    ) -> Option<Answer> {
        let app = to.app();
        match self.absences.ask(calls, app, generation, goes_on).await? {
            Err(answer) => return Some(answer),
            // Created meanwhile, or it was never missing.
            Ok(Presence::There) if goes_on() => {
                return Some(match calls.post(event, app, Create::Never).await {
                    Answer::NotFound(cause) => not_about(app, cause),
                    answer => answer,
                });
            }
            Ok(Presence::There) => return None,
            Ok(Presence::Missing) => {}
        }
        if self.missing_under_new_credentials(app, generation) {
            return Some(foreign_token(app));
        }
        match (to, self.unknown_project) {
            (Destination::OfProject(app), UnknownProject::Provision) => {
                self.create_and_deliver(calls, event, app, generation, goes_on).await
            }
            _ => Some(Answer::AppMissing(cause)),
        }
    }

    async fn create_and_deliver<M: Messages>(
        &self,
        calls: &M,
        event: &Event,
        app: &AppId,
        generation: Generation,
        goes_on: GoesOn<'_>,
    ) -> Option<Answer> {
        for round in 0..ROUNDS {
            let turn = self.turn(app);
            let created = turn.lock().await;
            // It accepted under these credentials: the answer may be older than its creation, and only now arrive.
            let late = round == 0 && self.accepted_under(generation, app);
            let answer = match if late { Created::ByNeighbour } else { *created } {
                Created::NotYet if goes_on() => {
                    let answer = self.create(calls, event, app, created).await;
                    if matches!(answer, Answer::Accepted(_)) {
                        // Before the turn is forgotten: whoever comes later finds it here.
                        self.remember(app, generation);
                    }
                    Some(answer)
                }
                // Somebody else has, while this one waited: the usual call will do, beside those of the others.
                Created::ByNeighbour => {
                    drop(created);
                    None
                }
                Created::NotYet => {
                    drop(created);
                    self.leave(app, turn);
                    return None;
                }
            };
            self.leave(app, turn);
            match answer {
                // Created in one call, and still missing: whatever that is, the event is not at fault.
                Some(Answer::NotFound(_)) => {
                    return Some(implausible(format!("application {app} is missing even to the call that creates it")));
                }
                // A conflict of a creating call is ambiguous: a repeat, or a race lost and nothing stored.
                None | Some(Answer::Conflict) => {}
                Some(answer) => return Some(answer),
            }
            if !goes_on() {
                return None;
            }
            let answer = calls.post(event, app, Create::Never).await;
            if !matches!(answer, Answer::NotFound(_)) {
                return Some(answer);
            }
        }
        let detail = format!("application {app} went missing as often as it was created");
        Some(Answer::Failed { cause: Cause { status: Some(404), detail }, wait: None })
    }

    async fn create<M: Messages>(
        &self,
        calls: &M,
        event: &Event,
        app: &AppId,
        mut created: tokio::sync::MutexGuard<'_, Created>,
    ) -> Answer {
        if let Err(not_yet) = self.reserve(app) {
            return not_yet;
        }
        let answer = calls.post(event, app, Create::IfMissing).await;
        match answer {
            Answer::Accepted(_) => {
                *created = Created::ByNeighbour;
                self.metrics.apps_provisioned.inc();
                tracing::info!(app = app.as_str(), "created the Svix application of a new project");
            }
            Answer::Conflict => *created = Created::ByNeighbour,
            // Nothing was created, as far as anybody knows: an outage must not use up the limit.
            _ => {
                lock(&self.created).pop_back();
            }
        }
        answer
    }

    /// Counts one more application towards the limit, or says that it is reached.
    fn reserve(&self, app: &AppId) -> Result<(), Answer> {
        let mut created = lock(&self.created);
        while created.front().is_some_and(|at| at.elapsed() > WINDOW) {
            created.pop_front();
        }
        if created.len() >= self.limit {
            let wait = created.front().map_or(WINDOW, |oldest| WINDOW.saturating_sub(oldest.elapsed()));
            let detail = format!(
                "application {app} is missing, and routing.provision_limit = {} an hour is reached: is the token the \
                 right organisation's?",
                self.limit
            );
            return Err(Answer::NotYet { cause: Cause { status: Some(404), detail }, wait });
        }
        created.push_back(Instant::now());
        Ok(())
    }

    fn missing_under_new_credentials(&self, app: &AppId, generation: Generation) -> bool {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.proven == Some(generation) {
            return false;
        }
        if known.accepted.get(app).is_some_and(|under| *under != generation) {
            known.suspect = Some(generation);
        }
        known.suspect == Some(generation)
    }

    fn accepted_under(&self, generation: Generation, app: &AppId) -> bool {
        self.known.read().unwrap_or_else(PoisonError::into_inner).accepted.get(app) == Some(&generation)
    }

    fn remember(&self, app: &AppId, generation: Generation) {
        let before = self.known.read().unwrap_or_else(PoisonError::into_inner).accepted.get(app).copied();
        if before == Some(generation) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if before.is_some() {
            known.proven = Some(generation);
        }
        if before.is_some() || known.accepted.len() < MAX_KNOWN {
            known.accepted.insert(app.detached(), generation);
        }
    }

    fn turn(&self, app: &AppId) -> Arc<tokio::sync::Mutex<Created>> {
        Arc::clone(lock(&self.turns).entry(app.detached()).or_default())
    }

    /// The last one out forgets the turn.
    fn leave(&self, app: &AppId, turn: Arc<tokio::sync::Mutex<Created>>) {
        let mut turns = lock(&self.turns);
        drop(turn);
        if turns.get(app).is_some_and(|left| Arc::strong_count(left) == 1) {
            turns.remove(app);
        }
    }
}

/// Svix finds the application, and yet not what a message to it needs: no event is at fault.
fn not_about(app: &AppId, Cause { status, detail }: Cause) -> Answer {
    let detail = format!("{detail}, to a message for application {app}, which is there");
    Answer::Unusable { reason: HaltReason::NotSvix, cause: Cause { status, detail } }
}

fn foreign_token(app: &AppId) -> Answer {
    implausible(format!(
        "application {app} is missing, and ones that accepted before svix.token changed are too: is it another \
         organisation's token? Put the right one back, or restart hookbro to take the new one at its word"
    ))
}

fn implausible(detail: String) -> Answer {
    Answer::Unusable { reason: HaltReason::Provisioning, cause: Cause { status: Some(404), detail } }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
