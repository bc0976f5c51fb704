//! What the children write, read back: JSON log lines of the service, anything else as it is.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

/// Its message marks the one line that the service writes per settled event.
const SETTLED: &str = "event settled";

/// A line worth handing on.
pub(crate) enum Line {
    Settled(Settled),
    /// A warning, an error or something that is no log line, ready to be shown.
    Notice(String),
}

/// What became of one event at one attempt.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Settled {
    #[serde(rename = "event.id")]
    pub(crate) event: String,
    pub(crate) project: String,
    #[serde(rename = "event.type")]
    pub(crate) kind: String,
    pub(crate) attempt: u32,
    pub(crate) outcome: String,
    reason: Value,
    status: Value,
    cause: Value,
}

#[derive(Deserialize)]
struct Record {
    level: String,
    #[serde(default)]
    target: String,
    fields: Map<String, Value>,
}

impl Line {
    /// A line of standard output; only log lines count there, and of those not debug and info.
    pub(crate) fn log(text: &str) -> Option<Self> {
        Self::of_record(serde_json::from_str(text).ok()?)
    }

    /// A line of standard error, where a program also complains in plain words.
    pub(crate) fn log_or_words(child: &str, text: &str) -> Option<Self> {
        match serde_json::from_str(text) {
            Ok(record) => Self::of_record(record),
            Err(_) if text.trim().is_empty() => None,
            Err(_) => Some(Self::Notice(format!("{child}: {}", text.trim_end()))),
        }
    }

    fn of_record(record: Record) -> Option<Self> {
        if record.message() == SETTLED {
            let settled = serde_json::from_value(Value::Object(record.fields.clone()));
            return Some(settled.map_or_else(|_| Self::Notice(record.readable()), Self::Settled));
        }
        matches!(record.level.as_str(), "WARN" | "ERROR").then(|| Self::Notice(record.readable()))
    }
}

impl Record {
    fn message(&self) -> &str {
        self.fields.get("message").and_then(Value::as_str).unwrap_or_default()
    }

    fn readable(&self) -> String {
        let fields = self.fields.iter().filter(|(name, _)| *name != "message");
        let fields: String = fields.map(|(name, value)| format!(" {name}={}", plain(value))).collect();
        format!("{:5} {}: {}{fields}", self.level, self.target, self.message())
    }
}

impl Settled {
    pub(crate) fn is_success(&self) -> bool {
        matches!(self.outcome.as_str(), "delivered" | "duplicate")
    }
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, project, kind, attempt, outcome, .. } = self;
        write!(f, "{outcome:9} {project} {event} {kind}, attempt {attempt}")?;
        for (name, value) in [("reason", &self.reason), ("status", &self.status), ("cause", &self.cause)] {
            if !value.is_null() {
                write!(f, ", {name} {}", plain(value))?;
            }
        }
        Ok(())
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
