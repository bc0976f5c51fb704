//! What a conflict proves nothing of: whether Svix has this very event, and whether it calls anybody for it.
//!
//! Svix commits a message and queues it afterwards; when its caller's connection closes in between, the message exists and no
//! endpoint is ever called (`tests/contract/redis_down_msg_never_delivered.json`). Each repeat is refused as a conflict. So
//! the message is looked up, then its attempts, then who takes it, and what nobody was called for is sent by Svix again.

use super::{
    answer::Answer,
    classify::{is_id, lacks_payload, refusal},
    client::{Asked, DEFAULT_WAIT, SvixClient},
    route::AppId,
    same,
    takers::{Taker, takers},
};
use crate::{
    event::{Cause, Dispatch, Event, HaltReason},
    pipeline::sink::Repeat,
};
use jiff::Timestamp;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::time::{Duration, SystemTime};

/// For so long after a message was made, nobody called may mean that Svix is busy: its own queue, and an endpoint that takes the
/// 30 s that Svix gives it, before there is an attempt to see.
const SETTLING: Duration = Duration::from_secs(60);
/// Longest answer read: the largest payload that Svix takes, 2 MiB, rewritten with signs in each exponent, or a full page.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Attempts read. All of one event's are few unless endpoints have failed for long, which proves a call.
const ATTEMPTS: usize = 50;
/// Endpoints of one page, the most that Svix gives, and pages: above that, no event is sent to them one after another.
const PAGE: usize = 250;
const MAX_PAGES: usize = 8;
/// How Svix marks an attempt that somebody asked for; 0 is one that followed from the message.
const MANUAL: i64 = 1;

/// Looking for the proof of one conflict.
pub(super) struct Proof<'a> {
    pub(super) sink: &'a SvixClient,
    pub(super) event: &'a Event,
    pub(super) app: &'a AppId,
    /// The event has no attempt left to check again.
    pub(super) last: bool,
    pub(super) goes_on: &'a (dyn Fn() -> bool + Send + Sync),
}

/// Why there is no proof.
enum Stop {
    /// Not to be searched now.
    Interrupted,
    /// This token may not read it, or no URL can ask.
    Unable(&'static str),
    Answer(Answer),
}

/// What a call came to that got Svix's answer.
enum Found {
    Yes(Asked),
    /// Svix says that there is no such thing.
    No,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    id: &'a str,
    event_id: Option<&'a str>,
    event_type: &'a str,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    channels: Option<Vec<String>>,
    timestamp: Option<&'a str>,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
    iterator: Option<String>,
    #[serde(default)]
    done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    endpoint_id: String,
    #[serde(default)]
    trigger_type: i64,
}

/// A message whose event is this one.
struct Known {
    id: String,
    channels: Vec<String>,
    made: Option<Timestamp>,
}

impl Proof<'_> {
    /// Nothing once it is not to go on.
    pub(super) async fn find(self) -> Option<Answer> {
        let mut message = None;
        let dispatch = match self.check(&mut message).await {
            Ok(dispatch) => dispatch,
            Err(Stop::Interrupted) => return None,
            Err(Stop::Answer(answer)) => return Some(answer),
            Err(Stop::Unable(why)) => Dispatch::Unchecked(why),
        };
        Some(Answer::Repeated(Repeat { status: Some(409), message, dispatch }))
    }

    async fn check(&self, message: &mut Option<Box<str>>) -> Result<Dispatch, Stop> {
        let known = self.message().await?;
        *message = Some(known.id.as_str().into());
        if self.sink.recent.knows(self.app, &self.event.id) {
            return Ok(Dispatch::SeenAccepted);
        }
        let path = format!("/api/v1/app/{}/attempt/msg/{}?limit={ATTEMPTS}", self.app, known.id);
        let Found::Yes(asked) = self.ask(Method::GET, &path).await? else { return Err(gone()) };
        let attempts: List<Attempt> = json(&asked)?;
        // Those that somebody asked for, as this rescue does, say nothing about the other endpoints.
        if !attempts.done || attempts.data.iter().any(|one| one.trigger_type != MANUAL) {
            return Ok(Dispatch::Called);
        }
        let called: Vec<_> = attempts.data.iter().map(|one| one.endpoint_id.as_str()).collect();
        let all = self.endpoints().await?;
        let takers = match takers(&all, self.event.kind.as_str(), &known.channels) {
            Ok(takers) => takers,
            Err(nobody) => return Ok(Dispatch::Nobody(nobody)),
        };
        if !self.last && known.age(asked.at).is_some_and(|age| age < SETTLING) {
            let detail = "stored by Svix, not yet dispatched: no endpoint has been called so far".to_owned();
            return Err(Stop::Answer(Answer::Undispatched(Cause { status: Some(409), detail })));
        }
        self.rescue(&known, takers.into_iter().filter(|id| !called.contains(id))).await
    }

