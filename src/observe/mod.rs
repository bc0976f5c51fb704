//! What can be seen of the process from outside: metrics, health, traces and log lines.

pub mod health;
mod log;
pub mod metrics;
mod otlp;
pub mod projects;
mod queue;
pub mod trace;

pub use log::{Format, InvalidLevel, TelemetryError, filter, init};
pub use otlp::{Exporting, Settings, headers, start};
