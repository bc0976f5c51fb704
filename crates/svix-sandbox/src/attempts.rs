//! The attempts of a message: whom Svix has called for it. Nothing is sent anywhere, so each is noted as a success at once.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::endpoints::Endpoint;
use super::paging::{List, Page};
use super::tenants::stamp;

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// It followed from the message.
    Scheduled,
    /// Somebody asked for it: a resend.
    Manual,
}

/// One attempt.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) id: String,
    pub(super) endpoint: String,
    pub(super) url: String,
    pub(super) trigger: Trigger,
    pub(super) at: Timestamp,
}

/// An attempt as the API shows it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttemptOut {
    url: String,
    response: &'static str,
    response_status_code: u16,
    response_duration_ms: u64,
    status: u8,
    status_text: &'static str,
    trigger_type: u8,
    msg_id: String,
    endpoint_id: String,
    id: String,
    timestamp: String,
}

impl Attempt {
    fn show(&self, message: &str) -> AttemptOut {
        AttemptOut {
            url: self.url.clone(),
            response: "",
            response_status_code: 200,
            response_duration_ms: 0,
            status: 0,
            status_text: "success",
            trigger_type: u8::from(self.trigger == Trigger::Manual),
            msg_id: message.to_owned(),
            endpoint_id: self.endpoint.clone(),
            id: self.id.clone(),
            timestamp: stamp(self.at),
        }
    }
}

/// A page of them, newest first unless it runs backwards.
pub(super) fn list(attempts: &[Attempt], message: &str, page: &Page) -> List<AttemptOut> {
    let from = page.from.as_deref();
    let behind = |one: &&Attempt| from.is_none_or(|from| if page.back { *one.id > *from } else { *one.id < *from });
    let show = |one: &Attempt| one.show(message);
    let id = |one: &AttemptOut| one.id.clone();
    match page.back {
        true => page.cut_by(attempts.iter().filter(behind).map(show), id),
        false => page.cut_by(attempts.iter().rev().filter(behind).map(show), id),
    }
}

/// The endpoints that were called, each as the API shows it and what became of the message there.
pub(super) fn destinations<'a>(
    attempts: &[Attempt],
    endpoints: impl Iterator<Item = &'a Endpoint>,
    page: &Page,
) -> List<Value> {
    let called = endpoints.filter(|endpoint| attempts.iter().any(|one| one.endpoint == endpoint.id));
    let shown = called.filter_map(|endpoint| {
        let mut shown = serde_json::to_value(endpoint).ok()?;
        let state = json!({"status": 0, "statusText": "success", "nextAttempt": null});
        shown.as_object_mut()?.extend(state.as_object()?.clone());
        Some(shown)
    });
    page.cut_by(shown, |endpoint| endpoint["id"].as_str().unwrap_or_default().to_owned())
}
