//! From a source's deliveries to tasks: one per delivery, until asked to stop.

use super::{
    destinations::Admitted,
    handler::Handler,
    record::{self, Calls, Origin},
};
use crate::{
    event::{Attempt, Cause, Event, Parked, ProjectId, Released, Verdict},
    observe::health::Health,
    pipeline::{
        delivery::{Delivery, Message, Receipt},
        journal::Recorder,
        sink::Sink,
        source::{Demand, Ended, Source},
    },
    process::stop::LAST_CALLS,
};
use futures_util::FutureExt as _;
use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::task::TaskTracker;

/// How often the loop turns with nothing to do: to show that it lives, and to look at what nobody announces.
const TURN_EVERY: Duration = Duration::from_secs(1);
/// Deliveries begun one after another without a look at stop, halt and clock.
const BURST: usize = 32;

/// The connection went away without a word.
#[derive(Debug, thiserror::Error)]
#[error("the broker closed the connection")]
struct Lost;

/// What all sources of a process share.
#[derive(Debug)]
pub struct Pool<S> {
    pub handler: Arc<Handler<S>>,
    pub tasks: TaskTracker,
    pub health: Arc<Health>,
    pub recorder: Recorder,
}

impl<S: Sink> Pool<S> {
    pub fn new(handler: Handler<S>, health: Arc<Health>, recorder: Recorder) -> Self {
        Self { handler: Arc::new(handler), tasks: TaskTracker::new(), health, recorder }
    }

    /// Consumes until stopped (`Ok`) or until the session ends.
    pub async fn consume(&self, source: &mut impl Source) -> Result<(), Ended> {
        let mut halt_states = self.handler.halt.states();
        let mut turn = tokio::time::interval(TURN_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            halt_states.look();
            tokio::select! {
                biased;
                () = self.handler.stop.requested.cancelled() => return Ok(()),
                ordered = source.set_demand(self.handler.halt.demand()) => ordered?,
            }
            tokio::select! {
                biased;
                () = self.handler.stop.requested.cancelled() => return Ok(()),
                () = halt_states.changed() => {}
                _ = turn.tick() => {
                    self.health.beat();
                    if !source.connected() {
                        return Err(Ended::new(Lost));
                    }
                }
                delivery = source.next() => {
                    self.begin(delivery?, None, ());
                    self.take_arrived(source)?;
                }
            }
        }
    }

    /// Gives back what has arrived and was never begun, then lets the begun ones finish until `deadline`.
    pub async fn drain(&self, source: &mut impl Source, deadline: Instant) {
        match tokio::time::timeout_at(deadline, source.set_demand(Demand::Nothing)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the source did not stop; it takes everything back"),
            Err(_) => tracing::warn!("the source did not stop in time; it takes everything back"),
        }
        while let Some(Delivery { message, token }) = source.next_arrived() {
            let done = token.settle(Verdict::Released(Released::Stopping), message.body).await;
            message.trace.settled(&done, None);
            log(&done, None, message.attempt, message.replayed);
        }
        self.finish(deadline).await;
    }

    /// Lets what was begun finish until `deadline`, or until it is hurried; then ends every task, and what it held stays with the
    /// broker.
    pub async fn finish(&self, deadline: Instant) {
        let stop = &self.handler.stop;
        let over = async {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => {}
                () = stop.hurried.cancelled() => tokio::time::sleep_until(deadline.min(Instant::now() + LAST_CALLS)).await,
            }
        };
        self.tasks.close();
        tokio::select! {
            biased;
            () = self.tasks.wait() => return,
            () = over => {}
        }
        tracing::warn!(
            events.in_flight = self.tasks.len(),
            "the grace is over: events whose call is not answered go back to the broker"
        );
        stop.cut.cancel();
        self.tasks.wait().await;
    }

    /// Begins what arrived together with the last delivery: looking round for each of a burst would cost more than it says.
    fn take_arrived(&self, source: &mut impl Source) -> Result<(), Ended> {
        for _ in 0..BURST {
            let Some(delivery) = source.next().now_or_never() else { break };
            self.begin(delivery?, None, ());
        }
        Ok(())
    }

    /// Begins one delivery, `admitted` if it was parked; `places` is dropped once it is settled.
    pub(super) fn begin<R: Receipt>(
        &self,
        delivery: Delivery<R>,
        admitted: Option<Admitted>,
        places: impl Send + 'static,
    ) {
        self.spawn(delivery, Wanted::Sent(admitted), places);
    }

    /// Gives one delivery up without a call, for this cause; `places` as above.
    pub(super) fn give_up<R: Receipt>(&self, delivery: Delivery<R>, cause: Cause, places: impl Send + 'static) {
        self.spawn(delivery, Wanted::GivenUp(cause), places);
    }

    fn spawn<R: Receipt>(&self, delivery: Delivery<R>, wanted: Wanted, places: impl Send + 'static) {
        let trace = delivery.message.trace.clone();
        let (handler, recorder) = (Arc::clone(&self.handler), self.recorder.clone());
        let work = async move {
            one(handler, recorder, delivery, wanted).await;
            drop(places);
        };
        if trace.is_on() {
            self.tasks.spawn(trace.around(work));
        } else {
            self.tasks.spawn(work);
        }
    }
}

