//! What each text must be beyond its form: names that AMQP carries, URLs that the clients understand.
//!
//! An `Err` completes the line "`key` = `value`: …", and never repeats what it was given: it may be a secret.

use super::text::{self, Read};
use crate::{
    event::{MAX_ROUTING_KEY, ProjectId, RetryLadder},
    observe as telemetry,
    process::tls,
    sinks::svix::{AppId, Routes},
    store::Location,
};
use config::ValueKind;
use lapin::uri::{AMQPScheme, AMQPUri, SASLMechanism};
use standardwebhooks::Webhook;
use std::collections::HashMap;
use url::Url;

/// Longest exchange or queue name: AMQP's 255 bytes with room for `.delay.16` and whatever follows one day.
const MAX_NAME: usize = 200;

/// Secrets are checked whenever their file changes, so a rule is a plain function; it also tidies the text up.
pub(super) type Rule = fn(&str) -> Read<String>;

/// One or more AMQP URLs, comma-separated; without the white space around them.
pub(super) fn broker_urls(text: &str) -> Read<String> {
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    for (n, part) in parts.iter().enumerate() {
        broker_url(part).map_err(|problem| match parts.len() {
            1 => problem,
            all => format!("URL {} of {all} {problem} (a comma inside a URL is written %2C)", n + 1),
        })?;
    }
    Ok(parts.join(","))
}

fn broker_url(text: &str) -> Read<()> {
    const FORM: &str = "amqp://user:password@host:5672/vhost";
    if text.is_empty() {
        return Err(format!("is empty; expected {FORM}"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("has white space inside; write it percent-encoded".to_owned());
    }
    let url = Url::parse(text).map_err(|e| format!("is not a URL ({e}); expected {FORM}, percent-encoded"))?;
    if !matches!(url.scheme(), "amqp" | "amqps") || url.cannot_be_a_base() {
        return Err(format!("begins with neither amqp:// nor amqps://; expected {FORM}"));
    }
    if url.fragment().is_some() {
        return Err("has a # inside; write it as %23".to_owned());
    }
    // A `/` or `?` in a password ends the host early; what was meant to be the host comes after it.
    if url.path().contains('@') || url.query().is_some_and(|query| query.contains('@')) {
        return Err("has an @ after the host; write / ? @ as %2f %3f %40 in user, password and vhost".to_owned());
    }
    // lapin asks for the URL's domain, and takes localhost where there is none.
    if matches!(url.host(), Some(url::Host::Ipv6(_))) {
        return Err("names an IPv6 address, which the AMQP client cannot take; give a host name".to_owned());
    }
    // lapin's own message would repeat the URL.
    let parsed: Result<AMQPUri, _> = text.parse();
    parsed.map(drop).map_err(|_| format!("has a user, vhost or parameter that cannot be read; expected {FORM}"))
}

/// What broker URLs ask of TLS.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TlsAsked {
    /// At least one is `amqps://`.
    pub(super) encrypted: bool,
    /// At least one logs in by certificate.
    pub(super) external: bool,
}

/// Of what [`broker_urls`] has let pass.
pub(super) fn tls_asked(urls: &str) -> TlsAsked {
    let parsed = urls.split(',').filter_map(|url| url.parse::<AMQPUri>().ok());
    parsed.fold(TlsAsked::default(), |asked, url| TlsAsked {
        encrypted: asked.encrypted || url.scheme == AMQPScheme::AMQPS,
        external: asked.external || url.query.auth_mechanism == Some(SASLMechanism::External),
    })
}

/// Certificates of authorities in PEM, or nothing.
pub(super) fn authorities(text: &str) -> Read<String> {
    pem(text, tls::authorities)
}

/// Our own certificate in PEM, with what links it to an authority, or nothing.
pub(super) fn certificates(text: &str) -> Read<String> {
    pem(text, tls::certificates)
}

/// A private key in PEM, or nothing.
pub(super) fn private_key(text: &str) -> Read<String> {
    pem(text, tls::private_key)
}

fn pem<T>(text: &str, read: fn(&str) -> Read<T>) -> Read<String> {
    if text.is_empty() { Ok(String::new()) } else { read(text).map(|_| text.to_owned()) }
}

/// The name of an exchange or queue of ours.
pub(super) fn broker_name(name: &str) -> Read<()> {
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(format!("expected 1 to {MAX_NAME} bytes, has {}", name.len()));
    }
    if name.starts_with("amq.") {
        return Err("begins with amq., which the broker reserves".to_owned());
    }
    if name.contains(char::is_control) {
        return Err("has a control character".to_owned());
    }
    Ok(())
}

