//! hookbro delivers Gigs events from a RabbitMQ topic exchange to the Svix application of their project.
//!
//! Floors, lowest first; a module imports from its own floor downwards, and adapters never import each other
//! (`tests/it/architecture.rs` checks both):
//!
//! | floor | modules | knows |
//! |---|---|---|
//! | 0 domain | [`domain`] | what an event is, what may become of it; no IO |
//! | 1 ports | [`ports`] | the seams: delivery token, sink, metrics; no broker, no vendor |
//! | 2 adapters | [`amqp`], [`svix`], [`http`], [`journal`], [`sandbox`] | one outside system each |
//! | 3 service | [`service`] | event → verdict, pausing, start and stop order |
//! | 4 edge | [`config`], [`telemetry`], [`cli`] | words in, exit code out |
//!
//! One event's path: `amqp::session` yields a [`ports::delivery::Delivery`] → `service::handler` judges it, asking
//! `svix` through `service::gate` → one [`domain::verdict::Verdict`] → `amqp::settle` turns that into one broker
//! operation.

pub mod domain;
pub mod ports;

pub mod amqp;
pub mod http;
pub mod journal;
pub mod sandbox;
pub mod svix;

pub mod service;

pub mod cli;
pub mod config;
pub mod telemetry;
