//! The bodies of requests, read with the parser Svix uses, so that what it says about a bad one is the same.
//!
//! Limit: that server was built with an older serde_json, which names a later column for invalid UTF-8.

use std::collections::{BTreeMap, HashSet};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::answers::{Answer, Flaw};

/// Days a payload is kept unless the message says otherwise.
const DEFAULT_RETENTION_DAYS: i64 = 90;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationIn {
    pub(super) name: String,
    #[serde(default)]
    pub(super) uid: Option<String>,
    #[serde(default)]
    pub(super) throttle_rate: Option<u16>,
    #[serde(default)]
    pub(super) metadata: BTreeMap<String, String>,
}

/// The number of fields, and the first having no default, are part of what Svix says about an array in place of this
/// object.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageIn {
    pub(super) event_id: Option<String>,
    pub(super) event_type: String,
    #[serde(alias = "data")]
    pub(super) payload: Box<RawValue>,
    #[serde(default)]
    pub(super) channels: Option<Channels>,
    #[serde(default = "default_retention")]
    pub(super) payload_retention_period: i64,
    #[serde(default)]
    pub(super) transformations_params: Option<TransformationsParams>,
    #[serde(default)]
    pub(super) application: Option<ApplicationIn>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TransformationsParams {
    #[serde(default)]
    raw_payload: Option<String>,
}

/// A set that keeps the order of its first mention.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(from = "Vec<String>")]
pub(super) struct Channels(pub(super) Vec<String>);

impl From<Vec<String>> for Channels {
    fn from(mut names: Vec<String>) -> Self {
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        Self(names)
    }
}

fn default_retention() -> i64 {
    DEFAULT_RETENTION_DAYS
}

impl MessageIn {
    /// As Svix itself makes one for a test.
    pub(super) fn example(event_type: String, payload: Box<RawValue>) -> Self {
        Self {
            event_id: None,
            event_type,
            payload,
            channels: None,
            payload_retention_period: default_retention(),
            transformations_params: None,
            application: None,
        }
    }

    /// The bytes an endpoint would receive.
    pub(super) fn delivered(&self) -> Bytes {
        let raw = self.transformations_params.as_ref().and_then(|params| params.raw_payload.as_deref());
        Bytes::copy_from_slice(raw.unwrap_or_else(|| self.payload.get()).as_bytes())
    }
}

/// Reads one JSON value from the start of `body`; what follows it is ignored, as Svix does.
pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Answer> {
    let mut json = serde_json::Deserializer::from_slice(body);
    serde_path_to_error::deserialize(&mut json).map_err(|err| {
        let path = err.path().to_string();
        let loc = std::iter::once("body").chain(path.split('.')).map(str::to_owned).collect();
        Answer::invalid(vec![Flaw::of(loc, err.to_string(), "value_error.jsondecode")])
    })
}
