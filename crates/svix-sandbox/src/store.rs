//! Everything the sandbox remembers of the API: organisations, applications, messages.
//!
//! One lock guards it, taken for one step and never kept while waiting: it stands for the database, whose single statements
//! are atomic and whose requests are not. No step takes longer the more messages there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;

use super::attempts::{Attempt, Trigger};
use super::endpoints::{Endpoint, EventType, EventTypes};
use super::ids::Ids;
use super::message_log::{Message, MessageLog, Seq};
use super::options::Options;
use super::paging::{List, Order, Page};
use super::tenants::{App, AppOut, Org, Taken};
use super::validate::{APP_PREFIX, ATTEMPT_PREFIX, ENDPOINT_PREFIX, MESSAGE_PREFIX};
use super::wire::{ApplicationIn, MessageIn};
use super::wire_endpoints::{EndpointIn, EventTypeIn, SECRET_PREFIX};

/// Applications are kept for ever, so a client that makes a new one per call has to be stopped somewhere.
const MAX_APPS: usize = 100_000;
/// The event types of an organisation that has none.
static NO_EVENT_TYPES: EventTypes = EventTypes::none();

#[derive(Debug)]
pub(super) struct Store {
    ids: Ids,
    orgs: HashMap<Arc<str>, Org>,
    log: MessageLog,
}

/// Why something was not written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The uid or event id is taken.
    Taken,
    /// The application is not there, or not any more.
    NoApp,
    /// No room for another application.
    Full,
}

impl Store {
    pub(super) fn new(options: &Options) -> Self {
        let log = MessageLog::new(options.max_payload_bytes, options.max_messages);
        Self { ids: Ids::default(), orgs: HashMap::new(), log }
    }

    pub(super) fn app(&self, org: &str, key: &str) -> Option<&App> {
        self.orgs.get(org)?.find(key)
    }

    pub(super) fn app_mut(&mut self, org: &str, key: &str) -> Option<&mut App> {
        self.orgs.get_mut(org)?.find_mut(key)
    }

    /// `None` if there is no such application.
    pub(super) fn create_endpoint(
        &mut self,
        org: &str,
        key: &str,
        asked: EndpointIn,
    ) -> Option<Result<Endpoint, Taken>> {
        let (id, secret) = (self.ids.next(ENDPOINT_PREFIX), self.new_secret());
        Some(self.app_mut(org, key)?.endpoints.create(id, secret, asked))
    }

    pub(super) fn create_event_type(&mut self, org: &Arc<str>, asked: EventTypeIn) -> Result<EventType, Taken> {
        self.orgs.entry(org.clone()).or_default().event_types.create(asked)
    }

    pub(super) fn event_types(&self, org: &str) -> &EventTypes {
        self.orgs.get(org).map_or(&NO_EVENT_TYPES, |org| &org.event_types)
    }

    /// Signs nothing, since nothing is delivered.
    pub(super) fn new_secret(&self) -> String {
        format!("{SECRET_PREFIX}{}", BASE64_STANDARD.encode(rand::random::<[u8; 24]>()))
    }

    pub(super) fn new_portal_token(&mut self) -> String {
        self.ids.next("appsk_")
    }

    pub(super) fn new_task(&mut self) -> String {
        self.ids.next("qtask_")
    }

    pub(super) fn create_app(&mut self, org: &Arc<str>, asked: ApplicationIn) -> Result<AppOut, Refusal> {
        if self.orgs.values().map(Org::len).sum::<usize>() >= MAX_APPS {
            return Err(Refusal::Full);
        }
        let app = App::new(self.ids.next(APP_PREFIX), asked);
        self.orgs.entry(org.clone()).or_default().insert(app).map_err(|_| Refusal::Taken)
    }

    pub(super) fn update_app(&mut self, org: &str, id: &str, asked: ApplicationIn) -> Result<AppOut, Refusal> {
        let updated = self.orgs.get_mut(org).and_then(|org| org.update(id, asked));
        updated.ok_or(Refusal::NoApp)?.map_err(|_| Refusal::Taken)
    }

    pub(super) fn delete_app(&mut self, org: &str, key: &str) -> bool {
        self.orgs.get_mut(org).is_some_and(|org| org.remove(key))
    }

    pub(super) fn list_apps(&self, org: &str, page: &Page, order: &Order) -> List<AppOut> {
        let nothing = Org::default();
        self.orgs.get(org).unwrap_or(&nothing).list(page, order)
    }

