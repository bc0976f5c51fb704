//! The HTTP client: one pool, one timeout, one call per attempt. Retrying is the caller's business.

use super::{
    answer::{Answer, Create},
    body::MessageBody,
    classify::{Reply, classify, classify_error, error_label, is_list, refusal},
    http::{ClientError, client, proxy_variable},
    recent_acceptances::RecentAcceptances,
    route::AppId,
    settings::Settings,
    trace,
    wire::{message_body, message_path, regional_url, retry_after},
};
use crate::{
    event::{Cause, Event, EventId, HaltReason},
    observe::{metrics::Metrics, trace::Traces},
    pipeline::sink::Probed,
    process::secret::{Generation, Secret},
};
use bytes::{Bytes, BytesMut};
use prometheus::IntCounter;
use reqwest::{
    Client, Method, Request, Response, StatusCode, Url,
    header::{self, HeaderValue},
    tls::TlsInfo,
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

/// Longest answer read. Svix's own take a few hundred bytes; anything longer is somebody else's page.
const MAX_ANSWER: usize = 64 * 1024;
/// Wait after a 429 that does not say how long.
pub(super) const DEFAULT_WAIT: Duration = Duration::from_secs(1);
/// What the probe asks for: cheap, needs the token, writes nothing.
pub(super) const PROBE_PATH: &str = "/api/v1/app?limit=1";

/// Applications whose address is kept, some 300 bytes each; those of a larger organisation are put together each time.
const MAX_KNOWN: usize = 10_000;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Calls Svix.
#[derive(Debug)]
pub(super) struct SvixClient {
    settings: Settings,
    /// Made again when the token or an authority changes.
    access: RwLock<Option<Arc<Access>>>,
    metrics: Arc<Metrics>,
    traces: Traces,
    accepted: OnceLock<IntCounter>,
    pub(super) recent: RecentAcceptances,
}

/// What all calls under one token and the same authorities have in common, made once.
struct Access {
    of: Generations,
    client: Client,
    base: String,
    authorization: HeaderValue,
    /// Where messages of an application go: taking an address apart costs more than looking it up.
    messages: RwLock<HashMap<AppId, Url>>,
}

/// Which token and which authorities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Generations {
    token: Generation,
    authorities: Generation,
}

impl SvixClient {
    /// Fails if nothing could be called: without any root certificate, or with a proxy that is none.
    pub fn new(settings: &Settings, metrics: Arc<Metrics>) -> Result<Self, ClientError> {
        // Made now, so that the start fails and not the first event; what calls use is made with the first of them.
        client(settings, false)?;
        if let Some(variable) = proxy_variable(settings) {
            tracing::info!(variable, "Svix is called through the proxy of the environment, unless NO_PROXY excepts it");
        }
        let (access, traces, accepted) = (RwLock::default(), Traces::default(), OnceLock::new());
        Ok(Self { settings: settings.clone(), access, metrics, traces, accepted, recent: RecentAcceptances::default() })
    }

    /// With a span for every message call.
    pub fn traced(self, traces: Traces) -> Self {
        Self { traces, ..self }
    }

