//! An in-memory stand-in for Svix: `hookbro sandbox`, and the double every test of the client runs against.
//!
//! It answers applications, messages, endpoints, event types and portal links as a Svix server 1.100 was recorded to
//! answer (`tests/contract/`), fails on demand, and shows what it received. It shares no code with the client, so that it
//! cannot share the client's mistakes; `tests/it/contract.rs` compares it with the recording instead.
//!
//! Limits: nothing is delivered anywhere and nothing outlives the process. A message that is dispatched has an attempt at each
//! endpoint that takes it, noted as a success. Statistics and `PATCH` of anything but an endpoint answer as routes that do
//! not exist; recovering has no effect, and `idempotency-key` is ignored. The control API under
//! `/sandbox/v1` asks for no token: keep the listener on loopback, as the command does by default.
//!
//! One request's path: `server` (connection) → `exchange` (fault, latency, log) → `api_apps`, `api_messages` or `api_endpoints` →
//! `store`.

mod answers;
mod api_apps;
mod api_attempts;
mod api_endpoints;
mod api_messages;
mod attempts;
mod auth;
mod connection;
mod control;
mod endpoints;
mod exchange;
mod fault;
mod fault_registry;
mod ids;
mod instance;
mod message_log;
mod options;
mod paging;
mod payload_view;
mod request_log;
mod route;
mod server;
mod store;
mod tenants;
mod validate;
mod wire;
mod wire_endpoints;

pub use attempts::Trigger;
pub use fault::{Fault, FaultKind, InvalidFault};
pub use fault_registry::{FaultId, FaultState};
pub use instance::{Application, Sandbox, StoredAttempt, StoredMessage};
pub use options::{Options, Role};
pub use request_log::{Effect, Outcome, RequestLine, Tally};
pub use route::RequestKind;
