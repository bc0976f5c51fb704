//! The HTTP client: one pool, one timeout, one call per attempt. Retrying is the caller's business.

use super::{
    body::MessageBody,
    classify::{Reply, classify, classify_error, error_label},
    settings::Settings,
    trace,
    wire::{message_body, message_path, regional_url, retry_after},
};
use crate::{
    domain::{AppId, Cause, Event, PauseReason},
    ports::{
        metrics::Metrics,
        secret::{Generation, Secret},
        sink::{Answer, Create, Sink},
        trace::Traces,
    },
};
use bytes::Bytes;
use prometheus::IntCounter;
use reqwest::{
    Client, Method, Request, Response, StatusCode, Url,
    header::{self, HeaderValue},
    redirect,
};
use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

/// Longest answer read. Svix's own take a few hundred bytes; anything longer is somebody else's page.
const MAX_ANSWER: usize = 64 * 1024;
/// Wait after a 429 that does not say how long.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// What the probe asks for: cheap, needs the token, writes nothing.
const PROBE_PATH: &str = "/api/v1/app?limit=1";

/// Applications whose address is kept, some 300 bytes each; those of a larger organisation are put together anew.
const MAX_KNOWN: usize = 10_000;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Delivers to Svix.
#[derive(Debug)]
pub struct SvixSink {
    client: Client,
    url: String,
    token: Secret,
    /// Made anew when the token changes.
    access: RwLock<Option<Arc<Access>>>,
    metrics: Arc<Metrics>,
    traces: Traces,
    accepted: OnceLock<IntCounter>,
}

/// What all calls under one token have in common, made once.
#[derive(Debug)]
struct Access {
    generation: Generation,
    base: String,
    authorization: HeaderValue,
    /// Where messages of an application go: taking an address apart costs more than looking it up.
    messages: RwLock<HashMap<AppId, Url>>,
}

impl SvixSink {
    /// Fails only if the TLS set-up of this machine does, for example without any root certificate.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .user_agent(concat!("hookbro/", env!("CARGO_PKG_VERSION")))
            .timeout(settings.timeout)
            .redirect(redirect::Policy::none())
            .build()?;
        let (url, token) = (settings.url.clone(), settings.token.clone());
        let (access, traces, accepted) = (RwLock::default(), Traces::default(), OnceLock::new());
        Ok(Self { client, url, token, access, metrics, traces, accepted })
    }

    /// With a span for every message call.
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// What calls need under the token of now, or why none can be made.
    fn access(&self) -> Result<Arc<Access>, Answer> {
        let generation = self.token.generation();
        let current = self.access.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(access) = current.filter(|access| access.generation == generation) {
            return Ok(access);
        }
        // At least as new as `generation`: should it be newer, the next call makes another.
        let access = Arc::new(Access::new(generation, &self.url, &self.token.current())?);
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&access));
        Ok(access)
    }

    fn message_call(&self, app: &AppId) -> Result<(Url, HeaderValue), Answer> {
        let access = self.access()?;
        Ok((access.message_url(app)?, access.authorization.clone()))
    }

    async fn post(&self, url: Url, authorization: HeaderValue, body: MessageBody) -> Answer {
        let mut request = Request::new(Method::POST, url);
        request.headers_mut().insert(header::AUTHORIZATION, authorization);
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        *request.body_mut() = Some(body.into());
        let span = trace::begin(&self.traces, &mut request);
        let started = Instant::now();
        let answered = read(self.client.execute(request).await).await;
        self.metrics.svix_request_duration.observe(started.elapsed().as_secs_f64());
        trace::end(&span, answered.as_ref().map(|(head, _)| head.status));
        match &answered {
            Ok((head, _)) if head.status == StatusCode::ACCEPTED => self.accepted().inc(),
            Ok((head, _)) => self.metrics.svix_requests.with_label_values(&[head.status.as_str()]).inc(),
            Err(error) => self.metrics.svix_requests.with_label_values(&[error_label(error)]).inc(),
        }
        judge(answered)
    }

    /// The series of the usual answer, looked up once and not before there was one.
    fn accepted(&self) -> &IntCounter {
        self.accepted.get_or_init(|| self.metrics.svix_requests.with_label_values(&[StatusCode::ACCEPTED.as_str()]))
    }
}

