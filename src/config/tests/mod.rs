//! Words in, settings or messages out. The process's own environment is never touched.

mod forms;
mod lanes;
mod messages;
mod precedence;
mod reference;
mod secrets;
mod tls;

use super::{ConfigError, Settings, build::load_with};
use std::path::Path;

/// The words of one start of the program.
#[derive(Default, Clone, Copy)]
struct Words<'a> {
    /// Text of the `--config` file.
    file: Option<&'a str>,
    environment: &'a [(&'a str, &'a str)],
    sets: &'a [&'a str],
}

impl Words<'_> {
    /// Loads them, with the file in `dir`.
    fn load_in(self, dir: &Path) -> Result<Settings, ConfigError> {
        let path = dir.join("hookbro.toml");
        if let Some(text) = self.file {
            std::fs::write(&path, text).unwrap();
        }
        let environment = self.environment.iter().map(|(name, value)| (name.into(), value.into()));
        let sets: Vec<_> = self.sets.iter().map(|&set| set.to_owned()).collect();
        load_with(self.file.is_some().then_some(path.as_path()), environment, &sets)
    }

    fn load(self) -> Result<Settings, ConfigError> {
        self.load_in(tempfile::tempdir().unwrap().path())
    }

    #[track_caller]
    fn settings(self) -> Settings {
        self.load().unwrap_or_else(|e| panic!("{e}"))
    }
}

fn file(text: &str) -> Words<'_> {
    Words { file: Some(text), ..Words::default() }
}

fn environment<'a>(environment: &'a [(&'a str, &'a str)]) -> Words<'a> {
    Words { environment, ..Words::default() }
}

fn sets<'a>(sets: &'a [&'a str]) -> Words<'a> {
    Words { sets, ..Words::default() }
}
