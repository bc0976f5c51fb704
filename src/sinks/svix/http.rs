//! The HTTP client below the calls: authorities, proxies of the environment, time limits.

use super::settings::Settings;
use crate::process::tls;
use reqwest::{Certificate, Client, redirect};
use std::error::Error;
use url::{Host, Url};

/// Where proxies are named, as curl and most programs have it; the first that says something counts.
const HTTPS_PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
const HTTP_PROXIES: [&str; 4] = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Without the value, which may hold a password.
    #[error(
        "the environment's {0} is no URL of an HTTP proxy; expected http://user:password@host:port, percent-encoded"
    )]
    Proxy(&'static str),
    #[error("svix.tls_ca {0}")]
    Authorities(String),
    /// As on a machine without any root certificate.
    #[error("cannot set up HTTPS: {0}; install this machine's root certificates, or give svix.tls_ca_file")]
    Tls(String),
}

/// A client that trusts the machine's authorities and those of `svix.tls_ca` as they are now.
pub(super) fn client(settings: &Settings, tls_info: bool) -> Result<Client, ClientError> {
    let mut builder = Client::builder()
        .user_agent(concat!("hookbro/", env!("CARGO_PKG_VERSION")))
        .timeout(settings.timeout)
        .redirect(redirect::Policy::none())
        .tls_info(tls_info);
    match proxy_variable(settings) {
        // The library would pass over it, and call Svix without a proxy.
        Some(name) if !is_proxy(std::env::var_os(name)) => return Err(ClientError::Proxy(name)),
        Some(_) => {}
        None => builder = builder.no_proxy(),
    }
    let pem = settings.authorities.current();
    if !pem.is_empty() {
        let ders = tls::authorities(&pem).map_err(ClientError::Authorities)?;
        let added: Result<Vec<_>, _> = ders.iter().map(|der| Certificate::from_der(der)).collect();
        builder = builder.tls_certs_merge(added.map_err(failed)?);
    }
    builder.build().map_err(failed)
}

/// The variable of the environment that names the proxy to Svix, unless NO_PROXY excepts Svix. None for a loopback address:
/// a proxy elsewhere would look for it on its own machine.
pub fn proxy_variable(settings: &Settings) -> Option<&'static str> {
    let names = if settings.url.starts_with("http:") { HTTP_PROXIES } else { HTTPS_PROXIES };
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    names.into_iter().find(set).filter(|_| !is_loopback(&settings.url))
}

fn failed(error: reqwest::Error) -> ClientError {
    ClientError::Tls(error.source().map_or_else(|| error.to_string(), ToString::to_string))
}

fn is_loopback(url: &str) -> bool {
    match Url::parse(url).as_ref().ok().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether a variable is unset, empty, or names a proxy that can be used.
fn is_proxy(value: Option<std::ffi::OsString>) -> bool {
    let Some(value) = value.filter(|value| !value.is_empty()) else { return true };
    let Some(text) = value.to_str() else { return false };
    // As a bare `host:port` too, which curl takes.
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    Url::parse(&with_scheme).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, loopback) in [
            ("http://127.0.0.1:8071", true),
            ("https://localhost", true),
            ("http://[::1]:1", true),
            ("https://api.eu.svix.com", false),
            ("https://notlocalhost", false),
            ("http://10.0.0.1", false),
            ("", false),
        ] {
            assert_eq!(is_loopback(url), loopback, "{url}");
        }
    }

    #[test]
    fn a_proxy_is_an_http_url_or_a_host_with_a_port() {
        for (value, good) in [
            ("http://user:hunter2@proxy:3128", true),
            ("https://proxy", true),
            ("proxy:3128", true),
            ("", true),
            ("socks5://proxy:1080", false),
            ("http://user:hunter2@", false),
            ("http://proxy:port", false),
        ] {
            assert_eq!(is_proxy(Some(value.into())), good, "{value}");
        }
        assert!(is_proxy(None));
    }
}
