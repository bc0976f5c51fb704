//! Reading a message: what Svix made of it at each endpoint. Shapes as recorded in `tests/contract`
//! (`msg_get_by_event_id`, `attempted_destinations`, `attempts_by_msg`).

use super::{
    http::{ClientError, client},
    route::{AppId, Routes},
    settings::Settings,
    takers::{Taker, takers},
    wire::regional_url,
};
use crate::{
    event::{EventId, NOT_DISPATCHED, ProjectId},
    operate::{
        api_types,
        sanitize::Plain,
        timeline::{MessageView, SvixSide},
    },
    process::secret::Generation,
};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Longest wait, for all three calls together: a page waits for it.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Endpoints and attempts shown. Svix takes at most 250.
const MOST: usize = 50;
/// Endpoints read to find who takes a message: the largest page that Svix gives.
const MOST_TAKERS: usize = 250;
/// Largest answer read: fifty attempts, each with the answer of an endpoint.
const MAX_ANSWER: usize = 2 * 1024 * 1024;
/// Longest answer of an endpoint that is shown, in characters.
const MAX_RESPONSE: usize = 500;

/// Reads messages with the token that delivers them.
#[derive(Debug)]
pub struct SvixView {
    settings: Settings,
    routes: Routes,
    /// Made again when the authorities change.
    client: Mutex<(Generation, Client)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    id: String,
    timestamp: Option<String>,
    event_type: Option<String>,
    channels: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    #[serde(default = "yes")]
    done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    id: String,
    url: String,
    status_text: Option<String>,
    next_attempt: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    timestamp: String,
    endpoint_id: String,
    url: Option<String>,
    status_text: Option<String>,
    response_status_code: i64,
    response: Option<String>,
    response_duration_ms: Option<i64>,
}

fn yes() -> bool {
    true
}

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { data: Vec::new(), done: true }
    }
}

impl SvixView {
    /// Fails as [`super::SvixSink::new`] does.
    pub fn new(settings: &Settings, routes: &Routes) -> Result<Self, ClientError> {
        let generation = settings.authorities.generation();
        let client = Mutex::new((generation, client(settings, false)?));
        Ok(Self { settings: settings.clone(), routes: routes.clone(), client })
    }

    fn client(&self) -> Result<Client, String> {
        let mut last = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.settings.authorities.generation();
        if last.0 != generation {
            *last = (generation, client(&self.settings, false).map_err(|error| error.to_string())?);
        }
        Ok(last.1.clone())
    }

    /// What is at a path; `None` for a 404. A refusal names no value of Svix's.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, String> {
        let token = self.settings.token.current();
        if token.is_empty() {
            return Err("svix.token is not set".to_owned());
        }
        let base = if self.settings.url.is_empty() { regional_url(&token) } else { &self.settings.url };
        let sent = self.client()?.get(format!("{base}{path}")).bearer_auth(token).send().await;
        let mut response = sent.map_err(|error| match error.is_timeout() {
            true => "no answer from Svix in time".to_owned(),
            false => "Svix could not be reached".to_owned(),
        })?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(format!("Svix answered {}", status.as_u16())),
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|_| "the answer of Svix broke off".to_owned())? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err("the answer of Svix is too long".to_owned());
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map(Some).map_err(|_| "the answer is not Svix's".to_owned())
    }

    async fn read(&self, app: &AppId, event: &EventId) -> Result<Option<SvixSide>, String> {
        // Clients of HTTP take these for steps of the path.
        if matches!(event.as_str(), "." | "..") {
            return Err("no URL can carry the id of this event".to_owned());
        }
        let base = format!("/api/v1/app/{app}");
        let message = self.get::<Message>(&format!("{base}/msg/{event}?with_content=false")).await?;
        let Some(mut message) = message else { return Ok(None) };
        let (kind, channels) = (message.event_type.take().unwrap_or_default(), message.channels.take());
        let channels = channels.unwrap_or_default();
        let destinations = format!("{base}/msg/{event}/endpoint?limit={MOST}");
        let attempted = format!("{base}/attempt/msg/{event}?limit={MOST}");
        let (endpoints, attempts) =
            tokio::join!(self.get::<List<Destination>>(&destinations), self.get::<List<Attempt>>(&attempted));
        // The message is shown even where the rest cannot be.
        let hidden = || "Svix does not tell the endpoints and attempts of this message".to_owned();
        let missing = match (&endpoints, &attempts) {
            (Err(why), _) | (_, Err(why)) => Some(why.clone()),
            (Ok(None), _) | (_, Ok(None)) => Some(hidden()),
            _ => None,
        };
        let (endpoints, attempts) =
            (endpoints.ok().flatten().unwrap_or_default(), attempts.ok().flatten().unwrap_or_default());
        let mut side = side(message, endpoints, attempts, missing);
        if side.missing.is_none() && side.endpoints.is_empty() && side.attempts.is_empty() {
            match self.undispatched(app, &kind, &channels).await {
                Ok(why) => side.undispatched = Some(why),
                Err(why) => side.missing = Some(why),
            }
        }
        Ok(Some(side))
    }

    /// Why nobody was called for a message. Of an application with more endpoints than one page the rest is not asked for: it has
    /// some, and most often one takes the message.
    async fn undispatched(&self, app: &AppId, kind: &str, channels: &[String]) -> Result<&'static str, String> {
        let page = self.get::<List<Taker>>(&format!("/api/v1/app/{app}/endpoint?limit={MOST_TAKERS}")).await?;
        let Some(List { data, done }) = page else {
            return Err("Svix does not tell the endpoints of this application".to_owned());
        };
        match takers(&data, kind, channels) {
            Err(nobody) if done => Ok(nobody.as_str()),
            _ => Ok(NOT_DISPATCHED),
        }
    }
}

