//! Svix's calls for operators, beside the hot path of messages: applications, endpoints, portal links and redeliveries.

mod call;
mod organisation;
mod redeliver;
mod wire;

pub use call::{AdminError, SvixAdmin};
pub use organisation::Made;
pub use wire::Endpoint;
