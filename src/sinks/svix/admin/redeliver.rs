//! Calls that have Svix deliver something for a test or once more. None is repeated where it may have taken effect.

use super::{
    call::{AdminError, Repeat, SvixAdmin},
    wire::escaped,
};
use crate::{
    event::{EndpointId, EventId, EventType},
    sinks::svix::route::AppId,
};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

/// What Svix made: a message, a task.
#[derive(Deserialize)]
struct Made {
    id: String,
}

impl SvixAdmin {
    /// Sends an example of `kind` to one endpoint; answers the message's id. `None` if application, endpoint or event type are
    /// not there (`send_example_no_schema`).
    pub async fn send_example(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        kind: &EventType,
    ) -> Result<Option<String>, AdminError> {
        let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/send-example");
        let body = json!({"eventType": kind.as_str()});
        self.made("send a test message", &path, &body, StatusCode::OK).await
    }

    /// Delivers again what failed at `endpoint` since then, 14 days ago at most (`recover_too_old`); answers the task's id.
    pub async fn recover(
        &self,
        app: &AppId,
        endpoint: &EndpointId,
        since: Timestamp,
    ) -> Result<Option<String>, AdminError> {
        let path = format!("/api/v1/app/{app}/endpoint/{endpoint}/recover");
        let body = json!({"since": since.to_string()});
        self.made("recover failed messages", &path, &body, StatusCode::ACCEPTED).await
    }

    /// Delivers one message again, once, to one endpoint; says whether all three are there.
    pub async fn resend(&self, app: &AppId, event: &EventId, endpoint: &EndpointId) -> Result<bool, AdminError> {
        let path = format!("/api/v1/app/{app}/msg/{}/endpoint/{endpoint}/resend", escaped(event.as_str()));
        let answer = self.call("resend a message", Method::POST, &path, None, Repeat::Untouched).await?;
        if answer.is_own(StatusCode::NOT_FOUND) {
            return Ok(false);
        }
        answer.expect(&[StatusCode::ACCEPTED]).map(|()| true)
    }

    async fn made(
        &self,
        doing: &'static str,
        path: &str,
        body: &serde_json::Value,
        expected: StatusCode,
    ) -> Result<Option<String>, AdminError> {
        let answer = self.call(doing, Method::POST, path, Some(body), Repeat::Untouched).await?;
        if answer.is_own(StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        answer.json::<Made>(&[expected]).map(|made| Some(made.id))
    }
}
