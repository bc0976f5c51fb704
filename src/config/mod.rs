//! Text into values. Turns defaults, file, environment and flags into the settings that the floors below own.
//!
//! `layer` says who gave what, `read` turns one key's words into a value and collects mistakes, `build` puts the values
//! together. `config/default.toml` is the reference of keys, and tested to be.

mod build;
mod error;
mod keys;
mod lanes;
mod layer;
mod read;
mod rules;
mod secret_file;
mod settings;
mod text;

#[cfg(test)]
mod tests;

pub use build::load;
pub use error::ConfigError;
pub use layer::DEFAULTS;
pub use secret_file::SecretFiles;
pub use settings::{AdminSettings, IngestSettings, LogSettings, RoutingSettings, Settings};
