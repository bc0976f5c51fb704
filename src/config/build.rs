//! From layers to settings: every key once, then what only two keys together can get wrong.

use super::{
    AdminSettings, ConfigError, IngestSettings, LogSettings, RoutingSettings, SecretFiles, Settings, lanes,
    layer::Layers,
    read::Reader,
    rules,
    text::{self, Read},
};
use crate::{
    event::Redaction,
    observe as telemetry,
    observe::Format,
    process::tls,
    sinks::svix::{self, UnknownProject},
    sources::rabbitmq as amqp,
    store as journal,
};
use config::ValueKind;
use std::{ffi::OsString, net::SocketAddr, path::Path};

/// Svix's server takes requests of 2 MiB. What is not payload is event type, event id, application uid and name, each at
/// most 256 bytes, and their JSON: well below the 4 KiB that are left for it.
const MAX_PAYLOAD: u64 = (2048 - 4) * 1024;
/// Events a second that no Svix takes; above it the time between two would be rounding.
const MAX_RATE: u64 = 1_000_000;
/// AMQP carries the limit as a signed 32 bit number.
const MAX_DELIVERY_LIMIT: u64 = i32::MAX as u64;
/// Less than an hour would give up what an ordinary outage parks, before anybody could do something about it.
const MAX_AGE: [&str; 2] = ["1h", "3650d"];

/// The configuration from the embedded defaults, `file`, the process's environment and `sets` (`section.key=value`),
/// the later the stronger. Reads the files of secrets; watching them is up to the caller.
pub fn load(file: Option<&Path>, sets: &[String]) -> Result<Settings, ConfigError> {
    load_with(file, std::env::vars_os(), sets)
}

/// As [`load`], with the environment given.
pub(super) fn load_with(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    sets: &[String],
) -> Result<Settings, ConfigError> {
    let mut read = Reader::new(Layers::collect(file, environment, sets));
    let settings = settings(&mut read);
    // Beside other mistakes these would be guesses: the missing half may be under a mistyped key.
    if let (Some(settings), true) = (&settings, read.is_clean()) {
        together(settings, &mut read);
    }
    let (mut settings, secret_files) = read.finish(settings)?;
    settings.secret_files = secret_files;
    Ok(settings)
}

/// Reads everything before giving up on anything, so that all mistakes are found.
pub(super) fn settings(read: &mut Reader) -> Option<Settings> {
    let broker = broker(read);
    let max_parked = read.value("parking.max_age", |kind| text::duration(kind, MAX_AGE));
    let svix = svix(read);
    let max_payload_bytes = read.value("svix.max_payload_bytes", |kind| text::integer(kind, 1..=MAX_PAYLOAD));
    let rate_limit = read.value("svix.rate_limit", |kind| text::integer(kind, 0..=MAX_RATE));
    let routing = routing(read);
    let redaction = read.value("redact.fields", |kind| {
        let entries = text::list(kind)?;
        Redaction::try_new(entries).map_err(|(n, why)| format!("element {n} {why}"))
    });
    let admin_listen = read.value("admin.listen", text::address);
    let admin_tokens = read.secrets("admin.tokens", rules::tokens);
    let ingest_listen = read.value("ingest.listen", optional_address);
    let ingest_tokens = read.secrets("ingest.tokens", rules::tokens);
    let webhook_secrets = read.secrets("ingest.webhook_secrets", rules::webhook_secrets);
    let metrics_projects = read.value("metrics.projects", |kind| rules::projects(text::list(kind)?));
    let journal = journal(read);
    let shutdown_grace = read.value("shutdown.grace", |kind| text::duration(kind, ["1ms", "10m"]));
    let log = log(read);
    let tracing = tracing(read);
    Some(Settings {
        broker: broker?,
        svix: svix?,
        max_payload_bytes: max_payload_bytes?,
        rate_limit: rate_limit?,
        routing: routing?,
        redaction: redaction?,
        max_parked: max_parked?,
        admin: AdminSettings { listen: admin_listen?, tokens: admin_tokens? },
        ingest: IngestSettings { listen: ingest_listen?, tokens: ingest_tokens?, webhook_secrets: webhook_secrets? },
        metrics_projects: metrics_projects?,
        journal: journal?,
        shutdown_grace: shutdown_grace?,
        log: log?,
        tracing: tracing?,
        secret_files: SecretFiles::default(),
    })
}

fn broker(read: &mut Reader) -> Option<amqp::Settings> {
    let url = read.secret("broker.url", rules::broker_urls);
    let authorities = read.secret("broker.tls_ca", rules::authorities);
    let certificate = read.secret("broker.tls_cert", rules::certificates);
    let private_key = read.secret("broker.tls_key", rules::private_key);
    let management_url = read.secret("broker.management_url", rules::management_url);
    let exchange = read.value("broker.exchange", name);
    let queue = read.value("broker.queue", name);
    let bindings = read.value("broker.bindings", |kind| {
        let keys = text::list(kind)?;
        rules::bindings(&keys).map(|()| keys)
    });
    let prefetch = read.value("broker.prefetch", |kind| text::integer(kind, 1..=u64::from(u16::MAX)));
    let delivery_limit = read.value("broker.delivery_limit", |kind| text::integer(kind, 1..=MAX_DELIVERY_LIMIT));
    let memory_budget = read.value("broker.memory_budget", |kind| text::bytes(kind, ["1MiB", "64GiB"]));
    let ladder = read.value("retry.delays", rules::ladder);
    let lanes = match &ladder {
        Some(ladder) => lanes::lanes(read, ladder),
        None => None,
    };
    let watchdog = read.value("watchdog.timeout", |kind| text::duration(kind, ["5s", "1h"]));
    Some(amqp::Settings {
        access: amqp::Access {
            url: url?,
            authorities: authorities?,
            certificate: certificate?,
            private_key: private_key?,
        },
        management_url: management_url?,
        exchange: exchange?,
        queue: queue?,
        bindings: bindings?,
        prefetch: prefetch?,
        delivery_limit: delivery_limit?,
        memory_budget: memory_budget?,
        ladder: ladder?,
        lanes: lanes?,
        watchdog: watchdog?,
    })
}

