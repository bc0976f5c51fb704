//! Floor 2: HTTP towards operators. Knows the ports; knows neither broker nor Svix.

mod actor;
mod api;
#[cfg_attr(not(test), expect(dead_code, reason = "what the first changes through HTTP are built from"))]
mod change;
mod console;
mod ingest;
mod ingest_auth;
mod local;
mod ops;
mod problem;
mod server;

pub use api::{Api, audit_router, router as api_router};
pub use console::{Console, Queues, router as console_router};
pub use ingest::{Ingest, router as ingest_router};
pub use ingest_auth::Keys;
pub use ops::{Ops, router};
pub use server::{ListenError, serve};
