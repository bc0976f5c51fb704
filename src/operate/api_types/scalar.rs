//! Words, numbers and times of the API: each reads itself, says what is wrong with it, and has its form in the document.

use crate::{
    event::{DeadReason, NOT_DISPATCHED, NoTaker, ParkReason, Verdict},
    operate::sanitize::Plain,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat, Type, schema::AnyOfBuilder},
};

/// Entries of a page: by default, and at most.
const LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
/// Parked events that one request moves at most: some ten seconds.
pub const MAX_MOVED: u64 = 10_000;

macro_rules! schema {
    ($name:ident, $build:expr) => {
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $build.build().into()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                stringify!($name).into()
            }
        }
    };
}

schema!(Plain, ObjectBuilder::new().schema_type(Type::String));

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}

/// A reference by this name is not borrowed from what is read.
type Word = &'static str;

/// What became of a delivery.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Outcome(pub Word);
schema!(Outcome, words(Verdict::OUTCOMES));

impl TryFrom<String> for Outcome {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        one_of(&text, Verdict::OUTCOMES, |word| word).map(Self)
    }
}

/// Why an event was parked.
#[derive(Debug)]
pub struct ParkedReason;
schema!(ParkedReason, words(ParkReason::ALL.map(ParkReason::as_str)));

/// How many parked events a change moves at most.
#[derive(Debug)]
pub struct ParkedLimit;
schema!(ParkedLimit, ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_MOVED)));

/// Why an event was given up.
#[derive(Debug)]
pub struct Reason;
schema!(Reason, words(DeadReason::ALL.map(DeadReason::as_str)));

/// Why Svix shows neither endpoints nor attempts of a message.
#[derive(Debug)]
pub struct Undispatched;
schema!(Undispatched, words(NoTaker::ALL.map(NoTaker::as_str).into_iter().chain([NOT_DISPATCHED])));

fn one_of<T: Copy>(text: &str, all: impl IntoIterator<Item = T>, word: fn(T) -> &'static str) -> Result<T, String> {
    let all: Vec<_> = all.into_iter().collect();
    let found = all.iter().find(|one| word(**one) == text);
    let words: Vec<_> = all.iter().map(|one| word(*one)).collect();
    found.copied().ok_or_else(|| format!("must be one of {}", words.join(", ")))
}

/// What is done to dead letters.
#[derive(Debug)]
pub struct Work;
schema!(Work, words(["replay", "discard"]));

/// How a change ended.
#[derive(Debug)]
pub struct Ending;
schema!(Ending, words(["done", "failed"]));

/// `null`, always.
#[derive(Debug)]
pub struct Nil;
schema!(Nil, ObjectBuilder::new().schema_type(Type::Null));

/// A point in time, as answers have it.
#[derive(Debug)]
pub struct Time;
schema!(
    Time,
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
);

/// A point in time, as it is asked for.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Moment(pub Timestamp);

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        Time::schema()
    }
}

impl ToSchema for Moment {}

impl TryFrom<String> for Moment {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self).map_err(|_| "must be RFC 3339, as 2026-08-03T06:14:10Z")
    }
}

/// An identifier, of the one alphabet that Svix takes.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(try_from = "String")]
pub struct Ident(pub String);
schema!(Ident, ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-zA-Z0-9._-]{1,256}$")));

impl TryFrom<String> for Ident {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
            true => Ok(Self(text)),
            false => Err("has a character outside a-z A-Z 0-9 - _ ."),
        }
    }
}

/// Any text that could be an identifier of somebody's.
#[derive(Debug)]
pub struct Phrase;
schema!(
    Phrase,
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(256))
        .pattern(Some("^[^\\u0000-\\u001f\\u007f-\\u009f]+$"))
);

/// A point in time, or how long ago it was.
#[derive(Debug)]
pub struct TimeOrAgo;

impl PartialSchema for TimeOrAgo {
    fn schema() -> RefOr<Schema> {
        // Longer forms are read too, as `1h 30m`; these are those that everybody needs.
        let ago = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[1-9][0-9]{0,5}[smh]$"));
        Schema::from(AnyOfBuilder::new().item(Time::schema()).item(ago).build()).into()
    }
}

impl ToSchema for TimeOrAgo {
    fn name() -> Cow<'static, str> {
        "TimeOrAgo".into()
    }
}

/// Entries of a page.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Limit(pub usize);
schema!(
    Limit,
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(MAX_LIMIT))
        .default(Some(LIMIT.into()))
);

impl Default for Limit {
    fn default() -> Self {
        Self(LIMIT)
    }
}

impl TryFrom<String> for Limit {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.map(Self).ok_or_else(|| format!("must be a number from 1 to {MAX_LIMIT}"))
    }
}

/// Where to go on, where that is a number.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct Cursor(pub i64);
schema!(Cursor, ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]{1,18}$")));

impl TryFrom<String> for Cursor {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = text.parse().ok().filter(|number: &i64| *number >= 0);
        number.map(Self).ok_or("must be the `next` of a page before")
    }
}

/// An HTTP status.
#[derive(Debug)]
pub struct Status;
schema!(Status, ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(100)).maximum(Some(599)));
