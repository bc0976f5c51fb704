//! HTTP towards operators and producers. Knows the operations; knows neither broker nor Svix.

mod actor;
mod api;
mod console;
mod counts;
mod ingest;
mod ingest_auth;
mod local;
mod ops;
mod problem;
mod server;

pub use api::{Api, audit_router, dead_router, endpoints_router, parked_router, pauses_router, router as api_router};
pub use console::{
    Changes, Console, Endpoints, Forms, ParkedPages, Pausing, changes_router, endpoint_pages_router,
    parked_pages_router, pausing_router, router as console_router,
};
pub use counts::Queues;
pub use ingest::{Ingest, router as ingest_router};
pub use ingest_auth::Keys;
pub use ops::{Ops, router};
pub use server::{ListenError, serve};
