//! How a command ends: with which exit code it fails, and on which signals.

use crate::{
    app::AppError,
    config::ConfigError,
    observe::TelemetryError,
    process::stop::{LAST_CALLS, Stop},
    sinks::svix::AdminError,
    sources::rabbitmq::{ApplyError, ConnectError, DeclareError, MigrateError, PublishError},
};
use std::{fmt, process::ExitCode, time::Duration};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a process that did not end in an orderly way.
const EXIT_AT_ONCE: i32 = 1;
/// After the last calls: settling what they came to, the close of its connections, the last entries of the journal.
const CLOSING: Duration = Duration::from_secs(5);

/// What went wrong, by exit code; the text names the thing, the place and the remedy.
#[derive(Debug)]
pub(super) enum Failure {
    /// 1
    Running(String),
    /// 2, where clap cannot see it
    Usage(String),
    /// 3
    Configuration(String),
    /// 4
    Broker(String),
    /// 5
    Svix(String),
}

impl Failure {
    pub(super) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Running(_) => 1,
            // As clap's own.
            Self::Usage(_) => 2,
            Self::Configuration(_) => 3,
            Self::Broker(_) => 4,
            Self::Svix(_) => 5,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Running(text)
        | Self::Usage(text)
        | Self::Configuration(text)
        | Self::Broker(text)
        | Self::Svix(text)) = self;
        f.write_str(text)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Configuration(format!("the configuration is wrong:\n{error}"))
    }
}

impl From<TelemetryError> for Failure {
    fn from(error: TelemetryError) -> Self {
        Self::Configuration(format!("log.level {error}"))
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Broker(error.to_string())
    }
}

impl From<DeclareError> for Failure {
    fn from(error: DeclareError) -> Self {
        Self::Broker(error.to_string())
    }
}

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Self::Broker(error.to_string())
    }
}

impl From<MigrateError> for Failure {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Unseen { .. } => Self::Configuration(error.to_string()),
            refused => Self::Broker(refused.to_string()),
        }
    }
}

impl From<PublishError> for Failure {
    fn from(error: PublishError) -> Self {
        Self::Broker(error.to_string())
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Access(problem) => Self::Configuration(problem),
            refused => Self::Svix(refused.to_string()),
        }
    }
}

impl From<AppError> for Failure {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Configuration(text) => Self::Configuration(text),
            AppError::Broker(error) => Self::Broker(error.to_string()),
            AppError::Listen(error) => Self::Running(error.to_string()),
            AppError::Running(text) => Self::Running(text),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Running(error.to_string())
    }
}

/// The runtime that every command which waits for something runs on.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::from)
}

/// SIGTERM and SIGINT.
struct Signals(Signal, Signal);

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// A [`Stop`] that SIGTERM and SIGINT request: the first asks for an orderly end, the second for a quick one, the third ends
/// the process at once.
pub(super) async fn on_signals() -> std::io::Result<Stop> {
    let mut signals = Signals(signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = Stop::default();
    let (requested, hurried) = (stop.requested.clone(), stop.hurried.clone());
    tokio::spawn(async move {
        signals.next().await;
        requested.cancel();
        signals.next().await;
        // A call that is cut off between Svix's commit and its queue leaves a message that nobody is called for.
        let seconds = LAST_CALLS.as_secs();
        eprintln!("hookbro: second signal; ending within {seconds} s, once calls in flight are answered");
        hurried.cancel();
        tokio::select! {
            () = signals.next() => {}
            () = tokio::time::sleep(LAST_CALLS + CLOSING) => {}
        }
        eprintln!("hookbro: exiting at once; the broker delivers again what was in flight");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(stop)
}
