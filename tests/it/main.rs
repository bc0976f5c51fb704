//! The integration tests: one binary, so that they link once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on stops where it stands")]

mod contract;
mod deliver;
mod hostile;
mod ladder;
mod raw_http;
mod sandbox;
mod support;
