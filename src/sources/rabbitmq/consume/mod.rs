//! Consuming: one connection's life, its deliveries with their attempt and trace, and their settlement.

mod depths;
pub(super) mod session;
pub(super) mod settle;
mod stall_detector;
mod trace;
mod vanished;
mod window;
