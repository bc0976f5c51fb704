//! Text that strangers wrote, made harmless for a terminal and for whatever it is pasted into: control characters, C1 ones
//! included, and characters that reorder or hide others are shown as escapes.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::fmt::{self, Write as _};

/// `text` on one line, with nothing in it that acts.
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => plain.push_str("\\n"),
            '\t' => plain.push_str("\\t"),
            c if acts(c) => plain.extend(c.escape_unicode()),
            c => plain.push(c),
        }
    }
    plain
}

/// `value` as JSON on one line, whose strings hold the same, written with escapes where it could act.
pub fn json(value: &Value) -> String {
    let text = value.to_string();
    if !text.chars().any(acts) {
        return text;
    }
    // Outside strings JSON has none of these.
    let mut harmless = String::with_capacity(text.len());
    for c in text.chars() {
        match acts(c) {
            false => harmless.push(c),
            true => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| {
                let _infallible = write!(harmless, "\\u{unit:04x}");
            }),
        }
    }
    harmless
}

/// Control characters, and the format characters of Unicode that change direction, break lines or cannot be seen.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A string of an answer, plain from the moment it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain(String);

impl Plain {
    pub fn new(text: &str) -> Self {
        Self(plain(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(plain(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_is_shown_and_the_rest_left_alone() {
        assert_eq!(plain("Ærø – 東京 \"x\" \\"), "Ærø – 東京 \"x\" \\");
        assert_eq!(plain("\x1b[2J\r\n\u{9b}31m\u{202e}"), "\\u{1b}[2J\\u{d}\\n\\u{9b}31m\\u{202e}");
    }

    #[test]
    fn json_stays_the_same_value_and_holds_nothing_that_acts() {
        let value = serde_json::json!({"a\u{9b}": ["\x1b]0;x\x07\x7f", "\u{202e}\u{e0041}", "Ærø\n"]});
        let text = json(&value);
        assert!(!text.chars().any(acts), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
