//! The whole configuration, validated. Parts that have an adapter are that adapter's own type.

use super::SecretFiles;
use crate::{
    event::{ProjectId, Redaction},
    observe as telemetry,
    process::secret::SecretList,
    sinks::svix::{self, Routes, UnknownProject},
    sources::rabbitmq as amqp,
    store as journal,
};
use std::{net::SocketAddr, time::Duration};

#[derive(Debug)]
pub struct Settings {
    pub broker: amqp::Settings,
    pub svix: svix::Settings,
    /// Largest body that is sent to Svix.
    pub max_payload_bytes: usize,
    /// Events sent to Svix a second, 0 for no limit.
    pub rate_limit: u32,
    pub routing: RoutingSettings,
    /// What is hidden where a body is shown.
    pub redaction: Redaction,
    /// How long an event may be parked before it is given up.
    pub max_parked: Duration,
    pub admin: AdminSettings,
    pub ingest: IngestSettings,
    /// Projects that have series of their own.
    pub metrics_projects: Vec<ProjectId>,
    pub journal: journal::Settings,
    pub shutdown_grace: Duration,
    pub log: LogSettings,
    pub tracing: telemetry::Settings,
    /// The secrets that are read from files. They change only while [`SecretFiles::watch`] runs.
    pub secret_files: SecretFiles,
}

#[derive(Debug)]
pub struct RoutingSettings {
    pub routes: Routes,
    pub unknown_project: UnknownProject,
    /// Applications made per hour before delivery pauses instead.
    pub provision_limit: u32,
}

#[derive(Debug)]
pub struct AdminSettings {
    pub listen: SocketAddr,
    /// Empty: only loopback is answered.
    pub tokens: SecretList,
}

#[derive(Debug)]
pub struct IngestSettings {
    /// `None`: off. Loopback, unless there are tokens or webhook secrets.
    pub listen: Option<SocketAddr>,
    pub tokens: SecretList,
    /// As Standard Webhooks has them, `whsec_` and base64.
    pub webhook_secrets: SecretList,
}

#[derive(Debug)]
pub struct LogSettings {
    /// `None`: text on a terminal, else JSON.
    pub format: Option<telemetry::Format>,
    /// Directives that [`telemetry::init`] takes.
    pub level: String,
}
