//! What operators can do, once, for the command line, the HTTP API and the console; every change is audited.

pub mod audit;
pub mod change;
pub mod dead;
pub mod dead_event;
pub mod desk;
pub mod hooks;
pub mod hooks_desk;
pub mod pause_desk;
pub mod sanitize;
pub mod timeline;
pub mod told;
pub mod words;
