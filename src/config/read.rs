//! One key at a time from what was given to a value. Mistakes are collected, so that one run reports them all.

use super::{
    ConfigError, SecretFiles,
    error::{Mistake, shown},
    keys::SECRETS,
    layer::{Given, GivenLanes, Layers},
    rules::Rule,
    text::{self, Read},
};
use crate::process::secret::{Secret, SecretList};
use config::ValueKind;
use std::{collections::BTreeSet, path::Path};

/// Reads keys, remembering what was wrong. `None` means: there is a mistake about it.
pub(super) struct Reader {
    layers: Layers,
    files: SecretFiles,
    /// So that a key which nothing reads is found by a test.
    pub(super) asked: BTreeSet<&'static str>,
}

impl Reader {
    pub(super) fn new(layers: Layers) -> Self {
        Self { layers, files: SecretFiles::default(), asked: BTreeSet::new() }
    }

    /// A key that is no secret.
    pub(super) fn value<T>(&mut self, key: &'static str, parse: impl FnOnce(&ValueKind) -> Read<T>) -> Option<T> {
        let given = self.given(key)?;
        parse(&given.value.kind).map_err(|problem| self.refuse(key, problem)).ok()
    }

    /// A secret of one text, by value or by file.
    pub(super) fn secret(&mut self, key: &'static str, rule: Rule) -> Option<Secret> {
        self.secret_of(key, rule, text::text)
    }

    /// A secret of several tokens, by value or by file.
    pub(super) fn secrets(&mut self, key: &'static str, rule: Rule) -> Option<SecretList> {
        // In a list, a comma inside a token would make two of it.
        let joined = |kind: &ValueKind| {
            let list = text::list(kind)?;
            match list.iter().position(|token| token.contains([',', '\n'])) {
                Some(n) => Err(format!("token {} has a comma or line break inside", n + 1)),
                None => Ok(list.join("\n")),
            }
        };
        self.secret_of(key, rule, joined).map(SecretList::lines_of)
    }

    fn secret_of(
        &mut self,
        key: &'static str,
        rule: Rule,
        parse: impl FnOnce(&ValueKind) -> Read<String>,
    ) -> Option<Secret> {
        let given = self.given(key)?;
        let read = match given.slot.by_file {
            true => text::text(&given.value.kind).and_then(|path| {
                let hint = if is_surely_path(&path) { "" } else { "; expected the path of a file" };
                self.files.add(key, path.into(), rule).map_err(|problem| format!("{problem}{hint}"))
            }),
            false => parse(&given.value.kind).and_then(|text| rule(&text)).map(|text| Secret::fixed(&text)),
        };
        read.map_err(|problem| self.refuse(key, problem)).ok()
    }

    fn given(&mut self, key: &'static str) -> Option<Given> {
        self.asked.insert(key);
        let given = self.layers.given.get(key).cloned();
        if given.is_none() {
            self.refuse(key, "has no default; the program was built wrong".to_owned());
        }
        given
    }

    /// Records what is wrong with `key`, with the value that was given unless that is secret.
    pub(super) fn refuse(&mut self, key: &'static str, problem: String) {
        let given = self.layers.given.get(key);
        let value = given.map_or_else(String::new, |given| match &given.value.kind {
            ValueKind::String(path) if given.slot.by_file && is_surely_path(path) => format!(" = {path:?}"),
            _ if SECRETS.contains(&key) => String::new(),
            public => shown(public),
        });
        self.layers.mistakes.push(Mistake::Key {
            key: given.map_or_else(|| key.to_owned(), |given| given.slot.name()),
            value,
            origin: given.map(Given::origin).unwrap_or_default(),
            problem,
        });
    }

    /// What was given about lanes, to be read as a whole.
    pub(super) fn take_lanes(&mut self) -> GivenLanes {
        std::mem::take(&mut self.layers.lanes)
    }

    pub(super) fn add_mistakes(&mut self, mistakes: Vec<Mistake>) {
        self.layers.mistakes.extend(mistakes);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.layers.mistakes.is_empty()
    }

    /// What was built with the files to watch, if there was no mistake.
    pub(super) fn finish<T>(self, built: Option<T>) -> Result<(T, SecretFiles), ConfigError> {
        match built {
            Some(built) if self.is_clean() => Ok((built, self.files)),
            _ => Err(ConfigError(self.layers.mistakes)),
        }
    }
}

/// Whether a text given as `KEY_file` is a path, rather than the secret itself, given to the wrong key.
fn is_surely_path(text: &str) -> bool {
    text.is_empty() || text.starts_with(['/', '.']) || Path::new(text).exists()
}
