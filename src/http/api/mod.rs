//! `/api/v1`: what the journal knows, joined with what Svix says, and what operators change, which is written down first.
//! Every answer is bounded in size and time. Each group of resources is a router with a state of its own.
//!
//! The contract is made of the types ([`crate::operate::api_types`]) and of what is written above each handler, and is served;
//! `scripts/check-api` holds the answers to it.

pub(super) mod access;
mod asked;
mod audit;
pub(super) mod dead;
mod document;
pub(super) mod endpoints;
pub(super) mod events;
pub(super) mod parked;
pub(super) mod pauses;
pub(super) mod projects;
pub(super) mod query;
mod refusals;
mod router;
mod routing;
mod state;

pub use audit::router as audit_router;
pub use dead::router as dead_router;
pub use endpoints::router as endpoints_router;
pub use parked::router as parked_router;
pub use pauses::router as pauses_router;
pub(super) use refusals::unread;
pub use router::router;
pub use state::Api;