/// What is to become of a delivery.
enum Wanted {
    /// By the leave of its destination, if it was parked.
    Sent(Option<Admitted>),
    GivenUp(Cause),
}

/// One delivery, from message to settlement.
async fn one<S: Sink, R: Receipt>(handler: Arc<Handler<S>>, recorder: Recorder, delivery: Delivery<R>, wanted: Wanted) {
    let Delivery { message, token } = delivery;
    let mut calls = Calls::default();
    let judging = async {
        match wanted {
            Wanted::Sent(admitted) => handler.handle(&message, admitted, &mut calls).await,
            Wanted::GivenUp(cause) => handler.give_up(&message, cause),
        }
    };
    let judged = tokio::select! {
        biased;
        judged = AssertUnwindSafe(judging).catch_unwind() => judged.unwrap_or_else(|_| panicked()),
        () = handler.stop.cut.cancelled() => (Verdict::Released(Released::Stopping), None),
    };
    let (verdict, event) = judged;
    let Message { body, attempt, queue, routing_key, received, trace, next_delay, replayed, .. } = message;
    let done = token.settle(verdict, body).await;
    if let Verdict::Parked(Parked { project, .. }) = &done {
        handler.announcements.parked(project);
    }
    trace.settled(&done, event.as_ref());
    handler.projects.settled(project_of(&done, event.as_ref()), &done);
    log(&done, event.as_ref(), attempt, replayed);
    let origin = Origin { attempt, queue, routing_key, received, next_delay };
    recorder.record(|| record::entry(origin, &done, event, calls));
}

fn project_of<'a>(verdict: &'a Verdict, event: Option<&'a Event>) -> Option<&'a ProjectId> {
    match (event, verdict) {
        (Some(event), _) => Some(&event.project),
        (None, Verdict::Dead(dead)) => dead.project.as_ref(),
        (None, _) => None,
    }
}

/// A defect of ours; perhaps of this event's making, so it climbs the ladder instead of coming back at once.
fn panicked() -> (Verdict, Option<Event>) {
    (Verdict::Retry(Cause { status: None, detail: "handling it panicked, which is a defect of hookbro".into() }), None)
}

/// The one line per settled event: fine at debug, or at info if somebody replayed it and wants to know; failures at warn.
/// Never a body, never a token.
fn log(verdict: &Verdict, event: Option<&Event>, attempt: Attempt, replayed: i64) {
    let id = event.map(|e| e.id.as_str());
    let project = event.map(|e| e.project.as_str());
    let kind = event.map(|e| e.kind.as_str());
    let (attempt, outcome) = (attempt.get(), verdict.outcome());
    match verdict {
        Verdict::Delivered | Verdict::Duplicate if replayed > 0 => {
            tracing::info!(
                event.id = id,
                project,
                event.r#type = kind,
                attempt,
                outcome,
                replayed,
                "replayed event settled"
            );
        }
        Verdict::Delivered | Verdict::Duplicate => {
            tracing::debug!(event.id = id, project, event.r#type = kind, attempt, outcome, "event settled");
        }
        Verdict::Released(why) => {
            let cause = why.as_str();
            tracing::debug!(event.id = id, project, event.r#type = kind, attempt, outcome, cause, "event settled");
        }
        Verdict::Parked(parked) => {
            let reason = parked.reason.as_str();
            tracing::debug!(event.id = id, project, event.r#type = kind, attempt, outcome, reason, "event parked");
        }
        Verdict::Retry(cause) => {
            let (status, cause) = (cause.status, cause.detail.as_str());
            tracing::warn!(
                event.id = id,
                project,
                event.r#type = kind,
                attempt,
                outcome,
                status,
                cause,
                "event settled"
            );
        }
        Verdict::Dead(dead) => {
            let (reason, status, cause) = (dead.reason.as_str(), dead.cause.status, dead.cause.detail.as_str());
            tracing::warn!(
                event.id = id,
                project,
                event.r#type = kind,
                attempt,
                outcome,
                reason,
                status,
                cause,
                "event settled"
            );
        }
    }
}
