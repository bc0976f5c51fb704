//! The integration tests: one binary, so that they link once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

mod alive;
mod apps;
mod architecture;
mod chaos;
mod cluster;
mod commands;
mod connect;
mod contract;
mod dead;
mod dead_many;
mod deliver;
mod events;
mod fuzz;
mod hostile;
mod ingest;
mod journal;
mod journal_size;
mod ladder;
mod lanes;
mod live;
mod migrate;
mod operate;
mod pause;
mod raw_http;
mod readme;
mod recover;
mod regions;
mod sandbox;
mod secrets;
mod stop;
mod support;
mod timeline;
mod tls_broker;
mod tls_svix;
mod trace;
