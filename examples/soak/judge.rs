//! Event by event: what was published, what Svix has, what lies in the dead-letter queue, and what is in neither.

use crate::{
    broker::DeadEvent,
    load::{body, number, project},
};
use std::collections::{BTreeMap, BTreeSet};
use svix_sandbox::StoredMessage;

#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    /// Climbed the whole ladder, and are in the dead-letter queue alone. Given up as they should be, and not lost.
    pub(crate) exhausted: u64,
    /// In the dead-letter queue, though Svix has them: it took a call that it never answered.
    pub(crate) both: u64,
    /// Further copies in the dead-letter queue of events that lie there already.
    pub(crate) dead_twice: u64,
    /// In the dead-letter queue by the broker itself, past the delivery limit.
    pub(crate) by_the_broker: u64,
    pub(crate) lost: Vec<u64>,
    /// What may not be: stored twice, changed, in another application, never published, dead for another reason.
    pub(crate) wrong: Vec<String>,
}

pub(crate) fn judge(published: u64, stored: &[StoredMessage], dead: &[DeadEvent]) -> Judged {
    let mut judged = Judged { published, ..Judged::default() };
    let mut at_svix = BTreeSet::new();
    for message in stored {
        let id = message.event_id.clone().unwrap_or_default();
        match number(&id).filter(|number| *number < published) {
            None => judged.wrong.push(format!("{id:?} is stored and was never published")),
            Some(number) => {
                if !at_svix.insert(number) {
                    judged.wrong.push(format!("{id} is stored twice"));
                }
                if message.app != project(number) {
                    judged.wrong.push(format!("{id} is stored by {}", message.app));
                }
                if message.payload != body(number) {
                    judged.wrong.push(format!("{id} has other bytes"));
                }
            }
        }
    }
    let mut given_up: BTreeMap<u64, u64> = BTreeMap::new();
    for event in dead {
        let head: serde_json::Value = serde_json::from_slice(&event.body).unwrap_or_default();
        let id = head["id"].as_str().unwrap_or_default();
        let Some(number) = number(id).filter(|number| *number < published && event.body == body(*number)) else {
            judged.wrong.push(format!("{id:?} is dead and was never published"));
            continue;
        };
        *given_up.entry(number).or_default() += 1;
        match event.reason.as_deref() {
            Some("exhausted") => {}
            None => judged.by_the_broker += 1,
            Some(other) => judged.wrong.push(format!("{id} is dead as {other}")),
        }
    }
    judged.delivered = at_svix.len() as u64;
    judged.both = given_up.keys().filter(|number| at_svix.contains(number)).count() as u64;
    judged.exhausted = given_up.len() as u64 - judged.both;
    judged.dead_twice = given_up.values().map(|copies| copies - 1).sum();
    judged.lost = (0..published).filter(|number| !at_svix.contains(number) && !given_up.contains_key(number)).collect();
    judged
}
