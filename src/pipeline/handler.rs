//! The one decision: what becomes of a delivery. Borrows the message, returns a verdict, never sees the token.

use super::{
    halt::{Denied, Halt, Pass, Refused, Standing},
    pacer::Pacer,
    record::Calls,
};
use crate::{
    event::{
        Cause, Dead, DeadReason, Dispatch, Event, HaltReason, Malformed, Oddity, ParseFailure, Rejected, Released,
        Verdict,
    },
    observe::{metrics::Metrics, projects::ProjectCounts},
    pipeline::{
        delivery::Message,
        pauses::Board,
        sink::{Outcome, Repeat, Sink, Terms},
    },
    process::stop::Stop,
};
use std::sync::Arc;
use tokio::time::Instant;

/// Content types under which JSON travels; others are taken and counted, since the shape is what decides.
const JSON_TYPE: &str = "application/json";
/// Most header bytes of a fresh event. Each rung adds to `x-death`, and all of it must fit one frame of 128 KiB, or the broker
/// could not deliver the event again and would close the connection over it for ever.
const MAX_HEADER_BYTES: usize = 64 * 1024;
/// What a rung adds to `x-death` at most: two entries with the names of a queue and an exchange.
const DEATH_BYTES: usize = 2 * 1024;
/// Ages beyond a year are not believed.
const MAX_AGE_SECONDS: f64 = 365.0 * 86_400.0;
/// Longest stretch of a refused content encoding that is repeated, in characters.
const SHOWN_ENCODING: usize = 40;

/// Judges deliveries. Immutable; one for all tasks.
#[derive(Debug)]
pub struct Handler<S> {
    pub sink: Arc<S>,
    pub halt: Arc<Halt>,
    pub pacer: Pacer,
    pub projects: ProjectCounts,
    /// The projects that an operator has paused.
    pub board: Arc<Board>,
    pub max_payload_bytes: usize,
    pub metrics: Arc<Metrics>,
    pub stop: Stop,
}

impl<S: Sink> Handler<S> {
    /// The verdict on `message`, and its event if it is one. What its calls came to is noted in `calls`.
    pub async fn handle(&self, message: &Message, calls: &mut Calls) -> (Verdict, Option<Event>) {
        match self.parse(message) {
            Ok(event) => {
                let verdict = self.send(message, &event, calls).await;
                (verdict, Some(event))
            }
            Err(dead) => (Verdict::Dead(dead), None),
        }
    }

    fn parse(&self, message: &Message) -> Result<Event, Dead> {
        let unreadable = &message.unreadable;
        if !unreadable.needed.is_empty() {
            let failure = Malformed::Properties(unreadable.needed.clone()).into();
            let (project, id) = match Event::parse(message.body.clone(), self.max_payload_bytes) {
                Ok(event) => (Some(event.project), Some(event.id)),
                Err(rejected) => (rejected.project, rejected.id),
            };
            return Err(dead_on_arrival(Rejected { failure, project, id }));
        }
        if let Some(encoding) = message.content_encoding.as_deref().filter(|e| !is_plain(e)) {
            let encoding = encoding.chars().take(SHOWN_ENCODING).collect();
            return Err(dead_on_arrival(Malformed::Encoding(encoding).into()));
        }
        let (size, limit) = (message.header_bytes, MAX_HEADER_BYTES + message.attempt.rung() * DEATH_BYTES);
        if size > limit {
            return Err(dead_on_arrival(Malformed::Headers { size, limit }.into()));
        }
        let event = Event::parse(message.body.clone(), self.max_payload_bytes).map_err(dead_on_arrival)?;
        let foreign_type = message.content_type.as_deref().is_some_and(|t| !t.starts_with(JSON_TYPE));
        let odd_properties = !unreadable.spare.is_empty();
        if odd_properties {
            let (id, project, properties) = (event.id.as_str(), event.project.as_str(), &*unreadable.spare);
            tracing::debug!(event.id = id, project, properties, "properties of the event's message could not be read");
        }
        let of_message = [foreign_type.then_some(Oddity::ContentType), odd_properties.then_some(Oddity::Properties)];
        for oddity in event.oddities.iter().copied().chain(of_message.into_iter().flatten()) {
            self.metrics.events_odd.with_label_values(&[oddity.as_str()]).inc();
        }
        Ok(event)
    }

