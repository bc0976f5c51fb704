//! The identifiers that travel to Svix, each checked once, when it is made.
//!
//! Alphabet, length and reserved prefixes are those a real Svix server 1.100 enforces with 422
//! (`tests/contract/msg_create_event_id_*.json` and its neighbours).

use bytes::Bytes;
use std::fmt;

/// Longest uid, eventId or eventType Svix takes, in bytes.
const MAX_LEN: usize = 256;
/// Prefix of Svix's own application ids, refused in uids.
const APP_PREFIX: &str = "app_";
/// Prefix of Svix's own message ids, refused in event ids.
const MESSAGE_PREFIX: &str = "msg_";

/// Why a text is no identifier; completes the sentence "`id` …".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdent {
    #[error("is empty")]
    Empty,
    #[error("is longer than {MAX_LEN} characters")]
    TooLong,
    #[error("has a character outside a-z A-Z 0-9 - _ .")]
    Alphabet,
    #[error("begins with the reserved prefix `{0}`")]
    Prefix(&'static str),
    #[error("is a dot segment, which a URL cannot carry")]
    DotSegment,
}

/// ASCII text of a checked alphabet, sharing the buffer that it was found in.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ident(Bytes);

impl Ident {
    pub(crate) fn try_new(text: Bytes) -> Result<Self, InvalidIdent> {
        if text.is_empty() {
            return Err(InvalidIdent::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(InvalidIdent::TooLong);
        }
        let legal = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if !text.iter().all(legal) {
            return Err(InvalidIdent::Alphabet);
        }
        Ok(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        // The constructor admits ASCII only, so this never falls back.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The same text in a buffer of its own, for keeping longer than the event that it came with.
    pub(crate) fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    fn without_prefix(self, prefix: &'static str) -> Result<Self, InvalidIdent> {
        if self.as_str().starts_with(prefix) {
            return Err(InvalidIdent::Prefix(prefix));
        }
        Ok(self)
    }

    pub(crate) fn without_dot_segment(self) -> Result<Self, InvalidIdent> {
        if matches!(self.as_str(), "." | "..") {
            return Err(InvalidIdent::DotSegment);
        }
        Ok(self)
    }
}

/// Declares an identifier, with the checks that it needs beyond those of [`Ident`].
macro_rules! ident {
    ($(#[$doc:meta])* $name:ident, $($check:tt)*) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Ident);

        impl $name {
            /// Checks `text` against what Svix accepts for ever; a refusal says what is wrong with it.
            pub fn try_new(text: impl Into<Bytes>) -> Result<Self, InvalidIdent> {
                Ident::try_new(text.into())$($check)*.map(Self)
            }

            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// A copy that does not keep the event's body alive.
            pub fn detached(&self) -> Self {
                Self(self.0.detached())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.as_str())
            }
        }
    };
}

pub(crate) use ident;

ident!(
    /// `id` of an event, sent as Svix `eventId`; makes Svix refuse a repeat with 409.
    EventId, .and_then(|i| i.without_prefix(MESSAGE_PREFIX))
);
ident!(
    /// `type` of an event, sent as Svix `eventType`. No list of known types: Gigs adds and drops them.
    EventType,
);
ident!(
    /// `project` of an event; unless mapped, also the uid of its Svix application.
    ProjectId, .and_then(|i| i.without_prefix(APP_PREFIX)).and_then(Ident::without_dot_segment)
);
ident!(
    /// Uid or id of an endpoint, one path segment of its URL.
    EndpointId, .and_then(Ident::without_dot_segment)
);

impl ProjectId {
    /// The checked text, for an identifier that is made of it.
    pub(crate) fn ident(&self) -> &Ident {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_svix_refuses_for_ever_is_no_identifier() {
        let long = "i".repeat(257);
        for (text, why) in [
            ("", InvalidIdent::Empty),
            (long.as_str(), InvalidIdent::TooLong),
            ("a b", InvalidIdent::Alphabet),
            ("evt:1", InvalidIdent::Alphabet),
            ("prøject", InvalidIdent::Alphabet),
            ("../x", InvalidIdent::Alphabet),
            ("msg_abc", InvalidIdent::Prefix("msg_")),
        ] {
            assert_eq!(EventId::try_new(text.to_owned()), Err(why), "{text:.20}");
        }
        assert_eq!(ProjectId::try_new("app_x"), Err(InvalidIdent::Prefix("app_")));
        assert_eq!(ProjectId::try_new(".."), Err(InvalidIdent::DotSegment));
        assert_eq!(EndpointId::try_new("."), Err(InvalidIdent::DotSegment));
    }

    #[test]
    fn what_svix_accepts_is_an_identifier() {
        for text in ["a", "com.gigs.sim.activated", "A-Z_09", &"i".repeat(256)] {
            assert_eq!(EventId::try_new(text.to_owned()).map(|i| i.to_string()), Ok(text.to_owned()));
        }
    }
}
