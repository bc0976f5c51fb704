//! Hiding what is sensitive in a text that is going to be shown: JSON of any shape, or no JSON at all.
//!
//! Knows names of fields, not their meaning. A field is named by its last word (`email`), wherever it is, or by its
//! path's end (`connectSession.url`); letter case, `_` and `-` do not matter, and arrays count as their elements. Of a field
//! that is named the whole value goes. Keys, order and white space are not kept: what comes out is for reading.

use serde_json::Value;
use std::{borrow::Cow, fmt};

/// Stands in place of a value.
pub const REDACTED: &str = "[redacted]";
/// Stands in place of what cannot be read as JSON: nobody knows which part of it is sensitive.
const UNREADABLE: &str = "[redacted: not JSON]";
/// Names of one path, and characters of one entry, at most.
const MAX_ENTRY: usize = 256;

/// What is hidden: `redact.fields`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Redaction {
    /// Each a path's end, innermost name last, in the spelling of [`plain`].
    fields: Vec<Vec<String>>,
}

/// Why an entry names no field; completes the sentence "element 2 …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    #[error("is empty, or has an empty name between its dots")]
    Empty,
    #[error("has more than {MAX_ENTRY} characters")]
    TooLong,
}

impl Redaction {
    /// From entries such as `email` or `connectSession.url`; an error says which one is wrong, counted from 1, and why.
    pub fn try_new(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, (usize, InvalidField)> {
        let path = |(n, entry): (usize, _)| path(AsRef::<str>::as_ref(&entry)).map_err(|why| (n + 1, why));
        Ok(Self { fields: entries.into_iter().enumerate().map(path).collect::<Result<_, _>>()? })
    }

    /// `text` with what is named hidden. With nothing to hide it is `text` itself; else what is no JSON, or nests over
    /// serde_json's 128, is hidden as a whole.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.fields.is_empty() {
            return Cow::Borrowed(text);
        }
        match serde_json::from_str::<Value>(text) {
            Ok(mut value) => {
                self.value(&mut value);
                Cow::Owned(value.to_string())
            }
            Err(_) => Cow::Borrowed(UNREADABLE),
        }
    }

    /// As [`Redaction::text`], of bytes that may be no text either.
    pub fn bytes<'t>(&self, bytes: &'t [u8]) -> Cow<'t, str> {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(text),
            Err(_) if self.fields.is_empty() => String::from_utf8_lossy(bytes),
            Err(_) => Cow::Borrowed(UNREADABLE),
        }
    }

    /// Hides what is named in `value`, however deep it is. No recursion: a value may be deeper than a stack.
    pub fn value(&self, value: &mut Value) {
        let mut waiting: Vec<(Vec<String>, &mut Value)> = vec![(Vec::new(), value)];
        let longest = self.fields.iter().map(Vec::len).max().unwrap_or(0);
        while let Some((path, value)) = waiting.pop() {
            match value {
                Value::Object(members) => {
                    for (name, value) in members.iter_mut() {
                        // No more of the path than the longest entry can ask about.
                        let start = (path.len() + 1).saturating_sub(longest).min(path.len());
                        let path: Vec<_> = path[start..].iter().cloned().chain([plain(name)]).collect();
                        if self.names(&path) {
                            *value = Value::String(REDACTED.into());
                        } else {
                            waiting.push((path, value));
                        }
                    }
                }
                Value::Array(items) => waiting.extend(items.iter_mut().map(|item| (path.clone(), item))),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
    }

    fn names(&self, path: &[String]) -> bool {
        self.fields.iter().any(|field| path.ends_with(field))
    }
}

impl fmt::Display for Redaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self.fields.iter().map(|field| field.join(".")).collect();
        f.write_str(&fields.join(","))
    }
}

fn path(entry: &str) -> Result<Vec<String>, InvalidField> {
    if entry.len() > MAX_ENTRY {
        return Err(InvalidField::TooLong);
    }
    let names: Vec<String> = entry.split('.').map(plain).collect();
    if names.iter().any(String::is_empty) { Err(InvalidField::Empty) } else { Ok(names) }
}

/// One spelling for `accountPin`, `account_pin` and `Account-Pin`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-') && !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
