//! One call to its answer, repeated within bounds: after the wait that Svix asks for, and only where a repeat does no harm.

use super::{Management, error::ManageError};
use crate::sinks::svix::{
    classify::{error_detail, tell},
    client::{authorization, read_up_to},
    wire::regional_url,
};
use bytes::Bytes;
use reqwest::{
    Method, Request, StatusCode, Url,
    header::{self, HeaderValue},
};
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Calls in all; with the waits between them a hiccup is survived and a wrong address told within seconds.
const TRIES: u32 = 4;
/// Wait before the second call where Svix names none; doubled before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// Longest answer read. A page of applications with the longest names and metadata recorded takes 1.5 MiB.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

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
    Untouched(ManageError, Option<Duration>),
    /// Perhaps with effect.
    Unknown(ManageError, Option<Duration>),
    /// The token was changed while it was under way.
    Stale(Answer),
}

impl Management {
    pub(super) async fn call(
        &self,
        doing: &'static str,
        method: Method,
        path: &str,
        body: Option<&serde_json::Value>,
        repeat: Repeat,
    ) -> Result<Answer, ManageError> {
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
            tracing::warn!(%error, wait_ms = wait.as_millis(), "asking Svix again");
            tokio::time::sleep(wait).await;
            backoff *= 2;
        }
        Err(ManageError::Endless { doing })
    }

    fn request(&self, method: &Method, path: &str, body: Option<&serde_json::Value>) -> Result<Request, ManageError> {
        let token = self.token.current();
        if token.is_empty() {
            return Err(ManageError::Access("svix.token is not set: set svix.token or svix.token_file".into()));
        }
        let base = if self.url.is_empty() { regional_url(&token) } else { &self.url };
        let url = Url::parse(&format!("{base}{path}")).map_err(|_| ManageError::Access("svix.url is no URL".into()))?;
        let mut request = Request::new(method.clone(), url);
        let bearer = authorization(&token).map_err(|detail| ManageError::Access(detail.to_owned()))?;
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
                let failed = ManageError::NoAnswer { doing, detail: error_detail(&error), sent: !error.is_connect() };
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
        self.is(status) && tell(self.status, &self.body).is_own
    }

    pub(super) fn expect(&self, expected: &[StatusCode]) -> Result<(), ManageError> {
        if expected.contains(&self.status) { Ok(()) } else { Err(self.refusal()) }
    }

    pub(super) fn json<T: DeserializeOwned>(&self, expected: &[StatusCode]) -> Result<T, ManageError> {
        self.expect(expected)?;
        // The parser's own words are left out: they may repeat what it read.
        serde_json::from_slice(&self.body).map_err(|_| ManageError::Foreign { doing: self.doing, status: self.status })
    }

    fn refusal(&self) -> ManageError {
        let detail = tell(self.status, &self.body).text;
        ManageError::Refused { doing: self.doing, status: self.status, detail }
    }
}