pub(super) fn bindings(keys: &[String]) -> Read<()> {
    if keys.is_empty() {
        return Err("expected at least one routing key, such as \"#\" for all events".to_owned());
    }
    binding_lengths(keys)
}

/// None at all is fine here.
pub(super) fn binding_lengths(keys: &[String]) -> Read<()> {
    match keys.iter().position(|key| key.len() > MAX_ROUTING_KEY) {
        Some(n) => {
            Err(format!("element {} has {} bytes, at most {MAX_ROUTING_KEY} are possible", n + 1, keys[n].len()))
        }
        None => Ok(()),
    }
}

/// What the names of our objects go on with behind that of the work queue, apart from `.dead`.
const OWN_NAMES: [&str; 4] = [".delay.", ".retry.", ".lane.", ".lanes"];

/// Whether `exchange` would be the same as an exchange that derives from `queue`, which is of another type.
pub(super) fn collides(exchange: &str, queue: &str) -> bool {
    exchange
        .strip_prefix(queue)
        .is_some_and(|rest| matches!(rest, "" | ".dead") || OWN_NAMES.iter().any(|begin| rest.starts_with(begin)))
}

/// Svix's base URL without a slash at its end; empty stays empty.
pub(super) fn svix_url(text: &str) -> Read<String> {
    const FORM: &str = "expected a base URL such as https://api.eu.svix.com";
    if text.is_empty() {
        return Ok(String::new());
    }
    let url = Url::parse(text).map_err(|e| format!("is not a URL ({e}); {FORM}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("is neither http nor https; {FORM}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password; put the token into svix.token".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("has a query or fragment; {FORM}"));
    }
    let base = url.as_str().trim_end_matches('/');
    if base.ends_with("/api/v1") {
        return Err(format!("ends in /api/v1, which is added to it; {FORM}"));
    }
    Ok(base.to_owned())
}

/// Where RabbitMQ's management API is, without `/api`; it may hold a user and password. Empty stays empty.
pub(super) fn management_url(text: &str) -> Read<String> {
    const FORM: &str = "expected a base URL such as http://user:password@host:15672";
    if text.is_empty() {
        return Ok(String::new());
    }
    let url = Url::parse(text).map_err(|e| format!("is not a URL ({e}); {FORM}, percent-encoded"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("is neither http nor https; {FORM}"));
    }
    if url.path().contains('@') || url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "has a query, a fragment or an @ after the host; write / ? # @ in it percent-encoded; {FORM}"
        ));
    }
    let base = url.as_str().trim_end_matches('/');
    if base.ends_with("/api") {
        return Err(format!("ends in /api, which is added to it; {FORM}"));
    }
    Ok(base.to_owned())
}

