//! Floor 2: HTTP towards operators. Knows the ports; knows neither broker nor Svix.

mod api;
mod ingest;
mod ingest_auth;
mod local;
mod ops;
mod problem;
mod server;

pub use api::{Api, router as api_router};
pub use ingest::{Ingest, router as ingest_router};
pub use ingest_auth::Keys;
pub use ops::{Ops, router};
pub use server::{ListenError, serve};
