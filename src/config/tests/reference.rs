//! `config/default.toml` is the reference that people are sent to (docs/configuration.md is made from it), so it must not drift.

use super::*;
use crate::{
    config::{
        DEFAULTS,
        build::settings,
        keys::{KEYS, SECRETS},
        layer::Layers,
        read::Reader,
    },
    sinks::svix::UnknownProject,
};
use std::{collections::BTreeSet, time::Duration};

/// The keys of `default.toml`, with what stands in the line before each.
fn keys_in_defaults(prefix: &str) -> Vec<(String, &'static str)> {
    let mut section = "";
    let mut keys = Vec::new();
    let mut before = "";
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.strip_prefix(prefix).and_then(|line| line.split_once(" = "))
            && key.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        {
            keys.push((format!("{section}.{key}"), before));
        }
        before = line;
    }
    keys
}

#[test]
fn every_known_key_stands_in_the_reference_with_a_comment_and_no_other_does() {
    let keys = keys_in_defaults("");
    let names: Vec<_> = keys.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(names, KEYS);
    for (key, before) in keys {
        assert!(before.starts_with("# "), "{key} has no comment above it");
    }
    let files: BTreeSet<_> = keys_in_defaults("# ").into_iter().map(|(key, _)| key).collect();
    assert_eq!(files, SECRETS.iter().map(|key| format!("{key}_file")).collect());
}

#[test]
fn every_known_key_is_read() {
    let mut read = Reader::new(Layers::collect(None, [], &[]));
    settings(&mut read).unwrap();
    assert_eq!(read.asked, KEYS.into_iter().collect());
}

#[test]
fn nothing_given_means_the_documented_defaults() {
    let settings = Words::default().settings();
    assert_eq!(settings.broker.access.url.current(), "amqp://guest:guest@127.0.0.1:5672/%2f");
    assert!(settings.broker.management_url.is_empty());
    assert_eq!(settings.broker.exchange, "gigs.events");
    assert_eq!(settings.broker.queue, "hookbro.events");
    assert_eq!(settings.broker.bindings, ["#"]);
    assert_eq!(settings.broker.memory_budget, 128 * 1024 * 1024);
    assert_eq!((settings.broker.prefetch, settings.broker.delivery_limit), (256, 100));
    let delays = [5, 30, 120, 600, 3_600, 21_600].map(Duration::from_secs);
    assert_eq!(settings.broker.ladder.delays(), delays);
    assert_eq!(settings.max_parked, Duration::from_secs(14 * 86_400));
    assert_eq!(settings.broker.watchdog, Duration::from_secs(60));
    assert_eq!(settings.svix.url, "");
    assert!(settings.svix.token.is_empty());
    assert_eq!(settings.svix.timeout, Duration::from_secs(15));
    assert_eq!(settings.max_payload_bytes, 1_048_576);
    assert_eq!(settings.routing.routes.projects().count(), 0);
    assert_eq!(settings.routing.unknown_project, UnknownProject::Provision);
    assert_eq!(settings.routing.provision_limit, 100);
    assert_eq!(settings.rate_limit, 0);
    let hidden = settings.redaction.text(r#"{"accountPin":"0049","connectSession":{"url":"https://x","id":"c"}}"#);
    assert_eq!(hidden, r#"{"accountPin":"[redacted]","connectSession":{"id":"c","url":"[redacted]"}}"#);
    assert_eq!(settings.admin.listen.to_string(), "127.0.0.1:9464");
    assert!(settings.admin.tokens.is_empty() && settings.ingest.tokens.is_empty());
    assert_eq!(settings.ingest.listen, None);
    assert!(settings.metrics_projects.is_empty());
    assert!(settings.journal.url.is_empty());
    assert_eq!(settings.journal.retention, Duration::from_secs(14 * 86_400));
    assert_eq!(settings.journal.max_bytes, 4 << 30);
    assert_eq!(settings.shutdown_grace, Duration::from_secs(25));
    assert_eq!((settings.log.format, settings.log.level.as_str()), (None, "info"));
    let tracing = settings.tracing;
    assert_eq!((tracing.endpoint, tracing.sample_ratio, tracing.headers.is_empty()), (None, 1.0, true));
}
