//! What has to be the same between a recorded answer and a new one: everything but ids, times and, in lists, values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::recorded::Case;
use crate::raw_http::Answer;

const TIMES: [&str; 3] = ["createdAt", "updatedAt", "timestamp"];

/// Hidden in the recording.
const SECRETS: [&str; 2] = ["key", "token"];

/// Here only the column differs: the recorded server had an older serde_json, which noticed invalid UTF-8 later.
const OTHER_COLUMN: &str = "msg_create_invalid_utf8";

/// Notes which id this server gave where the recording has another; from then on they have to correspond.
pub(crate) fn learn(case: &Case, answer: &Answer, ids: &mut BTreeMap<String, String>) {
    let Ok(body) = serde_json::from_slice::<Value>(&answer.body) else {
        return;
    };
    if let (Some(recorded), Some(actual)) = (case.response.body["id"].as_str(), body["id"].as_str()) {
        ids.entry(recorded.to_owned()).or_insert_with(|| actual.to_owned());
    }
}

pub(crate) fn check(case: &Case, answer: &Answer, rename: &impl Fn(&str) -> String, live: bool) -> Result<(), String> {
    let expected = case.response.status.ok_or("the recording has no answer")?;
    equal("status", &expected, &answer.status).map_err(|err| format!("{err}: {}", answer.text()))?;
    headers(&case.response.headers, &answer.headers)?;
    match &case.response.body {
        Value::Null => return equal("body", &String::new(), &answer.text()),
        recorded if recorded.get("$omitted").is_some() => return answer.json().as_object().map(|_| ()).ok_or_empty(),
        recorded => {
            if let Some(raw) = recorded.get("$raw").and_then(Value::as_str) {
                return equal("payload", &payload(raw), &payload(&answer.text()));
            }
        }
    }
    let recorded = serde_json::from_str(&rename(&case.response.body.to_string())).unwrap();
    let actual = answer.json();
    if case.name == OTHER_COLUMN {
        let but_column = |body: Value| body.to_string().split(" column ").next().map(str::to_owned);
        equal("body but the column", &but_column(recorded), &but_column(actual))
    } else if expected >= 400 {
        equal("body", &sorted(recorded), &sorted(actual))
    } else if recorded.get("data").is_some_and(Value::is_array) {
        // What else is in the organisation of a foreign server is not known.
        list(&recorded, &actual, live && case.name.starts_with("app_list_"))
    } else {
        object(&recorded, &actual)
    }
}

trait OrEmpty {
    fn ok_or_empty(self) -> Result<(), String>;
}

impl OrEmpty for Option<()> {
    fn ok_or_empty(self) -> Result<(), String> {
        self.ok_or_else(|| "the body is not an object".to_owned())
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, actual: &T) -> Result<(), String> {
    if expected == actual { Ok(()) } else { Err(format!("{what}: expected {expected:?}, got {actual:?}")) }
}

fn headers(expected: &BTreeMap<String, String>, actual: &BTreeMap<String, String>) -> Result<(), String> {
    let set = |headers: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        let own = headers.iter().filter(|(name, _)| *name != "date");
        own.map(|(name, value)| (name.clone(), if name == "content-length" { "n" } else { value }.to_owned())).collect()
    };
    equal("headers", &set(expected), &set(actual))
}

/// The payload's own text, where its formatting is the point.
fn payload(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("\"payload\":")?;
    rest.split_once(",\"channels\":").map(|(payload, _)| payload.to_owned())
}

/// The flaws of a 422 come in no particular order.
fn sorted(mut body: Value) -> Value {
    if let Some(flaws) = body.get_mut("detail").and_then(Value::as_array_mut) {
        flaws.sort_by_key(Value::to_string);
    }
    body
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().into_iter().flat_map(|object| object.keys().cloned()).collect()
}

fn list(recorded: &Value, actual: &Value, foreign: bool) -> Result<(), String> {
    if foreign {
        return if keys(recorded).is_subset(&keys(actual)) { Ok(()) } else { Err(format!("not a list: {actual}")) };
    }
    equal("keys", &keys(recorded), &keys(actual))?;
    equal("done", &recorded["done"], &actual["done"])?;
    equal("iterator is null", &recorded["iterator"].is_null(), &actual["iterator"].is_null())?;
    let shape = |list: &Value| -> Vec<_> { list["data"].as_array().into_iter().flatten().map(keys).collect() };
    equal("items", &shape(recorded), &shape(actual))
}

fn object(recorded: &Value, actual: &Value) -> Result<(), String> {
    equal("keys", &keys(recorded), &keys(actual))?;
    for (key, expected) in recorded.as_object().into_iter().flatten() {
        let actual = &actual[key];
        if TIMES.contains(&key.as_str()) {
            let text = actual.as_str().unwrap_or_default();
            let parsed = text.parse::<jiff::Timestamp>().is_ok();
            equal(key, &(true, true), &(parsed, text.ends_with('Z')))?;
        } else if SECRETS.contains(&key.as_str()) {
            let shown = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
            equal(key, &shown(expected), &shown(actual))?;
        } else if key == "channels" {
            let set = |value: &Value| -> BTreeSet<String> {
                value.as_array().into_iter().flatten().map(Value::to_string).collect()
            };
            equal(key, &(set(expected), expected.is_null()), &(set(actual), actual.is_null()))?;
        } else {
            equal(key, expected, actual)?;
        }
    }
    Ok(())
}