fn side(message: Message, endpoints: List<Destination>, attempts: List<Attempt>, missing: Option<String>) -> SvixSide {
    let status = |text: Option<String>| text.map_or_else(|| "unknown".into(), Plain::from);
    SvixSide {
        message: api_types::Message { id: message.id.into(), created_at: message.timestamp.map(Into::into) },
        truncated: !(endpoints.done && attempts.done),
        undispatched: None,
        endpoints: endpoints
            .data
            .into_iter()
            .map(|one| api_types::Endpoint {
                id: one.id.into(),
                url: one.url.into(),
                status: status(one.status_text),
                next_attempt_at: one.next_attempt.map(Into::into),
            })
            .collect(),
        attempts: attempts
            .data
            .into_iter()
            .map(|one| api_types::Call {
                at: one.timestamp.into(),
                endpoint_id: one.endpoint_id.into(),
                url: one.url.unwrap_or_default().into(),
                status: status(one.status_text),
                response_status: one.response_status_code,
                response: one.response.unwrap_or_default().chars().take(MAX_RESPONSE).collect::<String>().into(),
                duration_ms: one.response_duration_ms,
            })
            .collect(),
        missing,
    }
}

impl MessageView for SvixView {
    fn destination(&self, project: &ProjectId) -> Plain {
        Plain::new(self.routes.destination(project).app().as_str())
    }

    async fn message(&self, project: &ProjectId, event: &EventId) -> Result<Option<SvixSide>, String> {
        let late = || Err("no answer from Svix in time".to_owned());
        tokio::time::timeout(TIMEOUT, self.read(self.routes.destination(project).app(), event))
            .await
            .unwrap_or_else(|_| late())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded<T: DeserializeOwned>(case: &str) -> T {
        let path = format!("{}/tests/contract/{case}.json", env!("CARGO_MANIFEST_DIR"));
        let case: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        serde_json::from_value(case["response"]["body"].clone()).unwrap()
    }

    #[test]
    fn what_a_real_svix_answered_is_shown() {
        let side = side(
            recorded("msg_get_by_event_id"),
            recorded("attempted_destinations"),
            recorded("attempts_by_msg"),
            None,
        );
        assert!(side.message.id.as_str().starts_with("msg_"));
        assert_eq!((side.endpoints.len(), side.attempts.len(), side.truncated), (4, 3, false));
        assert_eq!(side.endpoints[1].status, "fail");
        assert_eq!(side.endpoints[1].next_attempt_at, Some("2026-11-23T20:51:21.139211Z".into()));
        assert_eq!((side.attempts[0].response_status, side.attempts[0].response.as_str()), (200, "ok"));
    }
}
