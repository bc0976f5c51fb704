//! From a delivery to its verdict: consume, handle, settle. Names no broker and no vendor.

mod consume;
pub mod delivery;
#[cfg(test)]
mod fake_sink;
mod gate;
mod gate_state;
pub mod gradient;
mod handler;
pub mod intake;
pub mod journal;
mod keeper;
mod lifecycle;
mod pacer;
pub mod pauses;
mod provision;
mod record;
mod resume;
pub mod route;
pub mod sink;

pub use lifecycle::{Fatal, Records, Settings, run};
