//! One call to its answer or its error, repeated within bounds: after the wait that Svix asks for, and only where a repeat
//! does no harm.

use crate::{
    process::secret::Secret,
    sinks::svix::{
        classify::{error_detail, show},
        client::{authorization, read_up_to},
        http::{ClientError, client},
        settings::Settings,
        wire::regional_url,
    },
};
use bytes::Bytes;
use reqwest::{
    Client, Method, Request, StatusCode, Url,
    header::{self, HeaderValue},
};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Calls in all; with the waits between them a hiccup is survived and a wrong address is named within seconds.
const TRIES: u32 = 4;
/// Wait before the second call where Svix names none; doubled before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest answer read. A page of applications with the longest names and metadata recorded takes 1.5 MiB.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Why Svix did not do what it was asked. No variant holds a token, a body or a link.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The settings give no way in; Svix was not asked.
    #[error("{0}")]
    Access(String),
    #[error("cannot {doing}: {detail}{}", remedy(*status))]
    Refused { doing: &'static str, status: StatusCode, detail: String },
    #[error("cannot {doing}: {detail}")]
    NoAnswer {
        doing: &'static str,
        detail: String,
        /// Whether Svix may have got the call.
        sent: bool,
    },
    #[error("cannot {doing}: what answered {status} is not Svix, or not a version that is known; check svix.url")]
    Foreign { doing: &'static str, status: StatusCode },
    #[error("cannot {doing}: Svix says that the list goes on, and gives no further page")]
    Endless { doing: &'static str },
}

/// When a call may be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// Also where the first one may have taken effect: the second changes nothing more.
    Freely,
    /// Only where it certainly did not.
    Untouched,
}

/// An answer that is not about the call's being made too soon or in vain.
pub(super) struct Answer {
    doing: &'static str,
    status: StatusCode,
    body: Bytes,
}

/// What one try came to.
enum Try {
    Answered(Answer),
    /// Certainly without effect; again after the wait.
    Untouched(AdminError, Option<Duration>),
    /// Perhaps with effect.
    Unknown(AdminError, Option<Duration>),
    /// The token was changed while it was under way.
    Stale(Answer),
}

/// Manages what an organisation has in Svix. The token is read at each call, so that a rotation needs no restart. Never
/// printed: its client knows the proxy and its password.
pub struct SvixAdmin {
    client: Client,
    url: String,
    token: Secret,
}

impl SvixAdmin {
    /// Fails if nothing could be called: without any root certificate, or with a proxy that is none.
    pub fn new(settings: &Settings) -> Result<Self, ClientError> {
        Ok(Self { client: client(settings, false)?, url: settings.url.clone(), token: settings.token.clone() })
    }

    pub(super) async fn call(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        repeat: Repeat,
    ) -> Result<Answer, AdminError> {
        let mut backoff = FIRST_WAIT;
        for left in (0..TRIES).rev() {
            let request = self.request(&method, path, body)?;
            let (error, wait) = match self.attempt(doing, request).await {
                Try::Answered(answer) => return Ok(answer),
                Try::Stale(_) if left > 0 => continue,
                Try::Stale(answer) => return Ok(answer),
                Try::Unknown(error, _) if repeat == Repeat::Untouched => return Err(error),
                Try::Untouched(error, wait) | Try::Unknown(error, wait) => (error, wait),
            };
            if left == 0 {
                return Err(error);
            }
            let wait = wait.unwrap_or(backoff);
            tracing::warn!(%error, wait.ms = wait.as_millis(), "call of Svix failed; trying again");
            tokio::time::sleep(wait).await;
            backoff *= 2;
        }
        Err(AdminError::Endless { doing })
    }

    fn request(&self, method: &Method, path: &str, body: Option<&serde_json::Value>) -> Result<Request, AdminError> {
        let token = self.token.current();
        if token.is_empty() {
            return Err(AdminError::Access("svix.token is not set: set svix.token or svix.token_file".into()));
        }
        let base = if self.url.is_empty() { regional_url(&token) } else { &self.url };
        let url =
            Url::parse(&format!("{base}{path}")).map_err(|_| AdminError::Access("svix.url is not a URL".into()))?;
        let mut request = Request::new(method.clone(), url);
        let bearer = authorization(&token).map_err(|detail| AdminError::Access(detail.to_owned()))?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        if let Some(body) = body {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.to_string().into());
        }
        Ok(request)
    }

    async fn attempt(&self, doing: &'static str, request: Request) -> Try {
        let generation = self.token.generation();
        let (head, body) = match read_up_to(self.client.execute(request).await, MAX_ANSWER).await {
            Ok(answered) => answered,
            Err(error) => {
                let failed = AdminError::NoAnswer { doing, detail: error_detail(&error), sent: !error.is_connect() };
                return match error.is_connect() {
                    true => Try::Untouched(failed, None),
                    false => Try::Unknown(failed, None),
                };
            }
        };
        let answer = Answer { doing, status: head.status, body };
        match head.status.as_u16() {
            429 => Try::Untouched(answer.refusal(), head.retry_after),
            408 | 425 | 500.. => Try::Unknown(answer.refusal(), head.retry_after),
            401 if self.token.generation() != generation => Try::Stale(answer),
            _ => Try::Answered(answer),
        }
    }
}

impl Answer {
    pub(super) fn is(&self, status: StatusCode) -> bool {
        self.status == status
    }

    /// Whether it is this refusal in Svix's own words: a proxy's 404 says nothing about applications.
    pub(super) fn is_own(&self, status: StatusCode) -> bool {
        self.is(status) && show(self.status, &self.body).is_own
    }

    pub(super) fn expect(&self, expected: &[StatusCode]) -> Result<(), AdminError> {
        if expected.contains(&self.status) { Ok(()) } else { Err(self.refusal()) }
    }

    pub(super) fn json<T: DeserializeOwned>(&self, expected: &[StatusCode]) -> Result<T, AdminError> {
        self.expect(expected)?;
        // The parser's own words are left out: they may repeat what it read.
        serde_json::from_slice(&self.body).map_err(|_| AdminError::Foreign { doing: self.doing, status: self.status })
    }

    fn refusal(&self) -> AdminError {
        let detail = show(self.status, &self.body).text;
        AdminError::Refused { doing: self.doing, status: self.status, detail }
    }
}

impl AdminError {
    pub(super) fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::REQUEST_TIMEOUT,
            Self::NoAnswer { sent, .. } => *sent,
            Self::Access(_) | Self::Foreign { .. } | Self::Endless { .. } => false,
        }
    }
}

fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "; check svix.token",
        403 => "; svix.token must be an organisation's, not an application's",
        404 | 405 => "; check svix.url, which must not contain /api/v1",
        _ => "",
    }
}
