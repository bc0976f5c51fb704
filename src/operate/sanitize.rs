//! Text that strangers wrote, made harmless for a terminal and for whatever it is pasted into: control characters, C1 ones
//! included, and characters that reorder or hide others are shown as escapes.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
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

/// Text of strangers: shown it is plain, and JSON keeps it as it was written. Whoever puts one into a page or on a terminal
/// cannot show the other by mistake.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plain {
    plain: String,
    /// What it was, where that is something else.
    written: Option<String>,
}

impl Plain {
    pub fn new(text: &str) -> Self {
        text.to_owned().into()
    }

    /// What may be shown.
    pub fn as_str(&self) -> &str {
        &self.plain
    }

    /// What was written, for programs: never for a page or a terminal.
    pub fn as_written(&self) -> &str {
        self.written.as_ref().unwrap_or(&self.plain)
    }
}

impl From<String> for Plain {
    fn from(text: String) -> Self {
        match plain(&text) {
            plain if plain == text => Self { plain, written: None },
            plain => Self { plain, written: Some(text) },
        }
    }
}

impl From<&str> for Plain {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl PartialEq<str> for Plain {
    fn eq(&self, other: &str) -> bool {
        self.as_written() == other
    }
}

impl PartialEq<&str> for Plain {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.plain)
    }
}

impl Serialize for Plain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.as_written().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
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
    fn text_of_strangers_is_shown_plain_and_goes_into_json_as_it_was_written() {
        let text = "a\u{1b}[2J\u{202e}b\n";
        let read: Plain = serde_json::from_value(serde_json::json!(text)).unwrap();
        assert_eq!(
            (read.to_string().as_str(), read.as_str()),
            ("a\\u{1b}[2J\\u{202e}b\\n", "a\\u{1b}[2J\\u{202e}b\\n")
        );
        assert_eq!(serde_json::to_value(&read).unwrap(), text);
        assert_eq!(serde_json::to_value(Plain::new("Ærø")).unwrap(), "Ærø");
    }

    #[test]
    fn json_stays_the_same_value_and_holds_nothing_that_acts() {
        let value = serde_json::json!({"a\u{9b}": ["\x1b]0;x\x07\x7f", "\u{202e}\u{e0041}", "Ærø\n"]});
        let text = json(&value);
        assert!(!text.chars().any(acts), "{text:?}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
