//! Floor 3: from a delivery to its verdict, and the order in which things start and stop.

mod consume;
#[cfg(test)]
mod fake_sink;
mod gate;
mod gate_state;
mod handler;
mod keeper;
mod lifecycle;
mod pacer;
mod pauses;
mod provision;
mod record;

pub use lifecycle::{Fatal, Records, Settings, run};
