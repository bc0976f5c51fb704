//! What is wrong with a configuration: every mistake, one line each, never a secret.

use config::ValueKind;
use std::fmt;

/// Longest value that a message repeats, in characters. Enough to recognise it.
const SHOWN_LEN: usize = 60;

/// All mistakes of a configuration, in the order of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(pub(super) Vec<Mistake>);

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, mistake) in self.0.iter().enumerate() {
            write!(f, "{}{mistake}", if n == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

/// One mistake: what was said, where, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistake {
    /// A layer that cannot be read at all.
    #[error("{layer}: {problem}")]
    Layer { layer: String, problem: String },
    /// A key; `value` is empty where it must not be shown.
    #[error("{key}{value} ({origin}): {problem}")]
    Key { key: String, value: String, origin: String, problem: String },
}

/// ` = value` as an operator would recognise it; empty for what is too big to show, or may hold credentials.
pub(super) fn shown(kind: &ValueKind) -> String {
    value(kind).filter(|text| text.chars().count() <= SHOWN_LEN).map(|text| format!(" = {text}")).unwrap_or_default()
}

fn value(kind: &ValueKind) -> Option<String> {
    match kind {
        // A URL with `user:password@` or `?token=`: wrong wherever it may be shown, and still a secret.
        ValueKind::String(text) if text.contains("://") && text.contains(['@', '?', '#']) => None,
        ValueKind::String(text) => Some(format!("{text:?}")),
        ValueKind::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(|item| value(&item.kind)).collect();
            Some(format!("[{}]", items?.join(", ")))
        }
        ValueKind::Table(_) | ValueKind::Nil => None,
        number => Some(number.to_string()),
    }
}
