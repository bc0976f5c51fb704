//! The console: pages for people at `admin.listen/`. Written on the server, whole without JavaScript, better with a little.
//!
//! A page shows what `/api/v1` answers, in its types and in the words of the command line, so that the three never
//! disagree. Every value is escaped by `maud`; a browser is allowed nothing that does not come from here.

mod audit;
mod components;
mod dead_letter_actions;
mod dead_letters;
mod endpoints;
mod event;
mod events;
mod form;
mod guard;
mod health_summary;
mod list_query;
mod overview;
mod page;
mod parked;
mod pauses;
mod projects;
mod routes;
mod search;
mod state;
mod swim_lanes;
mod throughput;
mod timeline;

pub use form::Forms;
pub use routes::{changes_router, endpoint_pages_router, parked_pages_router, pausing_router, router};
pub use state::{Changes, Console, Endpoints, ParkedPages, Pausing};

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