    /// What calls need under the token of now, or why none can be made.
    fn access(&self) -> Result<Arc<Access>, Answer> {
        let Settings { token, authorities, .. } = &self.settings;
        let of = Generations { token: token.generation(), authorities: authorities.generation() };
        let last = self.access.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(access) = last.as_ref().filter(|access| access.of == of) {
            return Ok(Arc::clone(access));
        }
        // The connections of the last one are still good unless the authorities have changed.
        let kept = last.filter(|access| access.of.authorities == of.authorities).map(|access| access.client.clone());
        // At least as new as `of`: should it be newer, the next call makes another.
        let access = Arc::new(Access::new(of, kept, &self.settings)?);
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&access));
        Ok(access)
    }

    /// Hands over one event, in one call.
    pub(super) async fn message(&self, event: &Event, app: &AppId, create: Create) -> Answer {
        let called = self.access().and_then(|access| Ok((access.message_url(app)?, access)));
        match called {
            Ok((url, access)) => {
                let answer = self.send(&access, url, message_body(event, app, create), &event.id).await;
                if matches!(answer, Answer::Accepted(_)) {
                    self.recent.remember(app, &event.id);
                }
                answer
            }
            Err(answer) => answer,
        }
    }

    /// Asks for something cheap that needs the token and writes nothing. Counted nowhere: it is no event's call.
    pub(super) async fn probe(&self) -> Result<Probed, Answer> {
        let access = self.access()?;
        let mut request = Request::new(Method::GET, access.url(PROBE_PATH)?);
        request.headers_mut().insert(header::AUTHORIZATION, access.authorization.clone());
        // Something that does not list applications may take messages all the same: the one event that is tried next finds out.
        const UNCLEAR: [StatusCode; 3] = [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
        match read(access.client.execute(request).await).await {
            Ok((head, body)) if is_list(&head.reply(&body)) => Ok(Probed::Well),
            Ok((head, _)) if UNCLEAR.contains(&head.status) => Ok(Probed::Unclear),
            Ok((head, body)) => Err(refusal(&head.reply(&body), DEFAULT_WAIT)),
            Err(error) => Err(classify_error(&error)),
        }
    }

    pub(super) fn token(&self) -> &Secret {
        &self.settings.token
    }

    async fn send(&self, access: &Access, url: Url, body: MessageBody, event: &EventId) -> Answer {
        let mut request = Request::new(Method::POST, url);
        request.headers_mut().insert(header::AUTHORIZATION, access.authorization.clone());
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        *request.body_mut() = Some(body.into());
        let span = trace::begin(&self.traces, &mut request);
        let started = Instant::now();
        let answered = read(access.client.execute(request).await).await;
        self.metrics.svix_request_duration.observe(started.elapsed().as_secs_f64());
        trace::end(&span, answered.as_ref().map(|(head, _)| head.status));
        self.count(answered.as_ref().map(|(head, _)| head.status));
        match answered {
            Ok((head, body)) => classify(&head.reply(&body), event, DEFAULT_WAIT),
            Err(error) => classify_error(&error),
        }
    }

    fn count(&self, answered: Result<StatusCode, &reqwest::Error>) {
        match answered {
            Ok(StatusCode::ACCEPTED) => self.accepted().inc(),
            Ok(status) => self.metrics.svix_requests.with_label_values(&[status.as_str()]).inc(),
            Err(error) => self.metrics.svix_requests.with_label_values(&[error_label(error)]).inc(),
        }
    }

    /// A call without a body, of which up to `most` bytes are read; what came instead of an answer is judged.
    pub(super) async fn ask(&self, method: Method, path: &str, most: usize) -> Result<Asked, Answer> {
        let access = self.access()?;
        let mut request = Request::new(method, access.url(path)?);
        request.headers_mut().insert(header::AUTHORIZATION, access.authorization.clone());
        let sent = access.client.execute(request).await;
        let date = sent.as_ref().ok().and_then(|response| response.headers().get(header::DATE)?.to_str().ok());
        let at = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
        let answered = read_up_to(sent, most).await;
        self.count(answered.as_ref().map(|(head, _)| head.status));
        match answered {
            Ok((head, body)) => Ok(Asked { head, body, at }),
            Err(error) => Err(classify_error(&error)),
        }
    }

    /// The certificate that Svix shows, as DER; none without TLS or an answer. Asks on a connection of its own.
    pub async fn server_certificate(&self) -> Option<Vec<u8>> {
        let access = self.access().ok()?;
        let sent = client(&self.settings, true).ok()?.head(access.url(PROBE_PATH).ok()?).send().await.ok()?;
        sent.extensions().get::<TlsInfo>()?.peer_certificate().map(<[u8]>::to_vec)
    }

    /// The series of the usual answer, looked up once and not before there was one.
    fn accepted(&self) -> &IntCounter {
        self.accepted.get_or_init(|| self.metrics.svix_requests.with_label_values(&[StatusCode::ACCEPTED.as_str()]))
    }
}