impl Access {
    fn new(generation: Generation, url: &str, token: &str) -> Result<Self, Answer> {
        if token.is_empty() {
            return Err(no_access("svix.token is not set: set svix.token or svix.token_file"));
        }
        let base = if url.is_empty() { regional_url(token) } else { url }.to_owned();
        let mut authorization = HeaderValue::try_from(format!("Bearer {token}"))
            .map_err(|_| no_access("svix.token holds a character that no HTTP header can carry"))?;
        authorization.set_sensitive(true);
        Ok(Self { generation, base, authorization, messages: RwLock::default() })
    }

    fn url(&self, path: &str) -> Result<Url, Answer> {
        Url::parse(&format!("{}{path}", self.base)).map_err(|_| no_access("svix.url is no URL"))
    }

    fn message_url(&self, app: &AppId) -> Result<Url, Answer> {
        let known = self.messages.read().unwrap_or_else(PoisonError::into_inner).get(app).cloned();
        if let Some(url) = known {
            return Ok(url);
        }
        let url = self.url(&message_path(app))?;
        let mut messages = self.messages.write().unwrap_or_else(PoisonError::into_inner);
        if messages.len() < MAX_KNOWN {
            messages.insert(app.detached(), url.clone());
        }
        Ok(url)
    }
}

fn no_access(detail: &str) -> Answer {
    Answer::Unusable { reason: PauseReason::Auth, cause: Cause { status: None, detail: detail.to_owned() } }
}

/// Status and wait of an answer, apart from its body.
struct Head {
    status: StatusCode,
    retry_after: Option<Duration>,
}

/// Reads an answer to its end, or to as much as any of Svix's own would take.
async fn read(sent: Result<Response, reqwest::Error>) -> Result<(Head, Bytes), reqwest::Error> {
    let mut response = sent?;
    let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = wait.and_then(|value| retry_after(value, SystemTime::now()));
    let head = Head { status: response.status(), retry_after };
    // Nearly always one piece, which needs no copy.
    let mut body = response.chunk().await?.unwrap_or_default();
    while body.len() <= MAX_ANSWER {
        match response.chunk().await? {
            Some(chunk) => body = [body, chunk].concat().into(),
            None => break,
        }
    }
    Ok((head, body))
}

fn judge(answered: Result<(Head, Bytes), reqwest::Error>) -> Answer {
    match answered {
        Ok((head, body)) => {
            classify(&Reply { status: head.status, retry_after: head.retry_after, body: &body }, DEFAULT_WAIT)
        }
        Err(error) => classify_error(&error),
    }
}

impl Sink for SvixSink {
    async fn deliver(&self, event: &Event, app: &AppId, create: Create) -> Answer {
        let (url, authorization) = match self.message_call(app) {
            Ok(call) => call,
            Err(answer) => return answer,
        };
        self.post(url, authorization, message_body(event, app, create)).await
    }

    async fn probe(&self) -> Result<(), Answer> {
        let access = self.access()?;
        let mut request = Request::new(Method::GET, access.url(PROBE_PATH)?);
        request.headers_mut().insert(header::AUTHORIZATION, access.authorization.clone());
        // Any 200 will do, and the answer of something that does not list applications: whether it takes messages, the one
        // event that is tried next finds out.
        const GOOD_ENOUGH: [StatusCode; 3] = [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        match read(self.client.execute(request).await).await {
            Ok((head, _)) if GOOD_ENOUGH.contains(&head.status) => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt as _;

    /// The protocols that are offered stand in the first message of TLS, in the clear (RFC 7301, 3.1): HTTP/2 before HTTP/1.1.
    #[tokio::test]
    async fn https_offers_http2() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let settings = Settings { url, token: Secret::fixed("sk_x"), timeout: Duration::from_secs(5) };
        let sink = SvixSink::new(&settings, Arc::new(Metrics::new().unwrap())).unwrap();
        let calling = tokio::spawn(async move { sink.probe().await });
        let (mut socket, _) = listener.accept().await.unwrap();
        let offer = b"\x02h2\x08http/1.1";
        let mut hello = Vec::new();
        while !hello.windows(offer.len()).any(|bytes| bytes == offer) {
            assert_ne!(socket.read_buf(&mut hello).await.unwrap(), 0, "the hello ended without an offer of HTTP/2");
        }
        calling.abort();
    }
}
