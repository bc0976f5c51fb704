//! The payload as Svix shows it again: parsed and written again, so keys are sorted, the last of equal keys wins and
//! exponents get a sign. What it cannot parse (a lone surrogate, 200 levels of nesting) it shows as expired.
//!
//! Digits are kept as sent (`1.10`, `12345678901234567890123`); nothing passes through a float.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// What an expunged, forgotten or unreadable payload looks like.
pub(super) const EXPIRED: &str = r#"{"expired":true}"#;

/// serde_json refuses the 128th level.
const MAX_DEPTH: usize = 127;

pub(super) fn payload_view(payload: &[u8]) -> String {
    let mut out = String::with_capacity(payload.len());
    match serde_json::from_slice::<&RawValue>(payload).ok().and_then(|value| write(value, MAX_DEPTH, &mut out)) {
        Some(()) => out,
        None => EXPIRED.to_owned(),
    }
}

fn write(value: &RawValue, depth: usize, out: &mut String) -> Option<()> {
    let text = value.get();
    match text.as_bytes().first()? {
        b'{' => {
            let depth = depth.checked_sub(1)?;
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            out.push('{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(&name).ok()?);
                out.push(':');
                write(field, depth, out)?;
            }
            out.push('}');
        }
        b'[' => {
            let depth = depth.checked_sub(1)?;
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (index, item) in items.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write(item, depth, out)?;
            }
            out.push(']');
        }
        b'"' => {
            let text: String = serde_json::from_str(text).ok()?;
            out.push_str(&serde_json::to_string(&text).ok()?);
        }
        b'-' | b'0'..=b'9' => number(text, out),
        _ => out.push_str(text),
    }
    Some(())
}

fn number(text: &str, out: &mut String) {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return out.push_str(text);
    };
    out.push_str(mantissa);
    out.push_str(if exponent.starts_with(['+', '-']) { "e" } else { "e+" });
    out.push_str(exponent);
}

#[cfg(test)]
mod tests {
    use super::{EXPIRED, payload_view};

    #[test]
    fn a_view_is_sorted_and_keeps_every_digit() {
        let sent =
            r#"{"z": 1, "b":12345678901234567890.123450, "a":1e400, "e": 1E5, "a":-2.0E-7, "s":"\u0041\/\u0000"}"#;
        let shown = r#"{"a":-2.0e-7,"b":12345678901234567890.123450,"e":1e+5,"s":"A/\u0000","z":1}"#;
        assert_eq!(payload_view(sent.as_bytes()), shown);
    }

    #[test]
    fn what_the_parser_refuses_is_shown_as_expired() {
        assert_eq!(payload_view(br#"{"s":"\ud800"}"#), EXPIRED);
        assert_eq!(payload_view(b"<xml/>"), EXPIRED);
        let nested = |levels: usize| "{\"a\":".repeat(levels) + "1" + &"}".repeat(levels);
        assert_eq!(payload_view(nested(200).as_bytes()), EXPIRED);
        assert_eq!(payload_view(nested(127).as_bytes()), nested(127));
    }
}
