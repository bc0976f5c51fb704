//! The handle that tests use: what the sandbox has seen, and the faults that it shall show.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;

use super::attempts::Trigger;
use super::auth::Gate;
use super::fault::{Fault, InvalidFault};
use super::fault_registry::{FaultId, FaultRegistry, FaultState};
use super::message_log::Message;
use super::options::Options;
use super::request_log::{RequestLine, RequestLog};
use super::store::Store;

/// A message as it was accepted, its application deleted since or not.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    pub org: String,
    /// The uid of the application, or its id if it has none.
    pub app: String,
    /// The id of the application; another one after it was deleted and created again.
    pub app_id: String,
    pub id: String,
    pub event_id: Option<String>,
    pub event_type: String,
    /// The bytes of the payload as they were sent; empty once expunged or forgotten for want of room.
    pub payload: Bytes,
    pub at: Instant,
    /// Oldest first.
    pub attempts: Vec<StoredAttempt>,
}

/// That an endpoint was called for a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAttempt {
    /// The id of the endpoint.
    pub endpoint: String,
    pub trigger: Trigger,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    pub org: String,
    pub id: String,
    pub uid: Option<String>,
    pub name: String,
    /// Messages stored.
    pub messages: usize,
}

/// A handle to one sandbox; clones share it. It outlives every `serve`, so that Svix can be down for a while.
#[derive(Clone, Debug)]
pub struct Sandbox {
    pub(super) inner: Arc<Inner>,
}

/// Shared by every connection, hence behind locks. No task waits while it has one, and none takes two at once.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) options: Options,
    pub(super) gate: Gate,
    pub(super) started: Instant,
    store: Mutex<Store>,
    request_log: Mutex<RequestLog>,
    faults: Mutex<FaultRegistry>,
}

impl Inner {
    pub(super) fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn request_log(&self) -> MutexGuard<'_, RequestLog> {
        self.request_log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, FaultRegistry> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets messages, event ids and the request log; applications and faults stay.
    pub(super) fn clear_messages(&self) {
        self.store().clear_messages();
        self.request_log().clear();
    }
}

impl Sandbox {
    pub fn new(options: Options) -> Self {
        let inner = Inner {
            gate: Gate::new(&options),
            started: Instant::now(),
            store: Mutex::new(Store::new(&options)),
            request_log: Mutex::new(RequestLog::new(options.max_requests)),
            faults: Mutex::default(),
            options,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Every message stored, in the order they were accepted.
    pub fn messages(&self) -> Vec<StoredMessage> {
        self.inner.store().messages().map(StoredMessage::from).collect()
    }

    /// How many messages are stored.
    pub fn message_count(&self) -> usize {
        self.inner.store().messages().count()
    }

    /// Whether an application, by its uid or id, has a message under this event id.
    pub fn has(&self, app: &str, event_id: &str) -> bool {
        let store = self.inner.store();
        store
            .apps()
            .any(|(_, one)| (one.uid.as_deref() == Some(app) || &*one.id == app) && one.events.contains_key(event_id))
    }

    /// Every call of the API that has ended, in the order of endings.
    pub fn requests(&self) -> Vec<RequestLine> {
        self.inner.request_log().lines().cloned().collect()
    }

    pub fn applications(&self) -> Vec<Application> {
        let store = self.inner.store();
        let mut apps: Vec<Application> = store
            .apps()
            .map(|(org, app)| Application {
                org: org.to_string(),
                id: app.id.to_string(),
                uid: app.uid.as_ref().map(ToString::to_string),
                name: app.name.clone(),
                messages: app.messages.len(),
            })
            .collect();
        apps.sort_by(|a, b| (&a.org, &a.id).cmp(&(&b.org, &b.id)));
        apps
    }

    /// Scripts a fault; it applies to calls that arrive from now on.
    ///
    /// # Panics
    ///
    /// If the fault makes no sense; [`Sandbox::try_add_fault`] returns the reason instead.
    pub fn add_fault(&self, fault: Fault) -> FaultId {
        match self.try_add_fault(fault) {
            Ok(id) => id,
            Err(err) => panic!("{err}"),
        }
    }

    pub fn try_add_fault(&self, fault: Fault) -> Result<FaultId, InvalidFault> {
        self.inner.faults().add(fault)
    }

    /// Whether it was there.
    pub fn remove_fault(&self, id: FaultId) -> bool {
        self.inner.faults().remove(id)
    }

    pub fn clear_faults(&self) {
        self.inner.faults().clear();
    }

    pub fn faults(&self) -> Vec<FaultState> {
        self.inner.faults().list().to_vec()
    }

    /// Forgets messages, event ids and the request log; applications and faults stay.
    pub fn clear_messages(&self) {
        self.inner.clear_messages();
    }
}

impl From<&Message> for StoredMessage {
    fn from(message: &Message) -> Self {
        Self {
            org: message.org.to_string(),
            app: message.app.to_string(),
            app_id: message.app_id.to_string(),
            id: message.id.clone(),
            event_id: message.event_id.as_ref().map(ToString::to_string),
            event_type: message.event_type.clone(),
            payload: message.payload.clone().unwrap_or_default(),
            at: message.at,
            attempts: message
                .attempts
                .iter()
                .map(|one| StoredAttempt { endpoint: one.endpoint.clone(), trigger: one.trigger })
                .collect(),
        }
    }
}
