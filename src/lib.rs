//! hookbro delivers Gigs events from a RabbitMQ topic exchange to the Svix application of their project.
//!
//! Rooms, lowest first; a module imports from its own room downwards (`tests/it/architecture.rs` checks it):
//!
//! | room | knows |
//! |---|---|
//! | [`event`] | what an event is and what may become of it; no IO |
//! | [`process`] | secrets, TLS, the signal to stop |
//! | [`observe`] | metrics, health, traces, log lines |
//! | [`pipeline`] | event → verdict; names no broker and no vendor |
//! | [`operate`] | what operators can do |
//! | [`sources`], [`sinks`], [`store`], [`http`] | one outside system each |
//! | [`config`] | text to values |
//! | [`app`] | everybody: the only place that builds things |
//! | [`cli`] | words in, exit code out |

pub mod event;
pub mod process;

pub mod observe;

pub mod pipeline;

pub mod operate;

pub mod http;
pub mod sinks;
pub mod sources;
pub mod store;

pub mod config;

pub mod app;

pub mod cli;