/// Without the client, which knows the proxy and its password.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("base", &self.base).finish_non_exhaustive()
    }
}

/// The header that carries the token, or what is wrong with it.
pub(super) fn authorization(token: &str) -> Result<HeaderValue, &'static str> {
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| "svix.token holds a character that no HTTP header can carry")?;
    header.set_sensitive(true);
    Ok(header)
}

impl Access {
    fn new(of: Generations, kept: Option<Client>, settings: &Settings) -> Result<Self, Answer> {
        let (url, token) = (settings.url.as_str(), settings.token.current());
        if token.is_empty() {
            return Err(no_access("svix.token is not set: set svix.token or svix.token_file"));
        }
        let base = if url.is_empty() { regional_url(&token) } else { url }.to_owned();
        let authorization = authorization(&token).map_err(no_access)?;
        let client =
            kept.map_or_else(|| client(settings, false), Ok).map_err(|error| unreachable(error.to_string()))?;
        Ok(Self { of, client, base, authorization, messages: RwLock::default() })
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

fn unreachable(detail: String) -> Answer {
    Answer::Unusable { reason: HaltReason::Unreachable, cause: Cause { status: None, detail } }
}

fn no_access(detail: &str) -> Answer {
    Answer::Unusable { reason: HaltReason::Auth, cause: Cause { status: None, detail: detail.to_owned() } }
}

/// Status and wait of an answer, apart from its body.
pub(super) struct Head {
    pub(super) status: StatusCode,
    /// Bounded to five minutes.
    pub(super) retry_after: Option<Duration>,
}

impl Head {
    pub(super) fn reply<'a>(&self, body: &'a [u8]) -> Reply<'a> {
        Reply { status: self.status, retry_after: self.retry_after, body }
    }
}

/// An answer to [`SvixClient::ask`].
pub(super) struct Asked {
    pub(super) head: Head,
    pub(super) body: Bytes,
    /// When it was given, by the clock of who gave it where that is known.
    pub(super) at: SystemTime,
}

/// Reads an answer to its end, or to as much as any of Svix's own to a message would take.
async fn read(sent: Result<Response, reqwest::Error>) -> Result<(Head, Bytes), reqwest::Error> {
    read_up_to(sent, MAX_ANSWER).await
}

/// Reads an answer to its end, or to the first piece beyond `most` bytes.
pub(super) async fn read_up_to(
    sent: Result<Response, reqwest::Error>,
    most: usize,
) -> Result<(Head, Bytes), reqwest::Error> {
    let mut response = sent?;
    let wait = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = wait.and_then(|value| retry_after(value, SystemTime::now()));
    let head = Head { status: response.status(), retry_after };
    // Nearly always one piece, which needs no copy.
    let first = response.chunk().await?.unwrap_or_default();
    let Some(second) = response.chunk().await? else { return Ok((head, first)) };
    let mut body = BytesMut::from(first);
    body.extend_from_slice(&second);
    while body.len() <= most {
        match response.chunk().await? {
            Some(chunk) => body.extend_from_slice(&chunk),
            None => break,
        }
    }
    Ok((head, body.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::secret::Secret;
    use tokio::io::AsyncReadExt as _;

    /// The protocols that are offered stand in the first message of TLS, in the clear (RFC 7301, 3.1): HTTP/2 before HTTP/1.1.
    #[tokio::test]
    async fn https_offers_http2() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let settings = Settings {
            url,
            token: Secret::fixed("sk_x"),
            authorities: Secret::fixed(""),
            timeout: Duration::from_secs(5),
        };
        let sink = SvixClient::new(&settings, Arc::new(Metrics::new().unwrap())).unwrap();
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
