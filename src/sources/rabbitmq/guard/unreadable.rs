//! The names of properties that could not be read, and the header that carries them.

/// The header by which the guard tells the rest of hookbro what it has replaced in a message.
///
/// A publisher may write it too: it then has hookbro give up an event of its own, or count it as odd, as it could with a
/// wrong body. Nothing but the names below is ever taken from it, so no words of a publisher reach a log line or a detail.
pub const MARK: &str = "x-hookbro-unreadable";

/// A set of properties. The names are AMQP's own (0-9-1, `basic` class and its methods).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unreadable(u32);

/// All names, each by its bit. The first fourteen are the properties of a message in the order of their flags.
const NAMES: [&str; 18] = [
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
    "header_names",
    "properties",
    "exchange",
    "routing_key",
];

impl Unreadable {
    pub const NOTHING: Self = Self(0);
    pub(super) const CONTENT_ENCODING: Self = Self(1 << 1);
    /// A value among the headers, or all of them.
    pub const HEADERS: Self = Self(1 << 2);
    /// Names of headers that are not UTF-8; their values are there.
    pub(super) const HEADER_NAMES: Self = Self(1 << 14);
    /// All properties.
    pub(super) const PROPERTIES: Self = Self(1 << 15);
    pub(super) const EXCHANGE: Self = Self(1 << 16);
    pub(super) const ROUTING_KEY: Self = Self(1 << 17);
    /// Without these an event must not be delivered: its body may be encoded in a way that nobody knows, and headers say
    /// what happened to it so far.
    const NEEDED: Self = Self(Self::CONTENT_ENCODING.0 | Self::HEADERS.0 | Self::PROPERTIES.0);

    /// The `nth` property of a message, in the order of their flags.
    pub(super) fn property(nth: usize) -> Self {
        debug_assert!(nth < 14, "a message has fourteen properties");
        Self(1 << nth)
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) fn add(&mut self, other: Self) {
        *self = self.and(other);
    }

    /// Those that a delivery cannot do without.
    pub fn needed(self) -> Self {
        Self(self.0 & Self::NEEDED.0)
    }

    /// The others.
    pub fn spare(self) -> Self {
        Self(self.0 & !Self::NEEDED.0)
    }

    /// Names with commas between them.
    pub fn names(self) -> String {
        let names = NAMES.iter().enumerate().filter(|(bit, _)| self.0 & 1 << bit != 0).map(|(_, name)| *name);
        names.collect::<Vec<_>>().join(",")
    }

    /// Reads [`Unreadable::names`]; other words are not there.
    pub fn from_names(names: &[u8]) -> Self {
        let known = |word: &[u8]| NAMES.iter().position(|name| name.as_bytes() == word);
        names.split(|byte| *byte == b',').filter_map(known).fold(Self::NOTHING, |all, bit| all.and(Self(1 << bit)))
    }

    /// The header, as it stands in a table: a short string, and a long one.
    pub(super) fn as_header(self) -> Vec<u8> {
        let names = self.names();
        let mut entry = Vec::with_capacity(1 + MARK.len() + 1 + 4 + names.len());
        entry.push(MARK.len() as u8);
        entry.extend_from_slice(MARK.as_bytes());
        entry.push(b'S');
        entry.extend_from_slice(&(names.len() as u32).to_be_bytes());
        entry.extend_from_slice(names.as_bytes());
        entry
    }
}

/// Whether a short string is what the parser takes. Nearly all are ASCII, which is seen faster.
pub(super) fn is_text(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

/// Replaces, byte for byte, what is not UTF-8: lengths stay as they are. True if there was anything.
pub(super) fn mend(text: &mut [u8]) -> bool {
    if is_text(text) {
        return false;
    }
    let mut from = 0;
    while let Err(error) = std::str::from_utf8(&text[from..]) {
        let wrong = from + error.valid_up_to();
        let end = error.error_len().map_or(text.len(), |length| wrong + length);
        text[wrong..end].fill(b'?');
        from = end;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_no_other_words() {
        let all = (0..NAMES.len()).fold(Unreadable::NOTHING, |all, bit| all.and(Unreadable(1 << bit)));
        assert_eq!(Unreadable::from_names(all.names().as_bytes()), all);
        assert_eq!(all.needed().names(), "content_encoding,headers,properties");
        let forged = Unreadable::from_names(b"headers, message_id,reason=\n,,Headers,routing_key");
        assert_eq!(forged.names(), "headers,routing_key");
        for (name, constant) in [
            ("content_encoding", Unreadable::CONTENT_ENCODING),
            ("headers", Unreadable::HEADERS),
            ("header_names", Unreadable::HEADER_NAMES),
            ("properties", Unreadable::PROPERTIES),
            ("exchange", Unreadable::EXCHANGE),
            ("routing_key", Unreadable::ROUTING_KEY),
        ] {
            assert_eq!(constant.names(), name);
        }
    }

    #[test]
    fn what_is_not_utf8_is_replaced_byte_for_byte() {
        for (from, to) in [
            (&b""[..], ""),
            ("café".as_bytes(), "café"),
            (b"caf\xe9", "caf?"),
            (b"\xe9t\xe9", "?t?"),
            // A character cut in the middle, before more text and at the end.
            (b"a\xf0\x9f\x98b", "a???b"),
            (b"a\xe2\x82", "a??"),
            (b"\xff\xff\xff", "???"),
        ] {
            let mut text = from.to_vec();
            assert_eq!(mend(&mut text), from != to.as_bytes());
            assert_eq!(std::str::from_utf8(&text), Ok(to));
        }
    }
}
