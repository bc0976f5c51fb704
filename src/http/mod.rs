//! Floor 2: HTTP towards operators. Knows the ports; knows neither broker nor Svix.

mod ops;
mod server;

pub use ops::{Ops, router};
pub use server::{ListenError, serve};
