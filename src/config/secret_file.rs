//! Secrets in files: read once at start, then watched for changes.

use super::{rules::Rule, text::Read};
use crate::process::secret::{Secret, SecretSource};
use futures_util::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// Largest file of a secret, in bytes. A bundle of every public authority has a quarter of a million; a device or a log
/// given by mistake has more.
const MAX_FILE: u64 = 512 * 1024;
/// How often files are read. Comparing contents works where notifications do not (network mounts, Kubernetes'
/// swapped links); a second is sooner than any rotation needs, and a few reads of a small file cost nothing.
const POLL: Duration = Duration::from_secs(1);

/// A token that is missing pauses delivery instead of ending the process: its file may be mounted or written later.
const MAY_COME_LATER: &str = "svix.token";

/// What was in a file, and whether it can be read again: a pipe cannot.
pub(super) struct Contents {
    pub(super) text: String,
    regular: bool,
}

/// Reads a file of text that has at most `limit` bytes.
pub(super) fn read_bounded(path: &Path, limit: u64) -> Read<Contents> {
    let read = || {
        let file = std::fs::File::open(path)?;
        let mut text = Vec::new();
        let regular = file.metadata()?.is_file();
        file.take(limit + 1).read_to_end(&mut text)?;
        Ok((text, regular))
    };
    let (text, regular) = read().map_err(|e: io::Error| format!("cannot be read: {e}"))?;
    if text.len() as u64 > limit {
        return Err(format!("has more than {limit} bytes"));
    }
    let text = String::from_utf8(text).map_err(|_| "is not UTF-8 text".to_owned())?;
    Ok(Contents { text, regular })
}

/// The secrets that are read from files.
#[derive(Debug, Default)]
#[must_use = "secrets change only while `watch` runs"]
pub struct SecretFiles(Vec<Watched>);

impl SecretFiles {
    /// Reads `path` for `key`, and watches it from now on.
    pub(super) fn add(&mut self, key: &'static str, path: PathBuf, rule: Rule) -> Read<Secret> {
        if path.as_os_str().is_empty() {
            return Err("names no file".to_owned());
        }
        let (text, seen) = match read_secret(&path, rule) {
            Ok((text, false)) => return Ok(Secret::fixed(&text)),
            Ok((text, true)) => (text, Ok(())),
            Err(problem) if key == MAY_COME_LATER && is_not_there_yet(&path) => (String::new(), Err(problem)),
            Err(problem) => return Err(problem),
        };
        let (source, secret) = Secret::changing(&text);
        self.0.push(Watched { key, path, rule, seen, source });
        Ok(secret)
    }

    /// Feeds changes to the secrets. Ends at once if no secret is read from a file, else never: spawn it.
    pub async fn watch(self) {
        self.watch_every(POLL).await;
    }

    pub(super) async fn watch_every(self, pause: Duration) {
        join_all(self.0.into_iter().map(|file| file.follow(pause))).await;
    }
}

/// One file, and what was last seen in it.
#[derive(Debug)]
struct Watched {
    key: &'static str,
    path: PathBuf,
    rule: Rule,
    /// Whether the last check found a value, or why not: so that each change is logged once.
    seen: Read<()>,
    /// Holds the last good value.
    source: SecretSource,
}

/// What one check of a file found, against the check before.
#[derive(Debug, PartialEq, Eq)]
enum Noticed {
    Nothing,
    NewValue,
    GoodAgain,
    Bad(String),
}

impl Watched {
    async fn follow(mut self, pause: Duration) {
        loop {
            tokio::time::sleep(pause).await;
            self.check().await;
        }
    }

    async fn check(&mut self) {
        let (path, rule) = (self.path.clone(), self.rule);
        // Reading may hang on a network mount, which must not delay the others.
        let read = tokio::task::spawn_blocking(move || read_secret(&path, rule)).await;
        let found = read.unwrap_or_else(|e| Err(format!("cannot be read: {e}")));
        let noticed = self.notice(found.map(|(text, _)| text.into()));
        let (key, path) = (self.key, self.path.display());
        match noticed {
            Noticed::Nothing => {}
            Noticed::NewValue => {
                tracing::info!(config.key = key, file.path = %path, "secret changed to the new value of its file")
            }
            Noticed::GoodAgain => {
                tracing::info!(config.key = key, file.path = %path, "secret file is usable again, with the same value")
            }
            Noticed::Bad(problem) => {
                tracing::warn!(config.key = key, file.path = %path, error = problem, "secret file is unusable, the last value stays")
            }
        }
    }

    fn notice(&mut self, now: Read<SecretString>) -> Noticed {
        let noticed = match (&self.seen, &now) {
            (Err(before), Err(now)) if before == now => Noticed::Nothing,
            (_, Err(problem)) => Noticed::Bad(problem.clone()),
            (before, Ok(now)) => match (self.source.set(now.expose_secret()), before) {
                (true, _) => Noticed::NewValue,
                (false, Ok(())) => Noticed::Nothing,
                (false, Err(_)) => Noticed::GoodAgain,
            },
        };
        self.seen = now.map(drop);
        noticed
    }
}

/// Whether a file does not exist or has nothing in it, as before whoever writes it has done so. What does not look like a path
/// may be the secret itself, given to the wrong key.
fn is_not_there_yet(path: &Path) -> bool {
    let surely_a_path = path.is_absolute() || path.starts_with(".") || path.starts_with("..");
    surely_a_path
        && match std::fs::read(path) {
            Ok(bytes) => bytes.trim_ascii().is_empty(),
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
}

/// The secret in a file and whether the file can be read again.
fn read_secret(path: &Path, rule: Rule) -> Read<(String, bool)> {
    let Contents { text, regular } = read_bounded(path, MAX_FILE)?;
    match rule(text.trim_end())? {
        empty if empty.is_empty() => Err("the file is empty".to_owned()),
        text => Ok((text, regular)),
    }
}

#[cfg(test)]
#[path = "secret_file_tests.rs"]
mod tests;
