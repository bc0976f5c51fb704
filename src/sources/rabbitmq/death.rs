//! What the broker writes down of a message that it moves by itself: the header `x-death`, an entry for each queue that the
//! message has left so. A publisher may have made it up, which RabbitMQ 3.10 believes: no delivery depends on it.

use super::topology::Topology;
use crate::event::Attempt;
use jiff::Timestamp;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use std::fmt;

/// Longest name of a queue, in bytes: a longer one is made up.
const MAX_NAME: usize = 255;

/// How a message left the last of the rungs that it has been on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Death {
    pub queue: String,
    pub attempt: Attempt,
    pub at: Option<Timestamp>,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It was returned more often than `x-delivery-limit` allows.
    DeliveryLimit,
    /// Its publisher's own `expiration` ended.
    Expired,
    /// It was rejected on a rung with none behind it.
    Rejected,
    Other,
}

impl Death {
    /// The last move; none if `x-death` names no queue of attempts. The entry of the highest attempt is the last one, whatever the
    /// order, which differs between versions: an event only climbs, and begins each climb without this header.
    pub fn of(properties: &BasicProperties) -> Option<Self> {
        let AMQPValue::FieldArray(entries) = properties.headers().as_ref()?.inner().get("x-death")? else {
            return None;
        };
        let deaths = entries.as_slice().iter().filter_map(|entry| match entry {
            AMQPValue::FieldTable(entry) => Self::read(entry),
            _ => None,
        });
        deaths.max_by_key(|death| (death.attempt, death.at))
    }

    /// How the broker itself got `properties`' message into the dead-letter queue. None if that was somebody else's doing: an older
    /// version's copy has come by the same exchange, and so has what others publish there.
    pub fn by_broker(properties: &BasicProperties, is_copy: bool, topology: &Topology) -> Option<Self> {
        // A replica with other lanes or delays may have had it on a rung that this one does not know.
        let is_last =
            |death: &Self| topology.rungs.iter().any(|rung| rung.queue == death.queue && rung.next_delay.is_none());
        Self::of(properties).filter(|death| !is_copy || is_last(death))
    }

    fn read(entry: &FieldTable) -> Option<Self> {
        let text = |name: &str| match entry.inner().get(name) {
            Some(AMQPValue::LongString(text)) => std::str::from_utf8(text.as_bytes()).ok(),
            _ => None,
        };
        let queue = text("queue").filter(|queue| queue.len() <= MAX_NAME)?;
        let at = match entry.inner().get("time") {
            Some(AMQPValue::Timestamp(seconds)) => {
                i64::try_from(*seconds).ok().and_then(|s| Timestamp::from_second(s).ok())
            }
            _ => None,
        };
        let why = match text("reason") {
            Some("delivery_limit") => Why::DeliveryLimit,
            Some("expired") => Why::Expired,
            Some("rejected") => Why::Rejected,
            _ => Why::Other,
        };
        Some(Self { attempt: attempt(queue)?, queue: queue.to_owned(), at, why })
    }
}

/// The attempt whose queue has this name; none for a delay queue.
fn attempt(queue: &str) -> Option<Attempt> {
    let numbered = |infix| queue.rsplit_once(infix).and_then(|(_, number)| number.parse::<u8>().ok());
    match numbered(".retry.") {
        Some(rung) => Some(Attempt::from_rung(rung)),
        None => numbered(".delay.").is_none().then_some(Attempt::FIRST),
    }
}

/// In one line, why the event is a dead letter.
impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queue = &self.queue;
        f.write_str("given up by the broker: ")?;
        match self.why {
            Why::DeliveryLimit => write!(
                f,
                "returned to `{queue}` more often than broker.delivery_limit allows, by crashes or lost connections"
            ),
            Why::Expired => write!(f, "its publisher's own expiration ended in `{queue}`"),
            Why::Rejected => write!(f, "rejected in `{queue}` at its last attempt"),
            Why::Other => write!(f, "moved from `{queue}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::types::FieldArray;

    /// Properties whose `x-death` has these entries: queue, reason, seconds.
    fn dead(entries: &[(&str, &str, u64)]) -> BasicProperties {
        let entries = entries.iter().map(|(queue, reason, at)| {
            let mut entry = FieldTable::default();
            entry.insert("queue".into(), AMQPValue::LongString((*queue).into()));
            entry.insert("reason".into(), AMQPValue::LongString((*reason).into()));
            entry.insert("time".into(), AMQPValue::Timestamp(*at));
            AMQPValue::FieldTable(entry)
        });
        let mut table = FieldTable::default();
        table.insert("x-death".into(), AMQPValue::FieldArray(FieldArray::from(entries.collect::<Vec<_>>())));
        BasicProperties::default().with_headers(table)
    }

    #[test]
    fn the_highest_rung_is_the_last_whatever_the_order() {
        let way = [
            ("q.retry.2", "delivery_limit", 30),
            ("q.delay.2", "expired", 20),
            ("q.retry.1", "rejected", 10),
            ("q", "rejected", 5),
        ];
        let mut reversed = way;
        reversed.reverse();
        for entries in [way, reversed] {
            let death = Death::of(&dead(&entries)).unwrap();
            assert_eq!((death.queue.as_str(), death.attempt.get()), ("q.retry.2", 3));
            assert_eq!(death.at, Timestamp::from_second(30).ok());
            assert_eq!(
                death.to_string(),
                "given up by the broker: returned to `q.retry.2` more often than broker.delivery_limit allows, by crashes or \
                 lost connections"
            );
        }
        let alone = Death::of(&dead(&[("q.lane.bulk", "expired", 5)])).unwrap();
        assert_eq!((alone.attempt, alone.why), (Attempt::FIRST, Why::Expired));
    }

    #[test]
    fn what_the_broker_has_not_moved_from_a_rung_has_no_death() {
        assert_eq!(Death::of(&BasicProperties::default()), None);
        assert_eq!(Death::of(&dead(&[])), None);
        assert_eq!(Death::of(&dead(&[("q.delay.1", "expired", 5)])), None);
        assert_eq!(Death::of(&dead(&[(&"q".repeat(256), "rejected", 5)])), None);
        let mut table = FieldTable::default();
        table.insert("x-death".into(), AMQPValue::Boolean(true));
        assert_eq!(Death::of(&BasicProperties::default().with_headers(table)), None);
        let mut odd = FieldTable::default();
        odd.insert("queue".into(), AMQPValue::Boolean(true));
        let mut table = FieldTable::default();
        let entries = vec![AMQPValue::Void, AMQPValue::FieldTable(odd)];
        table.insert("x-death".into(), AMQPValue::FieldArray(FieldArray::from(entries)));
        assert_eq!(Death::of(&BasicProperties::default().with_headers(table)), None);
    }
}
