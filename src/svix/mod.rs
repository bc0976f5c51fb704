//! Floor 2: Svix over HTTP. The only place that knows its URLs, bodies and answers.

mod settings;

pub use settings::Settings;
