//! The endpoints of an application, and the event types of an organisation that they may filter by. Kept and shown, and called
//! in the store alone: nothing is ever sent to one.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::paging::{List, Page};
use super::tenants::{Taken, stamp};
use super::wire_endpoints::{EndpointIn, EndpointPatch, EventTypeIn};

/// Endpoints of one application, and event types of one organisation, are kept for ever; far above any real number.
const MAX_KEPT: usize = 10_000;

/// An endpoint as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Endpoint {
    description: String,
    rate_limit: Option<u16>,
    throttle_rate: Option<u16>,
    uid: Option<String>,
    pub(super) url: String,
    version: u32,
    disabled: bool,
    event_types: Option<Vec<String>>,
    filter_types: Option<Vec<String>>,
    channels: Option<Vec<String>>,
    created_at: String,
    updated_at: String,
    pub(super) id: String,
    metadata: BTreeMap<String, String>,
    #[serde(skip)]
    pub(super) secret: String,
    #[serde(skip)]
    pub(super) headers: BTreeMap<String, String>,
}

/// In the order they were made, which is the order of their ids.
#[derive(Debug, Default)]
pub(super) struct Endpoints(Vec<Endpoint>);

impl Endpoints {
    pub(super) fn create(&mut self, id: String, secret: String, asked: EndpointIn) -> Result<Endpoint, Taken> {
        if asked.uid.as_deref().is_some_and(|uid| self.find(uid).is_some()) || self.0.len() >= MAX_KEPT {
            return Err(Taken);
        }
        let now = stamp(Timestamp::now());
        let endpoint = Endpoint {
            description: asked.description,
            rate_limit: asked.rate_limit,
            throttle_rate: asked.rate_limit,
            uid: asked.uid,
            url: asked.url.0,
            version: asked.version,
            disabled: asked.disabled,
            event_types: asked.filter_types.clone(),
            filter_types: asked.filter_types,
            channels: asked.channels,
            created_at: now.clone(),
            updated_at: now,
            id,
            metadata: asked.metadata,
            secret: asked.secret.map_or(secret, |secret| secret.0),
            headers: BTreeMap::new(),
        };
        self.0.push(endpoint.clone());
        Ok(endpoint)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.0.iter()
    }

    pub(super) fn find(&self, key: &str) -> Option<&Endpoint> {
        self.0.iter().find(|endpoint| endpoint.id == key || endpoint.uid.as_deref() == Some(key))
    }

    pub(super) fn change<T>(&mut self, key: &str, change: impl FnOnce(&mut Endpoint) -> T) -> Option<T> {
        let endpoint = self.0.iter_mut().find(|endpoint| endpoint.id == key || endpoint.uid.as_deref() == Some(key))?;
        let changed = change(endpoint);
        endpoint.updated_at = stamp(Timestamp::now());
        Some(changed)
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|endpoint| endpoint.id != key && endpoint.uid.as_deref() != Some(key));
        self.0.len() < before
    }

    /// Newest first, unless the page runs backwards.
    pub(super) fn list(&self, page: &Page) -> List<Endpoint> {
        let from = page.from.as_deref();
        let behind = |endpoint: &&Endpoint| {
            from.is_none_or(|from| if page.back { *endpoint.id > *from } else { *endpoint.id < *from })
        };
        let id = |endpoint: &Endpoint| endpoint.id.clone();
        match page.back {
            true => page.cut_by(self.0.iter().filter(behind).cloned(), id),
            false => page.cut_by(self.0.iter().rev().filter(behind).cloned(), id),
        }
    }
}

impl Endpoint {
    /// Whether a message of this type and these channels is for it.
    pub(super) fn takes(&self, kind: &str, channels: &[String]) -> bool {
        let of_type = self.filter_types.as_ref().is_none_or(|types| types.iter().any(|name| name == kind));
        let of_channel =
            self.channels.as_ref().is_none_or(|own| own.is_empty() || own.iter().any(|name| channels.contains(name)));
        !self.disabled && of_type && of_channel
    }

    pub(super) fn patch(&mut self, asked: EndpointPatch) -> Self {
        if let Some(disabled) = asked.disabled {
            self.disabled = disabled;
        }
        if let Some(url) = asked.url {
            self.url = url.0;
        }
        if let Some(description) = asked.description {
            self.description = description;
        }
        self.clone()
    }
}

/// An event type as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventType {
    name: String,
    description: String,
    archived: bool,
    deprecated: bool,
    schemas: Option<BTreeMap<String, Value>>,
    created_at: String,
    updated_at: String,
    feature_flag: Option<String>,
}

impl EventType {
    /// The first example of its newest schema.
    pub(super) fn example(&self) -> Option<&Value> {
        let version = |text: &str| text.parse::<u64>().unwrap_or_default();
        let schemas = self.schemas.as_ref()?;
        schemas.iter().max_by_key(|(name, _)| version(name))?.1.get("examples")?.get(0)
    }
}

#[derive(Debug, Default)]
pub(super) struct EventTypes(BTreeMap<String, EventType>);

impl EventTypes {
    pub(super) const fn none() -> Self {
        Self(BTreeMap::new())
    }

    pub(super) fn create(&mut self, asked: EventTypeIn) -> Result<EventType, Taken> {
        if self.0.contains_key(&asked.name) || self.0.len() >= MAX_KEPT {
            return Err(Taken);
        }
        let now = stamp(Timestamp::now());
        let kind = EventType {
            name: asked.name.clone(),
            description: asked.description,
            archived: false,
            deprecated: false,
            schemas: asked.schemas,
            created_at: now.clone(),
            updated_at: now,
            feature_flag: None,
        };
        self.0.insert(asked.name, kind.clone());
        Ok(kind)
    }

    pub(super) fn get(&self, name: &str) -> Option<&EventType> {
        self.0.get(name)
    }

    /// By name, without their schemas.
    pub(super) fn list(&self, page: &Page) -> List<EventType> {
        let from = page.from.as_deref();
        let behind =
            |kind: &&EventType| from.is_none_or(|from| if page.back { *kind.name < *from } else { *kind.name > *from });
        let bare = |kind: &EventType| EventType { schemas: None, ..kind.clone() };
        let name = |kind: &EventType| kind.name.clone();
        match page.back {
            true => page.cut_by(self.0.values().rev().filter(behind).map(bare), name),
            false => page.cut_by(self.0.values().filter(behind).map(bare), name),
        }
    }
}
