//! Whether what Svix has under an event's id is certainly another event. In doubt it is the same: a difference makes a dead
//! letter, so it must be proved.
//!
//! Svix shows a payload rewritten: keys sorted, the last of equal keys alone, exponents respelled, and `{"expired":true}`
//! where it cannot write it or no longer has it (`tests/contract/msg_create_payload_*.json`).

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Whether `shown` is certainly not `sent`, rewritten.
pub(super) fn differs(sent: &[u8], shown: &[u8]) -> bool {
    // What either side cannot be read of, as a lone surrogate, 128 levels or 1e400, proves nothing.
    let (Ok(sent), Ok(shown)) = (serde_json::from_slice::<Json>(sent), serde_json::from_slice::<Json>(shown)) else {
        return false;
    };
    !shown.is_gone() && sent.differs(&shown)
}

/// A value as far as it can be compared.
enum Json {
    Null,
    Flag(bool),
    /// Whatever a number's digits are worth to whoever reads it as most do: other spellings of it, and digits that one side
    /// has lost, are no difference.
    Number(f64),
    Text(String),
    List(Vec<Self>),
    /// By name. None where a name stood twice: which of its values counts is not certain.
    Object(Vec<(String, Option<Self>)>),
}

impl Json {
    /// Whether it stands for a payload that Svix has no more.
    fn is_gone(&self) -> bool {
        match self {
            Self::Object(fields) => match fields.as_slice() {
                [] => true,
                [(name, Some(Self::Flag(true)))] => name == "expired",
                _ => false,
            },
            _ => false,
        }
    }

    fn differs(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => false,
            (Self::Flag(one), Self::Flag(other)) => one != other,
            (Self::Number(one), Self::Number(other)) => one != other,
            (Self::Text(one), Self::Text(other)) => one != other,
            (Self::List(one), Self::List(other)) => {
                one.len() != other.len() || one.iter().zip(other).any(|(one, other)| one.differs(other))
            }
            (Self::Object(one), Self::Object(other)) => {
                one.len() != other.len() || one.iter().zip(other).any(|(one, other)| field_differs(one, other))
            }
            _ => true,
        }
    }
}

fn field_differs(one: &(String, Option<Json>), other: &(String, Option<Json>)) -> bool {
    match (one, other) {
        ((name, Some(one)), (same, Some(other))) => name != same || one.differs(other),
        ((name, _), (same, _)) => name != same,
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        de.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json, E> {
        Ok(Json::Flag(flag))
    }

    #[expect(clippy::cast_precision_loss, reason = "as much of it as a reader with floats would have")]
    fn visit_i64<E>(self, number: i64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "as much of it as a reader with floats would have")]
    fn visit_u64<E>(self, number: u64) -> Result<Json, E> {
        Ok(Json::Number(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json, E> {
        Ok(Json::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Json, A::Error> {
        let mut object: Vec<(String, Option<Json>)> = Vec::new();
        while let Some((name, value)) = fields.next_entry()? {
            object.push((name, Some(value)));
        }
        object.sort_by(|(one, _), (other, _)| one.cmp(other));
        object.dedup_by(|later, earlier| {
            let twice = later.0 == earlier.0;
            if twice {
                earlier.1 = None;
            }
            twice
        });
        Ok(Json::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sent: &str, shown: &str, expected: bool) {
        assert_eq!(differs(sent.as_bytes(), shown.as_bytes()), expected, "{sent:.80} shown as {shown:.80}");
    }

    /// What a real server was sent, and what it showed.
    #[test]
    fn no_recorded_echo_is_taken_for_another_event() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/contract");
        let mut compared = 0;
        for file in std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            if !name.starts_with("msg_create_") || file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let case: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
            let text = |value: &serde_json::Value| match value["$raw"].as_str() {
                Some(raw) => raw.to_owned(),
                None => value.to_string(),
            };
            let payload = |body: &str| {
                let fields: std::collections::HashMap<String, Box<serde_json::value::RawValue>> =
                    serde_json::from_str(body).ok()?;
                fields.get("payload").or_else(|| fields.get("data")).map(|raw| raw.get().to_owned())
            };
            let (sent, shown) = (text(&case["request"]["body"]), text(&case["response"]["body"]));
            if case["response"]["status"] != 202 {
                continue;
            }
            if let (Some(sent), Some(shown)) = (payload(&sent), payload(&shown)) {
                check(&sent, &shown, false);
                compared += 1;
            }
        }
        assert!(compared > 15, "{compared} cases");
    }

    #[test]
    fn a_difference_is_one_that_no_spelling_explains() {
        let deep = |levels: usize, core: &str| "[".repeat(levels) + core + &"]".repeat(levels);
        for (sent, shown, different) in [
            (r#"{"a":1,"b":[true,null]}"#, r#"{"b":[true,null],"a":1}"#, false),
            (r#"{"a":1}"#, r#"{"a":2}"#, true),
            (r#"{"a":1}"#, r#"{"b":1}"#, true),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#, true),
            (r#"{"a":1,"b":1}"#, r#"{"a":1}"#, true),
            (r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#, true),
            (r#"{"a":[1]}"#, r#"{"a":[1,1]}"#, true),
            (r#"{"a":"1"}"#, r#"{"a":1}"#, true),
            (r#"{"a":null}"#, r#"{"a":false}"#, true),
            (r#"{"a":{}}"#, r#"{"a":[]}"#, true),
            (r#"{"a":"\u0041\/\ud83d\ude00"}"#, r#"{"a":"A/😀"}"#, false),
            (r#"{"a":1E5}"#, r#"{"a":1e+5}"#, false),
            (r#"{"a":100000}"#, r#"{"a":1e5}"#, false),
            (r#"{"a":1.10}"#, r#"{"a":1.1}"#, false),
            (r#"{"a":-0}"#, r#"{"a":0}"#, false),
            (r#"{"a":12345678901234567890123}"#, r#"{"a":1.2345678901234568e22}"#, false),
            (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, false),
            (r#"{"a":1e400}"#, r#"{"a":1e+400}"#, false),
            (r#"{"a":1e400}"#, r#"{"a":2}"#, false),
            (r#"{"a":1.1}"#, r#"{"a":1.2}"#, true),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#, false),
            (r#"{"a":1,"a":2}"#, r#"{"a":1}"#, false),
            (r#"{"a":1,"a":2,"b":1}"#, r#"{"a":2,"b":2}"#, true),
            (r#"{"a":2}"#, r#"{"a":1,"a":2}"#, false),
            (r#"{"a":1,"a":2}"#, r#"{"b":2}"#, true),
            (r#"{"s":"\ud800"}"#, r#"{"s":"x"}"#, false),
            (r#"{"a":1}"#, r#"{"expired":true}"#, false),
            (r#"{"a":1}"#, "{}", false),
            (r#"{"expired":false}"#, r#"{"expired":true}"#, false),
            (r#"{"a":1}"#, r#"{"expired":false}"#, true),
            (r#"{"a":1}"#, r#"{"expired":true,"a":1}"#, true),
            (&deep(127, "1"), &deep(127, "2"), true),
            (&deep(128, "1"), &deep(128, "2"), false),
            (&deep(100_000, ""), "[]", false),
        ] {
            check(sent, shown, different);
        }
    }
}
