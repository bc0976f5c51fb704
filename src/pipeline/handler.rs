//! The one decision: what becomes of a delivery. Borrows the message, returns a verdict, never sees the token.

use super::{
    announcements::Announcements,
    destinations::{Admitted, Destinations, Failure},
    halt::{Denied, Halt, Pass, Refused, Standing},
    pacer::{Pacer, Turn},
    record::Calls,
};
use crate::{
    event::{
        Cause, Dead, DeadReason, Dispatch, Event, Malformed, Oddity, ParkReason, Parked, ParseFailure, Rejected,
        Released, Verdict,
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
    pub destinations: Destinations,
    /// Where what was parked is announced.
    pub announcements: Announcements,
    pub pacer: Pacer,
    pub projects: ProjectCounts,
    /// The projects that an operator has paused.
    pub board: Arc<Board>,
    pub max_payload_bytes: usize,
    pub metrics: Arc<Metrics>,
    pub stop: Stop,
}

impl<S: Sink> Handler<S> {
    /// The verdict on `message`, and its event if it is one. What its calls came to is noted in `calls`. A parked event comes
    /// `admitted` by its destination.
    pub async fn handle(
        &self,
        message: &Message,
        admitted: Option<Admitted>,
        calls: &mut Calls,
    ) -> (Verdict, Option<Event>) {
        if let Some(cause) = &message.given_up {
            return given_up(message, cause.clone());
        }
        match self.parse(message) {
            Ok(event) => {
                let verdict = self.send(message, &event, admitted, calls).await;
                (verdict, Some(event))
            }
            Err(dead) => (Verdict::Dead(dead), None),
        }
    }

    /// The verdict on an event that is not to be sent any more, and the event if it is one.
    pub fn give_up(&self, message: &Message, cause: Cause) -> (Verdict, Option<Event>) {
        match self.parse(message) {
            Ok(event) => (dead(&event, DeadReason::Exhausted, cause), Some(event)),
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

    async fn send(
        &self,
        message: &Message,
        event: &Event,
        mut admitted: Option<Admitted>,
        calls: &mut Calls,
    ) -> Verdict {
        let destination = self.sink.destination(event);
        let place = self.destinations.place(&event.project);
        let deadline = Instant::from_std(message.deadline);
        let previous_attempt =
            Instant::from_std(message.received.checked_sub(message.waited).unwrap_or(message.received));
        let dead = |reason, cause| dead(event, reason, cause);
        let parked = |reason, cause| Verdict::Parked(Parked { project: event.project.clone(), reason, cause });
        let last_attempt = message.next_delay.is_none();
        let mut standing = if last_attempt { Standing::LastAttempt } else { Standing::Ordinary };
        loop {
            if self.board.is_paused(&event.project) {
                return parked(ParkReason::Paused, None);
            }
            // Asked before the halt too: what cannot go anyway must not wait there.
            if admitted.is_none()
                && let Some(reason) = place.refusal()
            {
                return parked(reason, None);
            }
            let pass = tokio::select! {
                biased;
                pass = self.halt.pass(standing, deadline, &self.stop) => pass,
                () = self.board.until_paused(&event.project) => return parked(ParkReason::Paused, None),
            };
            let pass = match pass {
                Ok(pass) => pass,
                Err(denied) => return Verdict::Released(denied.into()),
            };
            let turn = match self.turn(message, event, &pass, deadline).await {
                Ok(Some(turn)) => turn,
                Ok(None) => continue,
                Err(denied) => return Verdict::Released(denied.into()),
            };
            let admitted = match admitted.take().map_or_else(|| place.admit(), Ok) {
                Ok(admitted) => admitted,
                Err(reason) => return parked(reason, None),
            };
            let Some(outcome) = self.call(message, event, &destination, &pass, turn, calls).await else {
                pass.interrupted();
                continue;
            };
            match outcome {
                Outcome::Accepted(_) => {
                    admitted.accepted();
                    pass.accepted();
                    self.observe_age(event);
                    return Verdict::Delivered;
                }
                Outcome::Repeated(Repeat { dispatch, .. }) => {
                    admitted.accepted();
                    pass.accepted();
                    self.repeated(event, dispatch);
                    return Verdict::Duplicate;
                }
                // The sink works, and the event needs nothing but time: its next rung.
                Outcome::Pending(cause) => {
                    admitted.answered();
                    pass.answered();
                    return Verdict::Retry(cause);
                }
                Outcome::Dead { reason: DeadReason::Refused, cause } => {
                    let open = admitted.refused(&cause.detail);
                    match pass.refused(&destination, &cause) {
                        Refused::EveryEvent => standing = Standing::FailedItsProbe,
                        Refused::TheEvent if open => return parked(ParkReason::CircuitOpen, Some(cause)),
                        Refused::TheEvent => return dead(DeadReason::Refused, cause),
                    }
                }
                Outcome::Dead { reason, cause } => {
                    admitted.answered();
                    pass.answered();
                    return dead(reason, cause);
                }
                Outcome::NotNow { reason, cause, wait } => {
                    admitted.hold_off(&cause.detail, reason, wait);
                    pass.answered();
                    return parked(reason, Some(cause));
                }
                // Nothing is spent: the event is deferred, and tries again when the halt ends.
                Outcome::Halt { reason, cause, wait } => pass.unusable(reason, &cause, wait),
                Outcome::Failed { cause, wait } => {
                    // With no attempt left, and nothing accepted since the last one, it is an outage and not this event's fault.
                    // The probe of a halt shows as much: others may be sent, but not this destination's.
                    let outage = pass.is_probe() || last_attempt && !admitted.accepted_since(previous_attempt);
                    let failure = admitted.failed(&event.id, &cause.detail, wait, outage);
                    match failure {
                        Failure::Known | Failure::OfTheEventAlone => pass.interrupted(),
                        Failure::OfTheEvent | Failure::OfTheDestination => pass.failed(&event.project, &cause),
                    }
                    return match failure {
                        Failure::Known | Failure::OfTheDestination => parked(ParkReason::CircuitOpen, Some(cause)),
                        Failure::OfTheEvent | Failure::OfTheEventAlone if last_attempt => {
                            dead(DeadReason::Exhausted, cause)
                        }
                        Failure::OfTheEvent | Failure::OfTheEventAlone => Verdict::Retry(cause),
                    };
                }
            }
        }
    }

    /// Whether a further call of `event` may be made.
    fn wanted(&self, event: &Event, pass: &Pass<'_>) -> bool {
        pass.holds() && !self.board.is_paused(&event.project)
    }

    /// The event's turn; none if a halt has begun, or its project was paused, before it came.
    async fn turn(
        &self,
        message: &Message,
        event: &Event,
        pass: &Pass<'_>,
        deadline: Instant,
    ) -> Result<Option<Turn<'_>>, Denied> {
        let wanted = || self.wanted(event, pass);
        let turn = self.pacer.turn(message.lane, wanted, deadline, &self.stop).await?;
        Ok(turn.filter(|_| wanted()))
    }

    /// The event's calls; nothing if a halt has begun, or its project was paused, before they were all made.
    async fn call(
        &self,
        message: &Message,
        event: &Event,
        destination: &S::Destination,
        pass: &Pass<'_>,
        turn: Turn<'_>,
        calls: &mut Calls,
    ) -> Option<Outcome> {
        let deadline = Instant::from_std(message.deadline);
        let goes_on = || self.wanted(event, pass) && Instant::now() < deadline;
        let terms = Terms { goes_on: &goes_on, last: message.next_delay.is_none() };
        let began = Instant::now();
        let outcome = turn.during(self.sink.deliver(event, destination, terms)).await?;
        calls.came_to(&outcome, began.elapsed());
        Some(outcome)
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

fn dead(event: &Event, reason: DeadReason, cause: Cause) -> Verdict {
    let (project, event_id) = (Some(event.project.clone()), Some(event.id.clone()));
    Verdict::Dead(Dead { reason, cause, project, event_id })
}

/// The verdict that the source itself has carried out already, in the words in which its dead letter is read.
fn given_up(message: &Message, cause: Cause) -> (Verdict, Option<Event>) {
    let reason = if message.unreadable.needed.is_empty() { DeadReason::Exhausted } else { DeadReason::Malformed };
    match Event::parse(message.body.clone(), usize::MAX) {
        Ok(event) => (dead(&event, reason, cause), Some(event)),
        Err(Rejected { project, id, .. }) => (Verdict::Dead(Dead { reason, cause, project, event_id: id }), None),
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
