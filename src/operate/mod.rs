//! What operators can do, once, for the command line, the HTTP API and the console; every change is audited.

pub mod api_types;
pub mod audit;
pub mod change;
pub mod dead_letters;
pub mod describe;
pub mod endpoint_admin;
pub mod endpoints;
pub mod parked;
pub mod progress;
pub mod project_pauses;
pub mod sanitize;
pub mod time_argument;
pub mod timeline;