    pub(super) fn insert_message(&mut self, org: &Arc<str>, key: &str, asked: MessageIn) -> Result<Message, Refusal> {
        let app = self.orgs.get_mut(org).and_then(|org| org.find_mut(key)).ok_or(Refusal::NoApp)?;
        let payload = asked.delivered();
        let event_id: Option<Arc<str>> = asked.event_id.map(Into::into);
        if event_id.as_ref().is_some_and(|id| app.events.contains_key(id)) {
            return Err(Refusal::Taken);
        }
        let message = Message {
            org: org.clone(),
            app_id: app.id.clone(),
            app: app.uid.clone().unwrap_or_else(|| app.id.clone()),
            id: self.ids.next(MESSAGE_PREFIX),
            event_id: event_id.clone(),
            event_type: asked.event_type,
            channels: asked.channels,
            payload: Some(payload),
            at: Instant::now(),
            timestamp: Timestamp::now(),
            attempts: Vec::new(),
        };
        let (seq, gone) = self.log.push(message.clone());
        app.messages.push_back(seq);
        if let Some(event_id) = event_id {
            app.events.insert(event_id, seq);
        }
        for (seq, message) in gone {
            self.let_go(seq, &message);
        }
        Ok(message)
    }

    /// Calls every endpoint that takes this message, by its id.
    pub(super) fn dispatch(&mut self, id: &str) {
        let Some(message) = self.log.find(id).and_then(|seq| self.log.get_mut(seq)) else { return };
        let Some(app) = self.orgs.get(&message.org).and_then(|org| org.find(&message.app_id)) else { return };
        let channels = message.channels.as_ref().map_or(&[][..], |channels| &channels.0);
        for endpoint in app.endpoints.iter().filter(|one| one.takes(&message.event_type, channels)) {
            message.attempts.push(attempt(self.ids.next(ATTEMPT_PREFIX), endpoint, Trigger::Scheduled));
        }
    }

    /// Calls one endpoint for a message, whatever its filter.
    pub(super) fn call(&mut self, seq: Seq, endpoint: &Endpoint, trigger: Trigger) {
        let id = self.ids.next(ATTEMPT_PREFIX);
        if let Some(message) = self.log.get_mut(seq) {
            message.attempts.push(attempt(id, endpoint, trigger));
        }
    }

    /// A message of an application, by id or event id.
    pub(super) fn message(&self, app: &App, key: &str) -> Option<(Seq, &Message)> {
        let seq = app.events.get(key).copied().or_else(|| self.log.find(key))?;
        let message = self.log.get(seq)?;
        (message.app_id == app.id).then_some((seq, message))
    }

    pub(super) fn expunge(&mut self, seq: Seq) {
        self.log.forget(seq);
    }

    /// The messages of an application behind the page's iterator, in the direction of the page; newest come first.
    pub(super) fn walk<'a>(&'a self, app: &'a App, page: &Page) -> Box<dyn Iterator<Item = &'a Message> + 'a> {
        let get = |seq: &Seq| self.log.get(*seq);
        let Some(from) = page.from.as_deref() else {
            let seqs = app.messages.iter();
            return if page.back { Box::new(seqs.filter_map(get)) } else { Box::new(seqs.rev().filter_map(get)) };
        };
        let bound = self.log.seq_from(from);
        let split = app.messages.partition_point(|seq| *seq < bound);
        if page.back {
            let from = from.to_owned();
            Box::new(app.messages.range(split..).filter_map(get).filter(move |message| message.id != from))
        } else {
            Box::new(app.messages.range(..split).rev().filter_map(get))
        }
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = &Message> {
        self.log.iter()
    }

    pub(super) fn apps(&self) -> impl Iterator<Item = (&Arc<str>, &App)> {
        self.orgs.iter().flat_map(|(name, org)| org.apps().map(move |app| (name, app)))
    }

    /// Forgets every message and event id; applications stay.
    pub(super) fn clear_messages(&mut self) {
        self.log.clear();
        for app in self.orgs.values_mut().flat_map(Org::apps_mut) {
            app.messages.clear();
            app.events.clear();
        }
    }

    fn let_go(&mut self, seq: Seq, message: &Message) {
        let org = self.orgs.get_mut(&message.org);
        let Some(app) = org.and_then(|org| org.find_mut(&message.app_id)) else {
            return;
        };
        if app.messages.front() == Some(&seq) {
            app.messages.pop_front();
        }
        if let Some(event_id) = &message.event_id {
            app.events.remove(event_id);
        }
    }
}

fn attempt(id: String, endpoint: &Endpoint, trigger: Trigger) -> Attempt {
    let (endpoint, url) = (endpoint.id.clone(), endpoint.url.clone());
    Attempt { id, endpoint, url, trigger, at: Timestamp::now() }
}
