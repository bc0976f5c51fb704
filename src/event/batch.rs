//! What a publisher puts into one request: an event, an array of events, or one event a line.

use super::envelope::{Event, Malformed, Rejected};
use bytes::Bytes;
use serde::de::{Deserializer as _, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// How the events of a batch are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One object, or an array of objects.
    Json,
    /// One object a line; empty lines do not count.
    Lines,
}

/// What a batch may hold.
#[derive(Debug, Clone, Copy)]
pub struct BatchLimits {
    pub events: usize,
    /// Of each event, in bytes.
    pub payload_bytes: usize,
}

/// Why a batch is refused as a whole: taking part of it would leave its publisher guessing which.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("there is no event in it")]
    Empty,
    #[error("it has {found} events, at most {limit} are taken at once")]
    TooMany { found: usize, limit: usize },
    /// The array itself cannot be read.
    #[error(transparent)]
    Array(Rejected),
    /// `at` counts from 0.
    #[error("event {at}: {rejected}")]
    Event { at: usize, rejected: Rejected },
    /// `at` counts from 0.
    #[error("event {at}: its routing key `<project>.<type>` has {bytes} bytes, AMQP carries {MAX_ROUTING_KEY}")]
    RoutingKey { at: usize, bytes: usize },
}

/// Longest routing key, in bytes: AMQP 0-9-1 carries it as a short string.
pub const MAX_ROUTING_KEY: usize = 255;

/// The events of `body` in their order, each checked as the consumer checks it. They share the memory of `body`.
pub fn read_batch(body: &Bytes, form: Form, limits: BatchLimits) -> Result<Vec<Event>, BatchError> {
    let (parts, found) = match form {
        Form::Json => elements(body, limits.events)?,
        Form::Lines => lines(body, limits.events),
    };
    if found == 0 {
        return Err(BatchError::Empty);
    }
    if found > limits.events {
        return Err(BatchError::TooMany { found, limit: limits.events });
    }
    let event = |(at, part)| {
        let event = Event::parse(part, limits.payload_bytes).map_err(|rejected| BatchError::Event { at, rejected })?;
        match event.routing_key().len() {
            bytes if bytes > MAX_ROUTING_KEY => Err(BatchError::RoutingKey { at, bytes }),
            _ => Ok(event),
        }
    };
    parts.into_iter().enumerate().map(event).collect()
}

/// The elements of an array, so many at most, and how many there are; anything else is one event, or will be refused as one.
fn elements(body: &Bytes, most: usize) -> Result<(Vec<Bytes>, usize), BatchError> {
    if !body.trim_ascii_start().starts_with(b"[") {
        let one = !body.trim_ascii().is_empty();
        return Ok((one.then(|| body.clone()).into_iter().collect(), one.into()));
    }
    let refused = |malformed: Malformed| BatchError::Array(malformed.into());
    let text = std::str::from_utf8(body).map_err(|e| refused(Malformed::Utf8(e.valid_up_to())))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let read = json.deserialize_seq(AtMost(most)).and_then(|read| json.end().map(|()| read));
    let (elements, found) = read.map_err(|error| refused(Malformed::Json(error.to_string())))?;
    Ok((elements.into_iter().map(|element| body.slice_ref(element.get().as_bytes())).collect(), found))
}

/// Keeps the first elements and counts the rest: a few bytes each in a request would be many times that in memory.
struct AtMost(usize);

impl<'de> Visitor<'de> for AtMost {
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while kept.len() < self.0 {
            match sequence.next_element()? {
                Some(element) => kept.push(element),
                None => break,
            }
        }
        let mut found = kept.len();
        while sequence.next_element::<IgnoredAny>()?.is_some() {
            found += 1;
        }
        Ok((kept, found))
    }
}

/// The lines that are not empty, so many at most, and how many there are.
fn lines(body: &Bytes, most: usize) -> (Vec<Bytes>, usize) {
    let filled = || body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    (filled().take(most).map(|line| body.slice_ref(line)).collect(), filled().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BatchLimits = BatchLimits { events: 3, payload_bytes: 200 };

    fn event(id: &str) -> String {
        format!(r#"{{"id":"{id}","project":"p","type":"t","data":{{}}}}"#)
    }

    fn read(body: &str, form: Form) -> Result<Vec<String>, BatchError> {
        let events = read_batch(&Bytes::from(body.to_owned()), form, LIMITS)?;
        Ok(events.iter().map(|event| event.id.as_str().to_owned()).collect())
    }

    #[test]
    fn one_event_an_array_and_lines_are_read_in_order() {
        let (a, b) = (event("a"), event("b"));
        assert_eq!(read(&format!(" {a}\n"), Form::Json).unwrap(), ["a"]);
        assert_eq!(read(&format!("[{a},\n {b}]"), Form::Json).unwrap(), ["a", "b"]);
        assert_eq!(read(&format!("{a}\r\n\n{b}"), Form::Lines).unwrap(), ["a", "b"]);
    }

    #[test]
    fn a_batch_is_refused_whole_and_names_the_event() {
        let (a, huge) = (event("a"), event(&"x".repeat(200)));
        for (body, form) in [("", Form::Json), ("[]", Form::Json), (" \n\n", Form::Lines)] {
            assert_eq!(read(body, form), Err(BatchError::Empty), "{body:?}");
        }
        let many = format!("[{a},{a},{a},{a}]");
        assert_eq!(read(&many, Form::Json), Err(BatchError::TooMany { found: 4, limit: 3 }));
        assert!(matches!(read("[1,", Form::Json), Err(BatchError::Array(_))));
        for (body, form) in [(format!("[{a},7]"), Form::Json), (format!("{a}\n{huge}"), Form::Lines)] {
            assert!(matches!(read(&body, form), Err(BatchError::Event { at: 1, .. })), "{body}");
        }
        let long = event("a").replace("\"p\"", &format!("\"{}\"", "p".repeat(254)));
        let limits = BatchLimits { payload_bytes: 1000, ..LIMITS };
        let refused = read_batch(&Bytes::from(long), Form::Json, limits).unwrap_err();
        assert_eq!(refused, BatchError::RoutingKey { at: 0, bytes: 256 });
    }

    #[test]
    fn the_events_share_the_memory_of_the_request() {
        let body = Bytes::from(format!("[{}]", event("a")));
        let events = read_batch(&body, Form::Json, LIMITS).unwrap();
        assert_eq!(events[0].body().as_ptr(), body[1..].as_ptr());
    }
}
