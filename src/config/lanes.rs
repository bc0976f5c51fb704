//! The one part of the configuration whose keys the operator names: `lanes.NAME.keys`, `.prefetch` and `.delays`.

use super::{
    build::ladder,
    error::{Mistake, shown},
    read::Reader,
    rules,
    text::{self, Read},
};
use crate::{
    event::RetryLadder,
    sources::rabbitmq::{Lane, topic},
};
use config::{Value, ValueKind};
use std::collections::BTreeMap;

/// The section that lanes stand in.
pub(super) const SECTION: &str = "lanes";
/// What a lane may be told.
const FIELDS: [&str; 3] = ["keys", "prefetch", "delays"];
/// Longest name, in bytes: a queue's name may have 255, of which `broker.queue` takes up to 200.
const MAX_NAME: usize = 32;
/// Each lane is some dozen queues on the broker, and as many consumers of every replica.
const MAX_LANES: usize = 16;
/// Unacknowledged events of a lane at once, unless it says otherwise: an eighth of Q's default, as of a retry queue.
const PREFETCH: u16 = 32;

/// What the strongest layer says about each field of each lane.
#[derive(Default)]
pub(super) struct GivenLanes(BTreeMap<String, BTreeMap<&'static str, Value>>);

impl GivenLanes {
    /// Lays one field over the weaker layers' one. `Err` completes the line "`lanes.NAME.field`: …".
    pub(super) fn give(&mut self, lane: &str, field: &str, kind: ValueKind, origin: &str) -> Read<()> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if lane.is_empty() || lane.len() > MAX_NAME || !lane.chars().all(good) {
            return Err(format!("a lane's name has 1 to {MAX_NAME} of a-z 0-9 - _"));
        }
        let Some(field) = FIELDS.into_iter().find(|known| *known == field) else {
            let likeness = |known: &&str| strsim::jaro(known, field);
            let nearest = FIELDS.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default();
            return Err(format!("unknown key; did you mean {SECTION}.{lane}.{nearest}?"));
        };
        let value = Value::new(Some(&origin.to_owned()), kind);
        self.0.entry(lane.to_owned()).or_default().insert(field, value);
        Ok(())
    }
}

/// The lanes by name. `delays` is the ladder of those that give none.
pub(super) fn lanes(read: &mut Reader, delays: &RetryLadder) -> Option<Vec<Lane>> {
    let given = read.take_lanes();
    let mut wrong = Vec::new();
    let mut lanes = Vec::new();
    for (name, fields) in &given.0 {
        let field = |field: &'static str| Field { lane: name, name: field, value: fields.get(field) };
        let missing = "is missing; give its routing keys, or [] to deliver what lies in it".to_owned();
        let keys = field("keys").read(Err(missing), keys);
        let prefetch = field("prefetch").read(Ok(PREFETCH), |kind| text::integer(kind, 1..=u64::from(u16::MAX)));
        let ladder = field("delays").read(Ok(delays.clone()), ladder);
        match (keys, prefetch, ladder) {
            (Ok(keys), Ok(prefetch), Ok(ladder)) => lanes.push(Lane { name: name.clone(), keys, prefetch, ladder }),
            (keys, prefetch, ladder) => wrong.extend(keys.err().into_iter().chain(prefetch.err()).chain(ladder.err())),
        }
    }
    if given.0.len() > MAX_LANES {
        wrong.push(mistake("", None, format!("there are {} lanes, at most {MAX_LANES} are possible", given.0.len())));
    }
    for (at, one) in lanes.iter().enumerate() {
        for other in &lanes[..at] {
            if let Some(problem) = overlap(one, other) {
                wrong.push(mistake(&format!(".{}.keys", one.name), given.0[&one.name].get("keys"), problem));
            }
        }
    }
    let clean = wrong.is_empty();
    read.add_mistakes(wrong);
    clean.then_some(lanes)
}

/// An event must be on one lane: which one a key of two would be on, nobody could say.
fn overlap(one: &Lane, other: &Lane) -> Option<String> {
    one.keys.iter().find_map(|a| {
        other.keys.iter().find_map(|b| {
            let key = topic::overlap(a, b)?;
            let other = &other.name;
            Some(format!("{a:?} overlaps with {b:?} of {SECTION}.{other}.keys: both take such as {key:?}"))
        })
    })
}

fn keys(kind: &ValueKind) -> Read<Vec<String>> {
    let keys = text::list(kind)?;
    rules::binding_lengths(&keys).map(|()| keys)
}

/// One field of one lane.
struct Field<'a> {
    lane: &'a str,
    name: &'static str,
    value: Option<&'a Value>,
}

impl Field<'_> {
    fn read<T>(self, missing: Read<T>, parse: impl FnOnce(&ValueKind) -> Read<T>) -> Result<T, Mistake> {
        let read = self.value.map_or(missing, |value| parse(&value.kind));
        read.map_err(|problem| mistake(&format!(".{}.{}", self.lane, self.name), self.value, problem))
    }
}

/// What nobody gave has no layer of its own to be named.
fn mistake(key: &str, value: Option<&Value>, problem: String) -> Mistake {
    let key = format!("{SECTION}{key}");
    match value {
        None => Mistake::Layer { layer: key, problem },
        Some(value) => {
            let origin = value.origin().unwrap_or_default().to_owned();
            Mistake::Key { key, value: shown(&value.kind), origin, problem }
        }
    }
}
