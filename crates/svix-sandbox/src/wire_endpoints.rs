//! The bodies of requests about endpoints and event types; see `wire` for how they are read.

use std::collections::BTreeMap;
use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Prefix of the secrets that deliveries are signed with.
pub(super) const SECRET_PREFIX: &str = "whsec_";
/// Headers that belong to Svix.
const FORBIDDEN_PREFIXES: [&str; 2] = ["svix-", "webhook-"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EndpointIn {
    #[serde(default)]
    pub(super) description: String,
    #[serde(default, alias = "throttleRate")]
    pub(super) rate_limit: Option<u16>,
    #[serde(default)]
    pub(super) uid: Option<String>,
    pub(super) url: Address,
    #[serde(default = "first")]
    pub(super) version: u32,
    #[serde(default)]
    pub(super) disabled: bool,
    #[serde(default, alias = "eventTypes")]
    pub(super) filter_types: Option<Vec<String>>,
    #[serde(default)]
    pub(super) channels: Option<Vec<String>>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) secret: Option<SigningSecret>,
}

/// What of an endpoint can be changed on its own here.
#[derive(Debug, Deserialize)]
pub(super) struct EndpointPatch {
    pub(super) disabled: Option<bool>,
    pub(super) url: Option<Address>,
    pub(super) description: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventTypeIn {
    pub(super) name: String,
    pub(super) description: String,
    #[serde(default)]
    pub(super) schemas: Option<BTreeMap<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ExampleIn {
    pub(super) event_type: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct RecoverIn {
    pub(super) since: Timestamp,
}

#[derive(Debug, Deserialize)]
pub(super) struct HeadersIn {
    pub(super) headers: Headers,
}

/// An absolute URL, in the spelling that Svix would store.
#[derive(Debug)]
pub(super) struct Address(pub(super) String);

/// `whsec_` and base64.
#[derive(Debug)]
pub(super) struct SigningSecret(pub(super) String);

#[derive(Debug, Serialize)]
pub(super) struct Headers(pub(super) BTreeMap<String, String>);

fn first() -> u32 {
    1
}

/// Complains while the string is being read, so that the error names the column of its end.
struct Checked<T>(fn(&str) -> Result<T, String>);

impl<T> Visitor<'_> for Checked<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_str(Checked(|text| {
            let parsed = url::Url::parse(text).map_err(|err| format!("{err}: {text:?}"))?;
            Ok(Self(parsed.into()))
        }))
    }
}

impl<'de> Deserialize<'de> for SigningSecret {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_str(Checked(|text| {
            let encoded = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
            BASE64_STANDARD.decode(encoded).map_err(|err| err.to_string())?;
            Ok(Self(text.to_owned()))
        }))
    }
}

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let headers = BTreeMap::<String, String>::deserialize(input)?;
        let forbidden = |name: &String| {
            let name = name.to_ascii_lowercase();
            FORBIDDEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        };
        if headers.keys().any(forbidden) {
            return Err(D::Error::custom("__all__: Header starts with a forbidden prefix."));
        }
        Ok(Self(headers))
    }
}
