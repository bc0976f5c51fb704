//! A timeline told: what `/api/v1` answers as those read it who put it into words, the command line and the console.
//!
//! Both read the same answers with the same types, so that neither can say what the other does not.

mod answer;
pub mod story;

pub use answer::{Attempt, Call, Endpoint, Gap, LastError, Line, Message, Page, Project, Projects, Retry, Story, Svix};
