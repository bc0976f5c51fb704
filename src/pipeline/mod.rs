//! From a delivery to its verdict: consume, handle, settle. Names no broker and no vendor.

mod announcements;
mod backlog;
pub mod backoff;
mod consume;
pub mod delivery;
mod destinations;
#[cfg(test)]
mod fake_sink;
pub mod gradient;
mod halt;
mod halt_state;
mod handler;
pub mod intake;
pub mod journal;
mod lifecycle;
mod lots;
mod max_age;
mod pacer;
pub mod parking;
pub mod pauses;
mod prober;
mod record;
mod refusals;
mod resume;
pub mod sink;
pub mod source;
mod watched;

pub use lifecycle::{Ends, Records, Settings, run};
