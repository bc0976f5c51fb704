//! The recorded cases as files, and how their requests are sent again byte for byte.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) request: Request,
    pub(crate) response: Response,
}

#[derive(Deserialize)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    headers: BTreeMap<String, String>,
    body: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(crate) struct Response {
    pub(crate) status: Option<u16>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
}

/// Files that start with an underscore are measurements, not cases.
pub(crate) fn all() -> BTreeMap<String, Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let wanted = files.filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.ends_with(".json") && !name.starts_with('_')
    });
    wanted
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            let case: Case = serde_json::from_str(&text).unwrap_or_else(|err| panic!("{}: {err}", path.display()));
            (case.name.clone(), case)
        })
        .collect()
}

/// Ids differ from run to run: those of the recording become the ones this server gave instead.
pub(crate) fn rename(text: &str, ids: &BTreeMap<String, String>) -> String {
    ids.iter().fold(text.to_owned(), |text, (recorded, actual)| text.replace(recorded, actual))
}

impl Case {
    pub(crate) fn headers(&self, token: &str) -> Vec<(String, String)> {
        let with_token = |value: &String| match value.split_once(' ') {
            Some((scheme, "TOKEN")) => format!("{scheme} {token}"),
            _ => value.clone(),
        };
        self.request.headers.iter().map(|(name, value)| (name.clone(), with_token(value))).collect()
    }

    pub(crate) fn body(&self, rename: &impl Fn(&str) -> String) -> Option<Vec<u8>> {
        let recorded = self.request.body.as_ref()?.get();
        let value: Value = serde_json::from_str(recorded).unwrap();
        let special = |name: &str| value.get(name).and_then(Value::as_str);
        if let Some(raw) = special("$raw") {
            return Some(rename(raw).into_bytes());
        }
        if let Some(encoded) = special("$raw_base64") {
            return Some(BASE64_STANDARD.decode(encoded).unwrap());
        }
        if let Some(size) = special("$omitted") {
            let size = size.strip_suffix(" bytes").unwrap().parse().unwrap();
            return Some(rename(&padded(special("$prefix").unwrap(), size)).into_bytes());
        }
        Some(rename(&as_sent(recorded)).into_bytes())
    }
}

/// The recording is indented; it was sent on one line with a space behind `,` and `:`. Errors name the column.
fn as_sent(recorded: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::new(), false, false);
    for letter in recorded.chars().filter(|letter| *letter != '\n') {
        if quoted || !letter.is_whitespace() {
            out.push(letter);
        }
        if !quoted && matches!(letter, ',' | ':') {
            out.push(' ');
        }
        quoted ^= letter == '"' && !escaped;
        escaped = letter == '\\' && !escaped;
    }
    out
}

/// Bodies too big to record are one long string within this frame.
fn padded(prefix: &str, size: usize) -> String {
    if let Some(rest) = prefix.strip_prefix("200001\r\n") {
        return format!("200001\r\n{}\r\n0\r\n\r\n", padded(rest, 0x0020_0001));
    }
    let (head, letter, tail) = match prefix.starts_with("{\"name\"") {
        true => ("{\"name\": \"", "n", "\", \"uid\": \"cust-941066-ln\"}"),
        false => ("{\"eventType\": \"user.created\", \"payload\": {\"p\": \"", "x", "\"}}"),
    };
    assert!(prefix.starts_with(head), "an unknown frame: {prefix}");
    format!("{head}{}{tail}", letter.repeat(size - head.len() - tail.len()))
}
