//! Svix over HTTP. The only place that knows its URLs, bodies and answers.

mod absence;
mod admin;
mod answer;
mod application;
mod body;
mod calls;
mod classify;
mod client;
mod endpoint_admin;
mod http;
mod presence;
mod proof;
mod provision;
mod recent_acceptances;
mod route;
mod same;
mod settings;
mod sink;
mod takers;
mod trace;
mod view;
mod wire;

pub use admin::{AdminError, Endpoint, Made, SvixAdmin};
pub use application::{Application, MARK, Origin, projects_of};
pub use endpoint_admin::SvixEndpointAdmin;
pub use http::{ClientError, proxy_variable};
pub use route::{AppId, Destination, Routes, UnknownProject};
pub use settings::Settings;
pub use sink::SvixSink;
pub use view::SvixView;
