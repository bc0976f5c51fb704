//! Composition: the only place that builds adapters and puts them together. Everybody is known here, and nobody else is.

mod error;
mod ingest;
mod operations;
mod pages;
mod service;

pub use error::AppError;
pub use operations::{audit_log, dead_letters, endpoints, parked};
pub use service::{serve, svix_sink};
