//! AMQP properties and headers as JSON, for people to read. One way only: nothing reads it back.

use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use serde_json::{Map, Value, json};

/// The properties that are set, and all headers.
pub(super) fn properties(of: &BasicProperties) -> Value {
    let text = |text: &Option<ShortString>| text.as_ref().map(|text| json!(text.as_str()));
    let number = |number: &Option<u8>| number.map(|number| json!(number));
    let named = [
        ("content_type", text(of.content_type())),
        ("content_encoding", text(of.content_encoding())),
        ("delivery_mode", number(of.delivery_mode())),
        ("priority", number(of.priority())),
        ("correlation_id", text(of.correlation_id())),
        ("reply_to", text(of.reply_to())),
        ("expiration", text(of.expiration())),
        ("message_id", text(of.message_id())),
        ("timestamp", of.timestamp().map(rfc3339)),
        ("type", text(of.kind())),
        ("app_id", text(of.app_id())),
        ("headers", of.headers().as_ref().map(table)),
    ];
    named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect::<Map<_, _>>().into()
}

fn table(of: &FieldTable) -> Value {
    of.into_iter().map(|(name, each)| (name.as_str().to_owned(), value(each))).collect::<Map<_, _>>().into()
}

/// Recursion as deep as the table: lapin has read it by recursion, within one frame.
fn value(of: &AMQPValue) -> Value {
    match of {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::Float(value) => json!(value),
        AMQPValue::Double(value) => json!(value),
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::LongString(text) => json!(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::FieldArray(items) => items.as_slice().iter().map(value).collect(),
        AMQPValue::Timestamp(seconds) => rfc3339(*seconds),
        AMQPValue::FieldTable(inner) => table(inner),
        AMQPValue::ByteArray(bytes) => json!(format!("{} bytes", bytes.len())),
        AMQPValue::DecimalValue(decimal) => json!(format!("{decimal:?}")),
        AMQPValue::Void => Value::Null,
    }
}

/// Seconds since 1970, as RFC 3339 where they are a time at all.
fn rfc3339(seconds: u64) -> Value {
    let at = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    at.map_or(json!(seconds), |at| json!(at.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::{FieldArray, LongString};

    #[test]
    fn properties_that_are_set_are_in_the_view_and_no_others() {
        let mut headers = FieldTable::default();
        headers.insert("n".into(), AMQPValue::LongInt(7));
        headers.insert("t".into(), AMQPValue::LongString(LongString::from("é")));
        headers.insert("at".into(), AMQPValue::Timestamp(1_785_736_800));
        headers.insert("list".into(), AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::Boolean(true)])));
        let properties = BasicProperties::default().with_message_id("m".into()).with_headers(headers);
        let headers = json!({"at": "2026-08-03T06:00:00Z", "list": [true], "n": 7, "t": "é"});
        assert_eq!(super::properties(&properties), json!({"message_id": "m", "headers": headers}));
    }
}