/// Where spans are posted: the collector's base URL with OTLP's path added, unless it is there; empty is off.
pub(super) fn otlp_endpoint(text: &str) -> Read<Option<Url>> {
    const FORM: &str = "expected a base URL such as http://localhost:4318";
    /// OTLP 1.5, "OTLP/HTTP Request".
    const PATH: &str = "/v1/traces";
    if text.is_empty() {
        return Ok(None);
    }
    let mut url = Url::parse(text).map_err(|e| format!("is not a URL ({e}); {FORM}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("is neither http nor https; {FORM}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or password; put an authorization header into tracing.headers".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("has a query or fragment; {FORM}"));
    }
    let base = url.path().trim_end_matches('/');
    let path = if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") };
    url.set_path(&path);
    Ok(Some(url))
}

/// Headers as `name=value`, comma-separated or one a line; one a line afterwards.
pub(super) fn headers(text: &str) -> Read<String> {
    let all: Vec<_> = text.split(['\n', ',']).map(str::trim).filter(|header| !header.is_empty()).collect();
    let lines = all.join("\n");
    telemetry::headers(&lines).map(|_| lines)
}

/// Where the journal is; see [`Location::of`].
pub(super) fn journal_url(text: &str) -> Read<String> {
    Location::of(text).map(|_| text.to_owned())
}

/// Svix's token; empty is possible, and Svix will say what it thinks of it.
pub(super) fn token(text: &str) -> Read<String> {
    match text.chars().all(|c| c.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("has a character that no bearer token has; expected visible ASCII".to_owned()),
    }
}

/// Bearer tokens, one a line or comma-separated; one a line afterwards.
pub(super) fn tokens(text: &str) -> Read<String> {
    let all: Vec<_> = text.split(['\n', ',']).map(str::trim).filter(|token| !token.is_empty()).collect();
    for (n, one) in all.iter().enumerate() {
        token(one).map_err(|problem| format!("token {} {problem}", n + 1))?;
    }
    Ok(all.join("\n"))
}

/// Secrets of Standard Webhooks, one a line or comma-separated; one a line afterwards.
pub(super) fn webhook_secrets(text: &str) -> Read<String> {
    let all = tokens(text)?;
    let bad = |secret: &str| Webhook::new(secret).is_err() || !secret.starts_with("whsec_");
    match all.lines().position(bad) {
        Some(n) => Err(format!("secret {} is not whsec_ and base64", n + 1)),
        None => Ok(all),
    }
}

pub(super) fn routes(pairs: Vec<(String, String)>) -> Read<Routes> {
    let route = |(project, app): (String, String)| {
        let project_id = ProjectId::try_new(project.clone()).map_err(|e| format!("project id {project:?} {e}"))?;
        let app_id = AppId::try_new(app.clone()).map_err(|e| format!("application {app:?} of {project:?} {e}"))?;
        Ok((project_id, app_id))
    };
    let mapped = pairs.into_iter().map(route).collect::<Read<Vec<_>>>()?;
    // Svix refuses an event id that its application has: one project's events would hide those of another.
    let mut owners: HashMap<&AppId, &ProjectId> = HashMap::new();
    for (project, app) in &mapped {
        if let Some(other) = owners.insert(app, project) {
            return Err(format!(
                "sends both {other} and {project} to application {app}; events of two projects can have one id, and Svix \
                 takes an id once in an application: give each project an application of its own"
            ));
        }
    }
    Ok(Routes::new(mapped))
}

/// Most projects with series of their own: each is five series in every replica, and a scrape should stay small.
const MAX_PROJECTS: usize = 200;

pub(super) fn projects(ids: Vec<String>) -> Read<Vec<ProjectId>> {
    if ids.len() > MAX_PROJECTS {
        return Err(format!("lists {} projects, at most {MAX_PROJECTS} can have series of their own", ids.len()));
    }
    let project = |id: String| ProjectId::try_new(id.clone()).map_err(|e| format!("project id {id:?} {e}"));
    ids.into_iter().map(project).collect()
}

pub(super) fn log_level(text: String) -> Read<String> {
    telemetry::filter(&text).map(|_| text).map_err(|e| format!("{e}; expected one such as info or info,hookbro=debug"))
}

/// The delays of a retry ladder.
pub(super) fn ladder(kind: &ValueKind) -> Read<RetryLadder> {
    let delay = |(n, text): (usize, String)| {
        let wrong = || format!("element {} is not a duration; expected one such as 5s or 1m30s", n + 1);
        text::parse_duration(&text).ok_or_else(wrong)
    };
    let delays = text::list(kind)?.into_iter().enumerate().map(delay).collect::<Read<_>>()?;
    RetryLadder::try_new(delays).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_would_take_an_ipv6_address_for_localhost() {
        // Once this fails, the refusal in `broker_url` has had its day.
        let parsed: AMQPUri = "amqp://[fd00::5]:5672".parse().unwrap();
        assert_eq!(parsed.authority.host, "localhost");
    }
}
