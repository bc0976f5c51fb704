//! Where the API is, and which token is presented there: never the value of an option, which the list of processes shows.

use crate::{cli::exit::Failure, process::secret::SecretList};
use reqwest::header::HeaderValue;
use std::{
    fmt,
    fs::File,
    io::{BufRead as _, BufReader, Read},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    str::FromStr,
};
use url::{Host, Url};

/// The variable that holds a token for this command alone.
const VARIABLE: &str = "HOOKBRO_API_TOKEN";
/// Longest first line that is read; a longer one is no file of tokens.
const MAX_LINE: u64 = 64 * 1024;

/// Where a hookbro's pages are served; a path before `/api/v1` is kept, for those behind a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address(Url);

impl Address {
    /// That of a hookbro on this machine with this `admin.listen`.
    pub(super) fn of(listen: SocketAddr) -> Result<Self, Failure> {
        if listen.port() == 0 {
            let text = "admin.listen has port 0, so its address cannot be known: give --api URL";
            return Err(Failure::Configuration(text.to_owned()));
        }
        let ip = match listen.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        format!("http://{}", SocketAddr::new(ip, listen.port())).parse().map_err(Failure::Configuration)
    }

    pub(super) fn at(&self, path: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        url
    }

    /// Whether it is asked without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    pub(super) fn is_loopback(&self) -> bool {
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
        let url = Url::parse(text).map_err(|_| expected("it is not a URL"))?;
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

/// The header that opens the API; none where no token is given.
pub(super) fn token(file: Option<&Path>, configured: &SecretList) -> Result<Option<HeaderValue>, Failure> {
    let wrong = |place: &str, why: &str| Failure::Configuration(format!("{place} {why}"));
    let (place, token) = match (file, std::env::var_os(VARIABLE).filter(|value| !value.is_empty())) {
        (Some(path), _) => {
            let place = format!("--token-file {}", path.display());
            let line = first_line(path).map_err(|error| wrong(&place, &format!("cannot be read: {error}")))?;
            if line.is_empty() {
                return Err(wrong(&place, "has no token in its first line"));
            }
            (place, line)
        }
        (None, Some(value)) => {
            let value = value.into_string().map_err(|_| wrong(VARIABLE, "is not UTF-8 text"))?;
            (VARIABLE.to_owned(), value)
        }
        (None, None) => match configured.first() {
            Some(token) => ("admin.tokens".to_owned(), token),
            None => return Ok(None),
        },
    };
    let visible = token.bytes().all(|b| b.is_ascii_graphic());
    let header = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| visible);
    let mut header = header.ok_or_else(|| wrong(&place, "has characters that no token has; expected visible ASCII"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn first_line(path: &Path) -> std::io::Result<String> {
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(path)?) };
    let mut line = String::new();
    BufReader::new(source.take(MAX_LINE)).read_line(&mut line)?;
    Ok(line.trim().to_owned())
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