    /// The message under the event's id, if it is this event.
    async fn message(&self) -> Result<Known, Stop> {
        let id = &self.event.id;
        // Clients of HTTP take these for steps of the path.
        if matches!(id.as_str(), "." | "..") {
            return Err(Stop::Unable("no URL can carry its id"));
        }
        let path = format!("/api/v1/app/{}/msg/{id}?with_content=true", self.app);
        let Found::Yes(asked) = self.ask(Method::GET, &path).await? else { return Err(gone()) };
        let message: Message<'_> = json(&asked)?;
        if message.event_id != Some(id.as_str()) || !is_id(message.id) {
            return Err(foreign(&asked));
        }
        let other = if message.event_type != self.event.kind.as_str() {
            Some("type")
        } else {
            let differs = |shown: &RawValue| same::differs(self.event.body(), shown.get().as_bytes());
            message.payload.is_some_and(differs).then_some("payload")
        };
        if let Some(what) = other {
            let detail = format!("Svix has another event under this id: its {what} differs");
            return Err(Stop::Answer(Answer::Mismatch(Cause { status: Some(409), detail })));
        }
        Ok(Known {
            id: message.id.to_owned(),
            channels: message.channels.unwrap_or_default(),
            made: message.timestamp.and_then(|at| at.parse().ok()),
        })
    }

    /// Has Svix send a message to each of these endpoints.
    async fn rescue(&self, known: &Known, to: impl Iterator<Item = &str>) -> Result<Dispatch, Stop> {
        let mut endpoints = 0;
        for endpoint in to {
            let path = format!("/api/v1/app/{}/msg/{}/endpoint/{endpoint}/resend", self.app, known.id);
            match self.ask(Method::POST, &path).await? {
                Found::Yes(_) => endpoints += 1,
                Found::No => return Err(failed("an endpoint went missing while Svix was asked to send to it".into())),
            }
        }
        Ok(if endpoints == 0 { Dispatch::Called } else { Dispatch::Rescued { endpoints } })
    }

    async fn endpoints(&self) -> Result<Vec<Taker>, Stop> {
        let mut all: Vec<Taker> = Vec::new();
        let mut behind = String::new();
        for _ in 0..MAX_PAGES {
            let path = format!("/api/v1/app/{}/endpoint?limit={PAGE}{behind}", self.app);
            let Found::Yes(asked) = self.ask(Method::GET, &path).await? else { return Err(gone()) };
            let page: List<Taker> = json(&asked)?;
            if !page.data.iter().all(|endpoint| is_id(&endpoint.id)) {
                return Err(foreign(&asked));
            }
            all.extend(page.data);
            match page.iterator.filter(|next| is_id(next)) {
                _ if page.done => return Ok(all),
                Some(next) => behind = format!("&iterator={next}"),
                None => break,
            }
        }
        Err(failed(format!("Svix lists more than {} endpoints of application {}", PAGE * MAX_PAGES, self.app)))
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Found, Stop> {
        if !(self.goes_on)() {
            return Err(Stop::Interrupted);
        }
        let asked = self.sink.ask(method, path, MAX_ANSWER).await.map_err(Stop::Answer)?;
        if asked.head.status.is_success() {
            return Ok(Found::Yes(asked));
        }
        // It may write, as the conflict shows, and not read: waiting will not change that.
        if asked.head.status == StatusCode::FORBIDDEN {
            return Err(Stop::Unable("svix.token may not read messages, attempts and endpoints, or not send them"));
        }
        if asked.head.status == StatusCode::BAD_REQUEST && lacks_payload(&asked.body) {
            let detail = "Svix stored it without calling an endpoint, and has no payload left to send".to_owned();
            return Err(Stop::Answer(Answer::Mismatch(Cause { status: Some(400), detail })));
        }
        match refusal(&asked.head.reply(&asked.body), DEFAULT_WAIT) {
            Answer::NotFound(_) => Ok(Found::No),
            Answer::Refused(cause) | Answer::TooLarge(cause) => Err(Stop::Answer(Answer::Failed { cause, wait: None })),
            Answer::Conflict => Err(failed("Svix refused the check of a repeat as a conflict".into())),
            answer => Err(Stop::Answer(answer)),
        }
    }
}

impl Known {
    /// None where Svix does not say when it was made. A message of this second may be younger than the second's beginning, which is
    /// all that a `Date` tells.
    fn age(&self, now: SystemTime) -> Option<Duration> {
        let age = Timestamp::try_from(now).ok()?.duration_since(self.made?);
        Some(Duration::try_from(age).unwrap_or_default())
    }
}

fn json<'a, T: Deserialize<'a>>(asked: &'a Asked) -> Result<T, Stop> {
    serde_json::from_slice(&asked.body).map_err(|_| foreign(asked))
}

/// What answered is not Svix.
fn foreign(asked: &Asked) -> Stop {
    let status = asked.head.status;
    let detail = format!("the check of a repeat was answered {status} with a body that is not Svix's own");
    let cause = Cause { status: Some(status.as_u16()), detail };
    Stop::Answer(Answer::Unusable { reason: HaltReason::NotSvix, cause })
}

/// A conflict with something that is not there.
fn gone() -> Stop {
    failed("Svix refused it as a repeat, and does not find the message that it would repeat".to_owned())
}

fn failed(detail: String) -> Stop {
    Stop::Answer(Answer::Failed { cause: Cause { status: Some(409), detail }, wait: None })
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
