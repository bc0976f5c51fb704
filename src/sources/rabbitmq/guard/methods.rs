//! Methods from the broker (AMQP 0-9-1, 1.6 to 1.8): the short strings in them that others have chosen.
//!
//! RabbitMQ cuts the text of a long error after 252 bytes, which may be within a character, and repeats names of queues and
//! keys in it.

use super::unreadable::{Unreadable, mend};

/// What stands in a method, one after the other.
enum Part {
    /// So many bytes of no interest.
    Skip(usize),
    /// A short string, and what it is to a message.
    Short(Unreadable),
}

/// One that is nothing to a message.
const TEXT: Part = Part::Short(Unreadable::NOTHING);
const EXCHANGE: Part = Part::Short(Unreadable::EXCHANGE);
const ROUTING_KEY: Part = Part::Short(Unreadable::ROUTING_KEY);

/// `basic.deliver`: consumer tag, delivery tag, redelivered, exchange, routing key.
const DELIVER: &[Part] = &[TEXT, Part::Skip(9), EXCHANGE, ROUTING_KEY];
/// `basic.get-ok`: delivery tag, redelivered, exchange, routing key, count.
const GET_OK: &[Part] = &[Part::Skip(9), EXCHANGE, ROUTING_KEY];
/// `basic.return`: code, text, exchange, routing key.
const RETURN: &[Part] = &[Part::Skip(2), TEXT, EXCHANGE, ROUTING_KEY];
/// `channel.close` and `connection.close`: code, text, class, method.
const CLOSE: &[Part] = &[Part::Skip(2), TEXT];
/// `connection.blocked`: reason. `queue.declare-ok`: name, counts.
const ONE_TEXT: &[Part] = &[TEXT];

fn parts(class: u16, method: u16) -> &'static [Part] {
    match (class, method) {
        (60, 60) => DELIVER,
        (60, 71) => GET_OK,
        (60, 50) => RETURN,
        (20, 40) | (10, 50) => CLOSE,
        (10, 60) | (50, 11) => ONE_TEXT,
        _ => &[],
    }
}

/// Replaces what is not UTF-8 in a method's payload; its size stays. What of it belongs to a message is named.
pub(super) fn mend_method(payload: &mut [u8]) -> Unreadable {
    let mut unreadable = Unreadable::NOTHING;
    let [c0, c1, m0, m1, ..] = *payload else { return unreadable };
    let mut at = 4;
    for part in parts(u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1])) {
        match part {
            Part::Skip(size) => at += size,
            Part::Short(what) => {
                let Some(length) = payload.get(at).copied() else { break };
                let text = at + 1..at + 1 + usize::from(length);
                at = text.end;
                // A method that is too short is no business of ours: the parser refuses it.
                let Some(text) = payload.get_mut(text) else { break };
                if mend(text) {
                    unreadable.add(*what);
                }
            }
        }
    }
    unreadable
}

/// The largest frame that `connection.tune` allows, if `payload` is one: 0 for any.
pub(super) fn tuned_frame_max(payload: &[u8]) -> Option<u32> {
    match payload {
        [0, 10, 0, 30, _, _, a, b, c, d, ..] => Some(u32::from_be_bytes([*a, *b, *c, *d])),
        _ => None,
    }
}
