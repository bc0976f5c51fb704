//! The one part of the configuration whose keys the operator names: `lanes.NAME.keys`, `.prefetch` and `.delays`.

use super::{
    error::{Mistake, shown},
    layer::SECTION,
    read::Reader,
    rules,
    text::{self, Read},
};
use crate::{
    event::RetryLadder,
    sources::rabbitmq::{Lane, topic},
};
use config::{Value, ValueKind};

/// Each lane is some dozen queues on the broker, and as many consumers of every replica.
const MAX_LANES: usize = 16;
/// Unacknowledged events of a lane at once, unless it says otherwise: an eighth of Q's default, as of a retry queue.
const PREFETCH: u16 = 32;

/// The lanes by name. `delays` is the ladder of those that give none.
pub(super) fn lanes(read: &mut Reader, delays: &RetryLadder) -> Option<Vec<Lane>> {
    let given = read.take_lanes();
    let mut wrong = Vec::new();
    let mut lanes = Vec::new();
    for (name, fields) in &given.0 {
        let field = |field: &'static str| Field { lane: name, name: field, value: fields.get(field) };
        let missing = "is missing; give its routing keys, or [] to deliver only what its queues hold".to_owned();
        let keys = field("keys").read(Err(missing), keys);
        let prefetch = field("prefetch").read(Ok(PREFETCH), |kind| text::integer(kind, 1..=u64::from(u16::MAX)));
        let ladder = field("delays").read(Ok(delays.clone()), rules::ladder);
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

/// An event is on one lane only, so no routing key may match two.
fn overlap(one: &Lane, other: &Lane) -> Option<String> {
    one.keys.iter().find_map(|a| {
        other.keys.iter().find_map(|b| {
            let key = topic::overlap(a, b)?;
            let other = &other.name;
            Some(format!("{a:?} overlaps with {b:?} of {SECTION}.{other}.keys: both match, for example, {key:?}"))
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

/// A key that is missing has no layer to be named.
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
