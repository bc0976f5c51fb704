//! Secrets that stand in files: read once at start, then watched for changes.

use super::{rules::Rule, text::Read};
use crate::ports::secret::Secret;
use futures_util::future::join_all;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::sync::watch;

/// Largest file of a secret, in bytes. Tokens and URLs are short; a device or a log given by mistake is not.
const MAX_FILE: u64 = 64 * 1024;
/// How often files are looked at. Comparing contents works where notifications do not (network mounts, Kubernetes'
/// swapped links); a second is sooner than any rotation needs, and a few reads of a small file cost nothing.
const POLL: Duration = Duration::from_secs(1);

/// What a file held, and whether it can be read again: a pipe cannot.
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

/// The secrets that stand in files.
#[derive(Debug, Default)]
#[must_use = "secrets change only while `watch` runs"]
pub struct SecretFiles(Vec<Watched>);

impl SecretFiles {
    /// Reads `path` for `key`, and watches it from now on.
    pub(super) fn add(&mut self, key: &'static str, path: PathBuf, rule: Rule) -> Read<Secret> {
        if path.as_os_str().is_empty() {
            return Err("names no file".to_owned());
        }
        let (text, regular) = read_secret(&path, rule)?;
        if !regular {
            return Ok(Secret::fixed(&text));
        }
        let (sender, secret) = Secret::changing(&text);
        self.0.push(Watched { key, path, rule, seen: Ok(text.into()), sender });
        Ok(secret)
    }

    /// Feeds changes to the secrets. Ends at once if no secret stands in a file, else never: spawn it.
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
    /// The value, or why there was none: told apart from the next look, so that each change is logged once.
    seen: Result<SecretString, String>,
    sender: watch::Sender<SecretString>,
}

impl Watched {
    async fn follow(mut self, pause: Duration) {
        loop {
            tokio::time::sleep(pause).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let (path, rule) = (self.path.clone(), self.rule);
        // Reading may hang on a network mount, which must hold up nobody else.
        let read = tokio::task::spawn_blocking(move || read_secret(&path, rule)).await;
        self.notice(read.unwrap_or_else(|e| Err(format!("cannot be read: {e}"))));
    }

    fn notice(&mut self, now: Read<(String, bool)>) {
        let now = now.map(|(text, _)| SecretString::from(text));
        let unchanged = match (&self.seen, &now) {
            (Ok(before), Ok(now)) => before.expose_secret() == now.expose_secret(),
            (Err(before), Err(now)) => before == now,
            _ => false,
        };
        if unchanged {
            return;
        }
        let (key, path) = (self.key, self.path.display());
        match &now {
            Ok(value) => {
                let differs = self.sender.borrow().expose_secret() != value.expose_secret();
                if differs {
                    self.sender.send_replace(value.clone());
                }
                tracing::info!(key, %path, changed = differs, "secret file read again");
            }
            Err(problem) => tracing::warn!(key, %path, problem, "secret file is no good, keeping the last value"),
        }
        self.seen = now;
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
