//! The journal's store. Which entries are made is the pipeline's business; here they are kept and found again.
//!
//! SQLite in a file or PostgreSQL, one schema and one SQL for both. One task writes (`writer`), in batches; readers have
//! connections of their own (`read`, `projects`). Nobody waits for either. What operators change is written on a third
//! (`audit`), and they do wait for it.

mod audit;
mod gaps;
mod insert;
mod location;
mod open;
mod projects;
mod read;
mod retention;
mod row_id;
mod schema;
mod tally;
mod writer;

pub use audit::AuditLog;
pub use location::Location;
pub use open::OpenError;
pub use read::Reader;
pub use writer::{Settings, Writer};
