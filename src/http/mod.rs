//! Floor 2: HTTP towards operators. Knows the ports; knows neither broker nor Svix.

mod actor;
mod api;
mod change;
mod console;
mod desk;
mod hooks_desk;
mod ingest;
mod ingest_auth;
mod local;
mod ops;
mod pause_desk;
mod problem;
mod server;

pub use api::{Api, audit_router, dead_router, hooks_router, pauses_router, router as api_router};
pub use console::{
    Changes, Console, Endpoints, Forms, Pausing, Queues, changes_router, endpoints_router, pausing_router,
    router as console_router,
};
pub use desk::Desk;
pub use hooks_desk::HooksDesk;
pub use ingest::{Ingest, router as ingest_router};
pub use ingest_auth::Keys;
pub use ops::{Ops, router};
pub use pause_desk::PauseDesk;
pub use server::{ListenError, serve};
