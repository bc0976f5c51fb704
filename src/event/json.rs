//! Reads the head of a JSON object and nothing more: four members as they stand, every other only skipped.
//!
//! It knows JSON and which members make a head; not what their values must be.

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The members of the head, each as the bytes that stand in the body.
#[derive(Default, Debug)]
pub(super) struct RawHead<'a> {
    pub id: Option<&'a RawValue>,
    pub project: Option<&'a RawValue>,
    pub kind: Option<&'a RawValue>,
    pub time: Option<&'a RawValue>,
    pub specversion: Option<&'a RawValue>,
    pub has_data: bool,
}

/// Marks the error text of a repeated member, so that the caller can tell it from broken JSON.
pub(super) const REPEATED: &str = "repeated member ";

#[derive(Clone, Copy)]
enum Member {
    Id,
    Project,
    Kind,
    Time,
    Specversion,
    Data,
    Other,
}

impl<'de> serde::Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Member;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }
            fn visit_bytes<E>(self, name: &[u8]) -> Result<Member, E> {
                Ok(match name {
                    b"id" => Member::Id,
                    b"project" => Member::Project,
                    b"type" => Member::Kind,
                    b"time" => Member::Time,
                    b"specversion" => Member::Specversion,
                    b"data" => Member::Data,
                    _ => Member::Other,
                })
            }
        }
        // As bytes, so that a lone surrogate in a name passes as it does in a value.
        de.deserialize_bytes(Name)
    }
}

/// Parses `json`, which must be one object and nothing after it. The error is serde_json's, or [`REPEATED`] and a name.
pub(super) fn read_head(json: &str) -> Result<RawHead<'_>, serde_json::Error> {
    let mut de = serde_json::Deserializer::from_str(json);
    let head = de.deserialize_map(HeadVisitor)?;
    de.end()?;
    Ok(head)
}

struct HeadVisitor;

impl<'de> Visitor<'de> for HeadVisitor {
    type Value = RawHead<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut head = RawHead::default();
        while let Some(member) = map.next_key::<Member>()? {
            let (slot, name) = match member {
                Member::Id => (&mut head.id, "id"),
                Member::Project => (&mut head.project, "project"),
                Member::Kind => (&mut head.kind, "type"),
                // Repeats of these cannot change where the event goes: the last one counts, as in most parsers.
                Member::Time => {
                    head.time = Some(map.next_value()?);
                    continue;
                }
                Member::Specversion => {
                    head.specversion = Some(map.next_value()?);
                    continue;
                }
                Member::Data => {
                    head.has_data = true;
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom(format_args!("{REPEATED}{name}")));
            }
        }
        Ok(head)
    }
}

/// Whether arrays and objects nest deeper than `limit` in `json`, which must be valid. serde_json skips values without
/// recursion and so without a limit of its own.
pub(super) fn deeper_than(limit: usize, json: &[u8]) -> bool {
    // Nothing nests deeper than it has openings, and those are counted many at a time: bytes hold what 255 of them add up to.
    let counted = |part: &[u8]| part.iter().map(|byte| u8::from(matches!(byte, b'{' | b'['))).sum::<u8>();
    let openings: usize = json.chunks(u8::MAX.into()).map(|part| usize::from(counted(part))).sum();
    openings > limit && depth(json) > limit
}

fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0usize, 0usize);
    let mut at = 0;
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => at = end_of_string(json, at + 1),
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    deepest
}

/// Index of the quote that ends the string whose first character is at `at`.
fn end_of_string(json: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}
