//! Composition: the only place that builds adapters and puts them together. Everybody is known here, and nobody else is.

mod error;
mod ingest;
mod pages;
mod service;

pub use error::AppError;
pub use service::serve;
