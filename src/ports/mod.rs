//! Floor 1: the seams between what decides and what talks to the outside. No broker and no vendor is known here.

pub mod audit;
pub mod dead;
pub mod delivery;
pub mod health;
pub mod hooks;
pub mod intake;
pub mod journal;
pub mod metrics;
pub mod pauses;
pub mod projects;
pub mod secret;
pub mod sink;
pub mod state;
pub mod stop;
pub mod timeline;
pub mod tls;
pub mod told;
pub mod trace;
