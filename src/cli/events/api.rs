//! Asking `/api/v1`: where it is, how long an answer may take and be, and what a refusal means to whoever asked.

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
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
    time::{Duration, SystemTime},
};
use url::{Host, Url};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer in time: the API gives its store 5 s, Svix 4, and does so twice at most.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Longest answer in bytes. A timeline of 500 deliveries, with the longest keys and details recorded, takes half a MiB.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// Longest detail of a refusal that is told, in characters.
const MAX_DETAIL: usize = 300;

/// Where a hookbro's pages are served; a path before `/api/v1` is kept, for those behind a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address(Url);

impl Address {
    /// That of a hookbro on this machine with this `admin.listen`.
    pub(super) fn of(listen: SocketAddr) -> Result<Self, Failure> {
        if listen.port() == 0 {
            let text = "admin.listen has port 0, so that nobody knows where hookbro is served: give --api URL";
            return Err(Failure::Configuration(text.to_owned()));
        }
        let ip = match listen.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        format!("http://{}", SocketAddr::new(ip, listen.port())).parse().map_err(Failure::Configuration)
    }

    fn at(&self, path: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        url
    }

    fn is_loopback(&self) -> bool {
        match self.0.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            None => false,
        }
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = |why: &str| format!("{why}; expected a URL such as http://10.0.0.7:9464");
        let url = Url::parse(text).map_err(|_| expected("it is no URL"))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(expected("it is neither http:// nor https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(expected("it must hold no password: the list of processes shows it"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(expected("it must have no ? and no #"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Why there is no answer. Texts of the other side are plain.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApiError {
    #[error(
        "hookbro does not answer at {address} ({detail}): start `hookbro run` there, or name another by --api URL or \
         admin.listen"
    )]
    Away { address: Address, detail: String },
    #[error("hookbro at {address} cannot say ({status}): {detail}")]
    Unable { address: Address, status: StatusCode, detail: String },
    #[error(
        "hookbro at {address} does not let us in ({status}): {detail}; give one of its admin.tokens by --token-file, by \
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
pub(super) struct Told<T> {
    pub what: T,
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
        if address.0.scheme() == "http" {
            // Authorities play no part, and a container may have none.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            Failure::Running(format!("cannot set up HTTPS: {why}; install this machine's root certificates"))
        })?;
        Ok(Self { address, token, client })
    }

    /// What stands at `path` under `/api/v1`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Told<T>, ApiError> {
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
        let what = serde_json::from_slice(&body).map_err(|_| self.foreign("its answer has another form"))?;
        Ok(Told { what, at })
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

    /// Refusals of hookbro's own are problem documents (RFC 9457); others are somebody else's.
    fn refusal(&self, response: &Response, body: &[u8]) -> ApiError {
        let (status, address) = (response.status(), self.address.clone());
        let problem = serde_json::from_slice::<serde_json::Value>(body).ok();
        let own = problem.as_ref().and_then(|problem| problem["detail"].as_str());
        let detail = own.map(|text| plain(&text.chars().take(MAX_DETAIL).collect::<String>()));
        let unsaid = || "without a word why".to_owned();
        match (status.as_u16(), detail) {
            (429 | 500.., detail) => ApiError::Unable { address, status, detail: detail.unwrap_or_else(unsaid) },
            (401 | 403, detail) => ApiError::Locked { address, status, detail: detail.unwrap_or_else(unsaid) },
            (404, Some(detail)) => ApiError::NotFound { address, detail },
            (400..=499, Some(detail)) => ApiError::Refused { address, status, detail },
            _ => self.foreign(&format!("it answers {status}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_where_hookbro_listens_or_a_url_without_secrets() {
        for (listen, address) in [
            ("127.0.0.1:9464", "http://127.0.0.1:9464"),
            ("0.0.0.0:9464", "http://127.0.0.1:9464"),
            ("[::]:9464", "http://[::1]:9464"),
            ("10.0.0.7:80", "http://10.0.0.7"),
        ] {
            assert_eq!(Address::of(listen.parse().unwrap()).unwrap().to_string(), address);
        }
        assert!(Address::of("127.0.0.1:0".parse().unwrap()).is_err());
        let behind: Address = "https://ops.example/hookbro/".parse().unwrap();
        assert_eq!(
            behind.at(&["events", "a/../b?"]).as_str(),
            "https://ops.example/hookbro/api/v1/events/a%2F..%2Fb%3F"
        );
        for wrong in ["", "localhost:9464", "ftp://x", "http://u:hunter2@x", "http://x?token=hunter2", "http://x/#y"] {
            let refused = wrong.parse::<Address>().unwrap_err();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }
}
