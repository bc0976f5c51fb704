//! Asking `/api/v1`: how long an answer may take and be, and what a refusal means to whoever asked.

use super::access::Address;
use crate::{cli::exit::Failure, operate::sanitize::plain};
use jiff::Timestamp;
use reqwest::{
    Client, Response, StatusCode,
    header::{self, HeaderValue},
    redirect,
};
use serde::de::DeserializeOwned;
use std::{
    error::Error as _,
    time::{Duration, SystemTime},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer in time: the API gives its store 5 s, Svix 4, and does so twice at most.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer in bytes. A timeline of 500 deliveries, with the longest keys and details recorded, takes half a MiB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Longest detail of a refusal that is shown, in characters.
const MAX_DETAIL: usize = 300;

/// Why there is no answer. Texts of the other side are plain.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(
        "hookbro does not answer at {address} ({detail}): start `hookbro run` there, or name another address by --api URL or \
         admin.listen"
    )]
    Away { address: Address, detail: String },
    #[error("hookbro at {address} cannot answer now ({status}): {detail}")]
    Unable { address: Address, status: StatusCode, detail: String },
    #[error(
        "hookbro at {address} denies access ({status}): {detail}; give one of its admin.tokens by --token-file, by \
         HOOKBRO_API_TOKEN or in the configuration"
    )]
    Locked { address: Address, status: StatusCode, detail: String },
    #[error("hookbro at {address} refuses ({status}): {detail}")]
    Refused { address: Address, status: StatusCode, detail: String },
    #[error("hookbro at {address}: {detail}")]
    NotFound { address: Address, detail: String },
    #[error("what answers at {address} is not hookbro's /api/v1 ({detail}): name the right one by --api URL")]
    Foreign { address: Address, detail: String },
}

impl ApiError {
    /// Whether waiting may mend it.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Unable { .. })
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self::Running(error.to_string())
    }
}

/// One hookbro's API.
#[derive(Debug)]
pub(super) struct Api {
    pub(super) address: Address,
    token: Option<HeaderValue>,
    client: Client,
}

/// An answer, and when it was given by the clock over there.
#[derive(Debug)]
pub(super) struct Answered<T> {
    pub value: T,
    pub at: Option<Timestamp>,
}

impl Api {
    pub(super) fn new(address: Address, token: Option<HeaderValue>) -> Result<Self, Failure> {
        let mut builder = Client::builder()
            .user_agent(concat!("hookbro/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // A token is for who was named, not for whom that one names.
            .redirect(redirect::Policy::none());
        if address.is_loopback() {
            builder = builder.no_proxy();
        }
        if address.is_plain() {
            // Authorities play no part, and a container may have none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Failure::Running(format!("cannot set up HTTPS: {why}; install this machine's root certificates"))
        })?;
        Ok(Self { address, token, client })
    }

    /// Gets `path` under `/api/v1`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Answered<T>, ApiError> {
        let mut url = self.address.at(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.client.get(url);
        let request = self.token.iter().fold(request, |request, token| request.header(header::AUTHORIZATION, token));
        let mut response = request.send().await.map_err(|error| self.away(&error))?;
        let body = self.read(&mut response).await?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(&response, &body));
        }
        let date = response.headers().get(header::DATE).and_then(|date| date.to_str().ok());
        let at =
            date.and_then(|date| httpdate::parse_http_date(date).ok()).and_then(|at: SystemTime| at.try_into().ok());
        // The parser's words may repeat what it read.
        let value = serde_json::from_slice(&body).map_err(|_| self.foreign("its answer has another form"))?;
        Ok(Answered { value, at })
    }

    async fn read(&self, response: &mut Response) -> Result<Vec<u8>, ApiError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.away(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(self.foreign("its answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn away(&self, error: &reqwest::Error) -> ApiError {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let detail = if error.is_timeout() { "no answer in time".to_owned() } else { plain(&innermost.to_string()) };
        ApiError::Away { address: self.address.clone(), detail }
    }

    pub(super) fn foreign(&self, detail: &str) -> ApiError {
        ApiError::Foreign { address: self.address.clone(), detail: detail.to_owned() }
    }

    /// hookbro refuses with problem documents (RFC 9457); any other refusal comes from something else.
    fn refusal(&self, response: &Response, body: &[u8]) -> ApiError {
        let (status, address) = (response.status(), self.address.clone());
        let problem = serde_json::from_slice::<serde_json::Value>(body).ok();
        let own = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let detail = own.map(|text| plain(&text.chars().take(MAX_DETAIL).collect::<String>()));
        let unexplained = || "no reason given".to_owned();
        match (status.as_u16(), detail) {
            (429 | 500.., detail) => ApiError::Unable { address, status, detail: detail.unwrap_or_else(unexplained) },
            (401 | 403, detail) => ApiError::Locked { address, status, detail: detail.unwrap_or_else(unexplained) },
            (404, Some(detail)) => ApiError::NotFound { address, detail },
            (400..=499, Some(detail)) => ApiError::Refused { address, status, detail },
            _ => self.foreign(&format!("it answers {status}")),
        }
    }
}
