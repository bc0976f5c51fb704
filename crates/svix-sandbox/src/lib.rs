//! An in-memory stand-in for Svix: `hookbro sandbox`, and the double every test of the client runs against.
//!
//! It answers applications, messages, endpoints, event types and portal links as a Svix server 1.100 was recorded to
//! answer (`tests/contract/`), fails on demand, and shows what it received. It knows nothing of the rest of the crate, so that it cannot share the
//! client's mistakes; `tests/it/contract.rs` holds it against the recording instead.
//!
//! Limits: nothing is delivered anywhere and nothing outlives the process. A message that is dispatched has an attempt at each
//! endpoint that takes it, noted as a success. Statistics and `PATCH` of anything but an endpoint answer as routes that do
//! not exist; recovering has no effect, and `idempotency-key` is ignored. The control API under
//! `/sandbox/v1` asks for no token: keep the listener on loopback, as the command does by default.
//!
//! One request's path: `server` (connection) → `exchange` (fault, latency, log) → `api_apps`, `api_messages` or `api_endpoints` →
//! `store`.

mod answers;
mod api_again;
mod api_apps;
mod api_endpoints;
mod api_messages;
mod attempts;
mod auth;
mod book;
mod control;
mod echo;
mod endpoints;
mod exchange;
mod fault;
mod ids;
mod instance;
mod journal;
mod line;
mod options;
mod paging;
mod ring;
mod route;
mod server;
mod store;
mod tenants;
mod validate;
mod wire;
mod wire_endpoints;

pub use attempts::Trigger;
pub use book::{FaultId, FaultState};
pub use fault::{Fault, FaultKind, InvalidFault};
pub use instance::{Application, Sandbox, StoredAttempt, StoredMessage};
pub use journal::{Effect, Outcome, RequestLine, Tally};
pub use options::{Options, Role};
pub use route::RequestKind;
