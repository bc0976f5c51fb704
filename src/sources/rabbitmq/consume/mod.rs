//! Consuming: one connection's life, its deliveries with their attempt and trace, and their settlement.

mod allowance;
mod arrivals;
mod depths;
pub(super) mod message;
mod notices;
pub(super) mod open;
mod plan;
mod rung;
pub(super) mod session;
pub(super) mod settle;
pub(super) mod share;
pub(super) mod shared;
mod stall_detector;
mod trace;
mod vanished;
mod window;