fn svix(read: &mut Reader) -> Option<svix::Settings> {
    let url = read.value("svix.url", |kind| rules::svix_url(&text::text(kind)?));
    let token = read.secret("svix.token", rules::token);
    let authorities = read.secret("svix.tls_ca", rules::authorities);
    let timeout = read.value("svix.timeout", |kind| text::duration(kind, ["100ms", "5m"]));
    Some(svix::Settings { url: url?, token: token?, authorities: authorities?, timeout: timeout? })
}

fn routing(read: &mut Reader) -> Option<RoutingSettings> {
    let routes = read.value("routing.apps", |kind| rules::routes(text::map(kind)?));
    let choices = [("provision", UnknownProject::Provision), ("dead_letter", UnknownProject::DeadLetter)];
    let unknown_project = read.value("routing.unknown_project", |kind| text::word(kind, &choices));
    let provision_limit = read.value("routing.provision_limit", |kind| text::integer(kind, 0..=u64::from(u32::MAX)));
    Some(RoutingSettings { routes: routes?, unknown_project: unknown_project?, provision_limit: provision_limit? })
}

fn journal(read: &mut Reader) -> Option<journal::Settings> {
    let url = read.secret("journal.url", rules::journal_url);
    let retention = read.value("journal.retention", |kind| text::duration(kind, ["1m", "3650d"]));
    let max_bytes = read.value("journal.max_bytes", |kind| text::bytes(kind, ["64MiB", "16384GiB"]));
    let max_bytes = u64::try_from(max_bytes?).unwrap_or(u64::MAX);
    Some(journal::Settings { url: url?, retention: retention?, max_bytes })
}

fn log(read: &mut Reader) -> Option<LogSettings> {
    let formats = [("text", Some(Format::Text)), ("json", Some(Format::Json)), ("", None)];
    let format = read.value("log.format", |kind| text::word(kind, &formats));
    let level = read.value("log.level", |kind| rules::log_level(text::text(kind)?));
    Some(LogSettings { format: format?, level: level? })
}

fn tracing(read: &mut Reader) -> Option<telemetry::Settings> {
    let endpoint = read.value("tracing.otlp_endpoint", |kind| rules::otlp_endpoint(&text::text(kind)?));
    let sample_ratio = read.value("tracing.sample_ratio", text::ratio);
    let headers = read.secret("tracing.headers", rules::headers);
    Some(telemetry::Settings { endpoint: endpoint?, sample_ratio: sample_ratio?, headers: headers? })
}

fn name(kind: &ValueKind) -> Read<String> {
    let name = text::text(kind)?;
    rules::broker_name(&name).map(|()| name)
}

fn optional_address(kind: &ValueKind) -> Read<Option<SocketAddr>> {
    match text::text(kind).as_deref() {
        Ok("") => Ok(None),
        _ => text::address(kind).map(Some).map_err(|problem| format!("{problem}, or empty for off")),
    }
}

/// What is wrong only with two keys side by side.
fn together(settings: &Settings, read: &mut Reader) {
    let Settings { broker, svix, admin, ingest, .. } = settings;
    tls_together(&broker.access, read);
    if !svix.authorities.is_empty() && svix.url.starts_with("http:") {
        read.refuse(
            "svix.tls_ca",
            "has no effect, since svix.url does not begin with https://; remove one of the two".to_owned(),
        );
    }
    if rules::collides(&broker.exchange, &broker.queue) {
        read.refuse("broker.exchange", format!("is a name that broker.queue = {:?} uses itself", broker.queue));
    }
    let Some(listen) = ingest.listen else { return };
    if !listen.ip().is_loopback() && ingest.tokens.is_empty() && ingest.webhook_secrets.is_empty() {
        let remedy = "set ingest.tokens, ingest.webhook_secrets or a loopback address";
        read.refuse("ingest.listen", format!("would take events from anyone; {remedy}"));
    }
    if listen == admin.listen && listen.port() != 0 {
        read.refuse("ingest.listen", "is admin.listen too; give them different ports".to_owned());
    }
}

/// What of TLS to the broker is missing, or would have no effect.
fn tls_together(access: &amqp::Access, read: &mut Reader) {
    let amqp::Access { url, authorities, certificate, private_key } = access;
    match (certificate.is_empty(), private_key.is_empty()) {
        (false, true) => {
            read.refuse("broker.tls_cert", "is without its private key; give broker.tls_key_file".to_owned())
        }
        (true, false) => {
            read.refuse("broker.tls_key", "is without its certificate; give broker.tls_cert_file".to_owned())
        }
        (false, false) => {
            if let Err(problem) = tls::belong_together(&certificate.current(), &private_key.current()) {
                read.refuse(
                    "broker.tls_key",
                    format!("{problem} of broker.tls_cert; give the two that belong together"),
                );
            }
        }
        (true, true) => {}
    }
    let asked = rules::tls_asked(&url.current());
    if asked.external && certificate.is_empty() {
        read.refuse(
            "broker.url",
            "asks for auth_mechanism=external; give broker.tls_cert_file and broker.tls_key_file".to_owned(),
        );
    }
    for (key, value) in [("broker.tls_ca", authorities), ("broker.tls_cert", certificate)] {
        if !value.is_empty() && !asked.encrypted {
            read.refuse(key, "has no effect, since broker.url has no amqps:// address".to_owned());
        }
    }
}
