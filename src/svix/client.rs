//! The HTTP client: one pool, one timeout, one call per attempt. Retrying is the caller's business.

use super::{
    classify::{Reply, classify, classify_error, error_label},
    settings::Settings,
    wire::{message_body, message_path, regional_url, retry_after},
};
use crate::{
    domain::{AppId, Cause, Event, PauseReason},
    ports::{
        metrics::Metrics,
        secret::{Generation, Secret},
        sink::{Answer, Create, Sink},
    },
};
use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Response, header, redirect};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Longest answer read. Svix's own take a few hundred bytes; anything longer is somebody else's page.
const MAX_ANSWER: usize = 64 * 1024;
/// Wait after a 429 that does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// What the probe asks for: cheap, needs the token, writes nothing.
const PROBE_PATH: &str = "/api/v1/app?limit=1";

/// Delivers to Svix.
#[derive(Debug)]
pub struct SvixSink {
    client: Client,
    url: String,
    token: Secret,
    metrics: Arc<Metrics>,
}

impl SvixSink {
    /// Fails only if the TLS set-up of this machine does, for example without any root certificate.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("hookbro/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self { client, url: settings.url.clone(), token: settings.token.clone(), metrics })
    }

    /// The call with its address and token, or why none can be made.
    fn request(&self, method: reqwest::Method, path: &str) -> Result<RequestBuilder, Answer> {
        let token = self.token.current();
        if token.is_empty() {
            let detail = "svix.token is not set: set svix.token or svix.token_file".to_owned();
            return Err(Answer::Unusable { reason: PauseReason::Auth, cause: Cause { status: None, detail } });
        }
        let base = if self.url.is_empty() { regional_url(&token) } else { &self.url };
        Ok(self.client.request(method, format!("{base}{path}")).bearer_auth(token))
    }

    async fn post(&self, path: &str, body: Bytes) -> Answer {
        let request = match self.request(reqwest::Method::POST, path) {
            Ok(request) => request.header(header::CONTENT_TYPE, "application/json").body(body),
            Err(answer) => return answer,
        };
        let started = Instant::now();
        let answered = read(request.send().await).await;
        self.metrics.svix_request_duration.observe(started.elapsed().as_secs_f64());
        match &answered {
            Ok((response, _)) => self.metrics.svix_requests.with_label_values(&[response.status.as_str()]).inc(),
            Err(error) => self.metrics.svix_requests.with_label_values(&[error_label(error)]).inc(),
        }
        judge(answered)
    }
}

/// Status and wait of an answer, apart from its body.
struct Head {
    status: reqwest::StatusCode,
    retry_after: Option<Duration>,
}

/// Reads an answer to its end, or to as much as any of Svix's own would take.
async fn read(sent: Result<Response, reqwest::Error>) -> Result<(Head, Vec<u8>), reqwest::Error> {
    let mut response = sent?;
    let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = wait.and_then(|value| retry_after(value, jiff::Timestamp::now()));
    let head = Head { status: response.status(), retry_after };
    let mut body = Vec::new();
    while body.len() <= MAX_ANSWER {
        match response.chunk().await? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok((head, body))
}

fn judge(answered: Result<(Head, Vec<u8>), reqwest::Error>) -> Answer {
    match answered {
        Ok((head, body)) => {
            classify(&Reply { status: head.status, retry_after: head.retry_after, body: &body }, DEFAULT_WAIT)
        }
        Err(error) => classify_error(&error),
    }
}

impl Sink for SvixSink {
    async fn deliver(&self, event: &Event, app: &AppId, create: Create) -> Answer {
        self.post(&message_path(app), message_body(event, app, create)).await
    }

    async fn probe(&self) -> Result<(), Answer> {
        // Any 200 will do: whether it was Svix that gave it, the one event that is tried next finds out.
        match read(self.request(reqwest::Method::GET, PROBE_PATH)?.send().await).await {
            Ok((head, _)) if head.status == reqwest::StatusCode::OK => Ok(()),
            other => Err(judge(other)),
        }
    }

    fn generation(&self) -> Generation {
        self.token.generation()
    }

    async fn credentials_changed(&self, seen: Generation) {
        self.token.changed_since(seen).await;
    }
}
