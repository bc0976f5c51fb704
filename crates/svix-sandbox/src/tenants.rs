//! Organisations and their applications. What one organisation has, no other can see.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use super::endpoints::{Endpoints, EventTypes};
use super::message_log::Seq;
use super::paging::{List, Order, Page};
use super::wire::ApplicationIn;

#[derive(Debug)]
pub(super) struct App {
    pub(super) id: Arc<str>,
    pub(super) uid: Option<Arc<str>>,
    pub(super) name: String,
    throttle_rate: Option<u16>,
    metadata: BTreeMap<String, String>,
    created: Timestamp,
    updated: Timestamp,
    pub(super) endpoints: Endpoints,
    /// Its messages, oldest first.
    pub(super) messages: VecDeque<Seq>,
    /// The event ids that are taken, while their messages are stored.
    pub(super) events: HashMap<Arc<str>, Seq>,
}

/// An application as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AppOut {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<String>,
    name: String,
    throttle_rate: Option<u16>,
    id: String,
    created_at: String,
    updated_at: String,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
pub(super) struct Org {
    apps: BTreeMap<Arc<str>, App>,
    uids: HashMap<Arc<str>, Arc<str>>,
    pub(super) event_types: EventTypes,
}

/// Something else has that uid or name.
#[derive(Debug)]
pub(super) struct Taken;

/// Microseconds, as Postgres keeps them.
pub(super) fn stamp(at: Timestamp) -> String {
    format!("{at:.6}")
}

impl App {
    pub(super) fn new(id: String, asked: ApplicationIn) -> Self {
        let now = Timestamp::now();
        Self {
            id: id.into(),
            uid: asked.uid.map(Into::into),
            name: asked.name,
            throttle_rate: asked.throttle_rate,
            metadata: asked.metadata,
            created: now,
            updated: now,
            endpoints: Endpoints::default(),
            messages: VecDeque::new(),
            events: HashMap::new(),
        }
    }

    pub(super) fn show(&self) -> AppOut {
        AppOut {
            uid: self.uid.as_ref().map(ToString::to_string),
            name: self.name.clone(),
            throttle_rate: self.throttle_rate,
            id: self.id.to_string(),
            created_at: stamp(self.created),
            updated_at: stamp(self.updated),
            metadata: self.metadata.clone(),
        }
    }
}

impl AppOut {
    fn id(&self) -> &str {
        &self.id
    }
}

impl Org {
    /// An application by uid or id.
    pub(super) fn find(&self, key: &str) -> Option<&App> {
        self.apps.get(self.uids.get(key).map_or(key, |id| id.as_ref()))
    }

    pub(super) fn find_mut(&mut self, key: &str) -> Option<&mut App> {
        self.apps.get_mut(self.uids.get(key).map_or(key, |id| id.as_ref()))
    }

    pub(super) fn insert(&mut self, app: App) -> Result<AppOut, Taken> {
        if let Some(uid) = &app.uid {
            if self.uids.contains_key(uid) {
                return Err(Taken);
            }
            self.uids.insert(uid.clone(), app.id.clone());
        }
        let shown = app.show();
        self.apps.insert(app.id.clone(), app);
        Ok(shown)
    }

    /// Overwrites an application; its uid becomes the one of the body, or none.
    pub(super) fn update(&mut self, id: &str, asked: ApplicationIn) -> Option<Result<AppOut, Taken>> {
        let app = self.apps.get_mut(id)?;
        let uid: Option<Arc<str>> = asked.uid.map(Into::into);
        if uid.as_ref().and_then(|uid| self.uids.get(uid)).is_some_and(|holder| *holder != app.id) {
            return Some(Err(Taken));
        }
        if let Some(old) = &app.uid {
            self.uids.remove(old);
        }
        if let Some(new) = &uid {
            self.uids.insert(new.clone(), app.id.clone());
        }
        app.uid = uid;
        app.name = asked.name;
        app.throttle_rate = asked.throttle_rate;
        app.metadata = asked.metadata;
        app.updated = Timestamp::now();
        Some(Ok(app.show()))
    }

    /// Frees the uid; a later application of that name is another one.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        let id = self.find(key).map(|app| app.id.clone());
        let app = id.and_then(|id| self.apps.remove(&id));
        if let Some(uid) = app.as_ref().and_then(|app| app.uid.as_ref()) {
            self.uids.remove(uid);
        }
        app.is_some()
    }

    pub(super) fn list(&self, page: &Page, order: &Order) -> List<AppOut> {
        let up = matches!(order, Order::Ascending) != page.back;
        let from = page.from.as_deref();
        let bounds: (Bound<&str>, Bound<&str>) = match (from, up) {
            (None, _) => (Bound::Unbounded, Bound::Unbounded),
            (Some(id), true) => (Bound::Excluded(id), Bound::Unbounded),
            (Some(id), false) => (Bound::Unbounded, Bound::Excluded(id)),
        };
        let apps = self.apps.range::<str, _>(bounds).map(|(_, app)| app);
        if up { page.cut(apps.map(App::show), AppOut::id) } else { page.cut(apps.rev().map(App::show), AppOut::id) }
    }

    pub(super) fn apps(&self) -> impl Iterator<Item = &App> {
        self.apps.values()
    }

    pub(super) fn apps_mut(&mut self) -> impl Iterator<Item = &mut App> {
        self.apps.values_mut()
    }

    pub(super) fn len(&self) -> usize {
        self.apps.len()
    }
}