    async fn send(&self, message: &Message, event: &Event, calls: &mut Calls) -> Verdict {
        let destination = self.sink.destination(event);
        let deadline = Instant::from_std(message.deadline);
        let mut previous_attempt =
            Instant::from_std(message.received.checked_sub(message.waited).unwrap_or(message.received));
        let dead = |reason, cause| {
            let (project, event_id) = (Some(event.project.clone()), Some(event.id.clone()));
            Verdict::Dead(Dead { reason, cause, project, event_id })
        };
        let last_attempt = message.next_delay.is_none();
        let mut standing = if last_attempt { Standing::LastAttempt } else { Standing::Ordinary };
        loop {
            let pass = match self.pass(event, standing, deadline).await {
                Ok(pass) => pass,
                Err(released) => return Verdict::Released(released),
            };
            let outcome = match self.call(message, event, &destination, &pass, deadline, calls).await {
                Ok(Some(outcome)) => outcome,
                Ok(None) => {
                    pass.interrupted();
                    continue;
                }
                Err(denied) => return Verdict::Released(denied.into()),
            };
            match outcome {
                Outcome::Accepted(_) => {
                    pass.accepted();
                    self.observe_age(event);
                    return Verdict::Delivered;
                }
                Outcome::Repeated(Repeat { dispatch, .. }) => {
                    pass.accepted();
                    self.repeated(event, dispatch);
                    return Verdict::Duplicate;
                }
                // The sink works, and the event needs nothing but time: its next rung.
                Outcome::Pending(cause) => {
                    pass.answered();
                    return Verdict::Retry(cause);
                }
                Outcome::Dead { reason: DeadReason::Refused, cause } => match pass.refused(&destination, &cause) {
                    Refused::TheEvent => return dead(DeadReason::Refused, cause),
                    Refused::EveryEvent => standing = Standing::FailedItsProbe,
                },
                Outcome::Dead { reason, cause } => {
                    pass.answered();
                    return dead(reason, cause);
                }
                // From here on nothing is spent: the event is deferred, and tries again when the halt ends.
                Outcome::Halt { reason, cause, wait } => pass.unusable(reason, &cause, wait),
                Outcome::Failed { cause, wait } => {
                    let others_accepted = self.halt.accepted_since(previous_attempt);
                    pass.failed(&cause, wait);
                    if !last_attempt {
                        return Verdict::Retry(cause);
                    }
                    if others_accepted {
                        return dead(DeadReason::Exhausted, cause);
                    }
                    // Nothing at all was accepted since its last attempt: an outage, not this event's fault.
                    self.halt.begin(HaltReason::Failing, &cause, None);
                    previous_attempt = Instant::now();
                    standing = Standing::FailedItsProbe;
                }
            }
        }
    }

    /// Leave to call, once neither the event's project nor everything is paused.
    async fn pass(&self, event: &Event, standing: Standing, deadline: Instant) -> Result<Pass<'_>, Released> {
        if self.board.is_paused(&event.project) {
            return Err(Released::ProjectPaused);
        }
        tokio::select! {
            biased;
            pass = self.halt.pass(standing, deadline, &self.stop) => pass.map_err(Released::from),
            () = self.board.until_paused(&event.project) => Err(Released::ProjectPaused),
        }
    }

    /// The event's calls, in its turn; nothing if a halt has begun, or its project was paused,
    /// before they were all made.
    async fn call(
        &self,
        message: &Message,
        event: &Event,
        destination: &S::Destination,
        pass: &Pass<'_>,
        deadline: Instant,
        calls: &mut Calls,
    ) -> Result<Option<Outcome>, Denied> {
        let wanted = || pass.holds() && !self.board.is_paused(&event.project);
        let turn = self.pacer.turn(message.lane, wanted, deadline, &self.stop).await?;
        let Some(turn) = turn.filter(|_| wanted()) else { return Ok(None) };
        let goes_on = || wanted() && Instant::now() < deadline;
        let terms = Terms { goes_on: &goes_on, last: message.next_delay.is_none() };
        let began = Instant::now();
        let outcome = self.sink.deliver(event, destination, terms).await;
        if let Some(outcome) = &outcome {
            calls.came_to(outcome, began.elapsed());
            turn.over(outcome);
        }
        Ok(outcome)
    }

    /// Counts and says what is to be known of a repeat.
    fn repeated(&self, event: &Event, dispatch: Dispatch) {
        let (id, project) = (event.id.as_str(), event.project.as_str());
        match dispatch {
            Dispatch::SeenAccepted | Dispatch::Called | Dispatch::Nobody(_) => {}
            Dispatch::Rescued { endpoints } => {
                self.metrics.events_rescued.inc();
                tracing::warn!(
                    event.id = id,
                    project,
                    endpoints,
                    "the sink had stored this event without calling an endpoint; it was asked to send it"
                );
            }
            Dispatch::Unchecked(cause) => {
                self.metrics.events_unchecked.inc();
                tracing::warn!(
                    event.id = id,
                    project,
                    cause,
                    "the sink knows this event; whether it called an endpoint for it could not be checked"
                );
            }
        }
    }

    fn observe_age(&self, event: &Event) {
        if let Some(time) = event.time {
            let age = jiff::Timestamp::now().duration_since(time).as_secs_f64();
            // A publisher's clock may run ahead, and a hostile one says anything: one such age would spoil the sum for ever.
            if age < MAX_AGE_SECONDS {
                self.metrics.event_age.observe(age.max(0.0));
            }
        }
    }
}

impl From<Denied> for Released {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::TooLong => Self::DeferredTooLong,
            Denied::Stopping => Self::Stopping,
        }
    }
}

fn is_plain(encoding: &str) -> bool {
    encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") || encoding.eq_ignore_ascii_case("utf-8")
}

fn dead_on_arrival(rejected: Rejected) -> Dead {
    let reason = match rejected.failure {
        ParseFailure::Malformed(_) => DeadReason::Malformed,
        ParseFailure::TooLarge { .. } => DeadReason::TooLarge,
    };
    let cause = Cause { status: None, detail: rejected.failure.to_string() };
    Dead { reason, cause, project: rejected.project, event_id: rejected.id }
}

#[cfg(test)]
#[path = "handler_tests.rs"]
mod tests;
