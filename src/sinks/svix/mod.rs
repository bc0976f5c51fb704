//! Svix over HTTP. The only place that knows its URLs, bodies and answers.

mod answer;
mod application;
mod body;
mod calls;
mod classify;
mod client;
mod heard;
mod hooks;
mod http;
mod manage;
mod proof;
mod provision;
mod same;
mod settings;
mod sink;
mod takers;
mod trace;
mod view;
mod wire;

pub use application::{Application, MARK, Origin, projects_of};
pub use hooks::SvixHooks;
pub use http::{ClientError, proxy_variable};
pub use manage::{Endpoint, Made, ManageError, Management};
pub use settings::Settings;
pub use sink::SvixSink;
pub use view::SvixView;
