//! A scripted fault: which calls it meets, and what becomes of them. Its fields are the JSON of
//! `POST /sandbox/v1/faults`.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::answers::JSON;
use super::answers::{Answer, Reply, dress};

/// Which calls a fault can meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Creating a message.
    #[default]
    Message,
    /// Looking at a message, at attempts or at endpoints, and resending.
    Proof,
    /// Everything under `/api`.
    Any,
}

/// Conditions are all met or the call passes; with none, every message create is met.
///
/// Of `status`, `drop` and `reset` at most one; `delay` goes with any of them or alone.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    pub kind: FaultKind,
    /// The application as the path has it, uid or id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    /// Fires this often, then never again. None: until removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// Fires for this share of the calls it meets, evenly spread: 0.1 is every tenth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Answers with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body of that answer; without one it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// `application/json` unless said otherwise, if there is a body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// More headers of that answer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The `retry-after` header of that answer: seconds or a date, as it is to be sent.
    #[serde(deserialize_with = "text_or_number", skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// Waits before answering, such as `300ms`.
    #[serde(deserialize_with = "read_delay", serialize_with = "write_delay")]
    pub delay: Duration,
    /// Closes the connection without an answer.
    pub drop: bool,
    /// Resets the connection without an answer.
    pub reset: bool,
    /// Lets the call take effect first, and only then waits, closes or answers: the unknown outcome.
    pub after_commit: bool,
    /// With `after_commit`: the message exists, and no endpoint is called for it before the wait is over. If its caller goes away
    /// before, or the fault closes or answers, none ever is. So does Svix between its commit and its queue.
    pub undispatched: bool,
}

/// Why a fault cannot be scripted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFault {
    #[error("a fault needs one of `status`, `delay`, `drop` and `reset`")]
    Idle,
    #[error("only one of `status`, `drop` and `reset` can be chosen")]
    Torn,
    #[error("`body`, `content_type`, `headers` and `retry_after` need a `status` to go with")]
    NoStatus,
    #[error("status {0} is not between 200 and 599")]
    Status(u16),
    #[error("share {0} is not above 0 and at most 1")]
    Share(String),
    #[error("`undispatched` needs `after_commit` to go with")]
    Uncommitted,
    #[error("`times` has to be at least 1")]
    Times,
    #[error("{0:?} is not a header that can be sent")]
    Header(String),
    #[error("{0} faults are scripted already; remove some")]
    TooMany(usize),
}

impl Fault {
    pub(super) fn check(&self) -> Result<(), InvalidFault> {
        let ends = usize::from(self.status.is_some()) + usize::from(self.drop) + usize::from(self.reset);
        if ends > 1 {
            return Err(InvalidFault::Torn);
        }
        if ends == 0 && self.delay.is_zero() {
            return Err(InvalidFault::Idle);
        }
        if self.undispatched && !self.after_commit {
            return Err(InvalidFault::Uncommitted);
        }
        let dressed = self.body.is_some() || self.content_type.is_some() || self.retry_after.is_some();
        if self.status.is_none() && (dressed || !self.headers.is_empty()) {
            return Err(InvalidFault::NoStatus);
        }
        if let Some(status) = self.status.filter(|status| !(200..600).contains(status)) {
            return Err(InvalidFault::Status(status));
        }
        if let Some(share) = self.share.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return Err(InvalidFault::Share(share.to_string()));
        }
        if self.times == Some(0) {
            return Err(InvalidFault::Times);
        }
        self.header_pairs().try_for_each(|pair| pair.map(|_| ()))
    }

    /// The scripted answer, if this fault has one.
    pub(super) fn reply(&self) -> Option<Reply> {
        let status = StatusCode::from_u16(self.status?).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = self.body.clone().unwrap_or_default().into();
        let mut reply = Answer { body, ..Answer::empty(status) }.into_reply();
        dress(&mut reply);
        for (name, value) in self.header_pairs().flatten() {
            reply.headers_mut().insert(name, value);
        }
        Some(reply)
    }

    fn header_pairs(&self) -> impl Iterator<Item = Result<(HeaderName, HeaderValue), InvalidFault>> {
        let kind = self.content_type.as_deref().or(self.body.as_ref().map(|_| JSON));
        let named = [("content-type", kind), ("retry-after", self.retry_after.as_deref())];
        let named = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        named.chain(own).map(|(name, value)| match (name.parse(), value.parse()) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(InvalidFault::Header(format!("{name}: {value}"))),
        })
    }
}

fn text_or_number<'de, D: Deserializer<'de>>(input: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(u64),
    }
    Ok(Option::<Either>::deserialize(input)?.map(|either| match either {
        Either::Text(text) => text,
        Either::Number(number) => number.to_string(),
    }))
}

fn read_delay<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(input)?;
    let refuse = || de::Error::custom(format!("{text:?} is not a duration such as 300ms or 2s"));
    let delay: jiff::SignedDuration = text.parse().map_err(|_| refuse())?;
    Duration::try_from(delay).map_err(|_| refuse())
}

fn write_delay<S: Serializer>(delay: &Duration, output: S) -> Result<S::Ok, S::Error> {
    output.serialize_str(&format!("{}ms", delay.as_millis()))
}
