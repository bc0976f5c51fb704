//! From a verdict to what the broker does: as the product does it, a copy is confirmed before its original is acknowledged.

use super::{
    CopyFate, Defect, Happening, Judged, Why,
    link::Inner,
    state::{Message, Operation, Place},
};
use bytes::Bytes;
use hookbro::{
    event::{Attempt, ParkReason, Parked, Released, Verdict},
    pipeline::{
        backoff::{Backoff, Jitter},
        delivery::{self, Delivery, Receipt, Unsettled},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How long a delivery may stay unsettled.
const DEADLINE: Duration = Duration::from_secs(600);

/// Settles one delivery.
pub struct SimReceipt {
    link: Arc<Inner>,
    connection: u64,
    tag: u64,
    from: Place,
    message: Message,
    received: Instant,
}

/// A delivery as the pipeline sees it.
pub(super) fn delivery(
    link: &Arc<Inner>,
    connection: u64,
    tag: u64,
    from: Place,
    message: Message,
) -> Delivery<SimReceipt> {
    let received = Instant::now();
    let rung = if let Place::Rung(rung) = from { rung } else { 0 };
    let delays = link.broker.state().rules.delays.clone();
    let seen = delivery::Message {
        body: message.body.clone(),
        attempt: Attempt::from_rung(rung as u8),
        content_type: None,
        content_encoding: None,
        header_bytes: 0,
        replayed: 0,
        queue: format!("{from:?}").into(),
        routing_key: message.routing_key.clone(),
        received: received.into_std(),
        deadline: (received + DEADLINE).into_std(),
        trace: Default::default(),
        unreadable: Default::default(),
        waited: rung.checked_sub(1).map_or(Duration::ZERO, |before| delays[before]),
        next_delay: delays.get(rung).copied(),
        lane: 0,
        given_up: None,
    };
    let receipt = SimReceipt { link: Arc::clone(link), connection, tag, from, message, received };
    Delivery { message: seen, token: Unsettled::new(receipt, Arc::clone(&link.metrics)) }
}

impl SimReceipt {
    fn judged(&self, verdict: &Verdict) {
        let verdict = match verdict {
            Verdict::Delivered | Verdict::Duplicate => Judged::Delivered,
            Verdict::Retry(cause) => Judged::Retry { defect: cause.detail.contains("panicked") },
            Verdict::Dead(dead) => Judged::Dead(dead.reason.as_str()),
            Verdict::Parked(parked) => Judged::Parked(parked.reason.as_str()),
            Verdict::Released(why) => Judged::Released(why.as_str()),
        };
        let Message { event, number: message, .. } = self.message;
        self.link.saw(Happening::Judged { event, message, process: self.link.process, verdict });
    }

    fn write(&self, operation: Operation) {
        let way = self.link.broker.0.fate.way();
        let broker = &self.link.broker;
        let written = self.link.on(self.connection, |state, now| state.write(now, now + way, self.tag, operation));
        broker.0.changed.notify_waiters();
        let Message { event, number: message, .. } = self.message;
        self.link.saw(match written {
            Ok(()) => Happening::Written { event, message },
            Err(_) => Happening::TooLate { event, message },
        });
    }

    fn is_connected(&self) -> bool {
        self.link.broker.state().is_connected(self.connection)
    }

    /// Puts a copy in the place of the original.
    async fn replace(&self, to: Place, reason: Option<&'static str>, verdict: Verdict, away: Released) -> Verdict {
        let defect = self.link.broker.0.fate.defect();
        if defect == Some(Defect::AcksBeforeTheCopy) {
            self.write(Operation::Ack(Why::Copied));
        }
        match self.copy(to, reason, away).await {
            Ok(()) => {
                self.write(Operation::Ack(Why::Copied));
                verdict
            }
            Err(why) => {
                self.write(Operation::Return);
                Verdict::Released(why)
            }
        }
    }

    /// Publishes a copy until it is confirmed, or the original must go back.
    async fn copy(&self, to: Place, reason: Option<&'static str>, away: Released) -> Result<(), Released> {
        let Inner { broker, cut, .. } = &*self.link;
        let mut backoff = Backoff::with(Jitter::seeded(self.tag));
        loop {
            if !self.is_connected() && broker.0.fate.defect() != Some(Defect::AcksBeforeTheCopy) {
                return Err(Released::SessionEnded);
            }
            let fate = broker.0.fate.copy();
            tokio::select! {
                biased;
                () = cut.cancelled() => return Err(Released::Stopping),
                () = broker.travel() => {}
            }
            let stored = broker.change(|state, now| {
                let stored = fate != CopyFate::Refused && !state.is_away(now);
                if stored {
                    state.copy(now, &self.message, to.clone(), reason);
                }
                stored
            });
            // Whether the answer arrives is another question.
            broker.travel().await;
            if stored && fate == CopyFate::Confirmed {
                self.link.saw(Happening::Confirmed { event: self.message.event, of: self.message.number });
                return Ok(());
            }
            let wait = backoff.next_wait();
            if self.received.elapsed() + wait > DEADLINE {
                return Err(away);
            }
            tokio::select! {
                biased;
                () = cut.cancelled() => return Err(Released::Stopping),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn lot(&self, parked: &Parked) -> Place {
        let project = &parked.project;
        let mut known = self.link.known.lock().unwrap();
        let may_be_new = parked.reason != ParkReason::Provisioning;
        if known.contains(project) || may_be_new && self.link.broker.state().make_lot(project) {
            known.insert(project.detached());
            return Place::Lot(project.detached());
        }
        Place::Others
    }
}

impl Receipt for SimReceipt {
    async fn settle(self, verdict: Verdict, _: Bytes) -> Verdict {
        self.judged(&verdict);
        let defect = self.link.broker.0.fate.defect();
        match &verdict {
            Verdict::Delivered | Verdict::Duplicate => self.write(Operation::Ack(Why::Settled)),
            Verdict::Retry(_) if defect == Some(Defect::GivesUpAtOnce) => {
                return self.replace(Place::Dead, Some("exhausted"), verdict, Released::DeadLettersAway).await;
            }
            Verdict::Parked(_) if defect == Some(Defect::NeverParks) => self.write(Operation::Return),
            Verdict::Parked(_) if defect == Some(Defect::ParkingSpendsAttempts) => self.write(Operation::Reject),
            Verdict::Retry(_) if matches!(self.from, Place::Rung(_)) => self.write(Operation::Reject),
            // It comes from a lot, which is on no ladder.
            Verdict::Retry(_) => return self.replace(Place::Rung(1), None, verdict, Released::DelayAway).await,
            Verdict::Dead(dead) => {
                let reason = Some(dead.reason.as_str());
                return self.replace(Place::Dead, reason, verdict, Released::DeadLettersAway).await;
            }
            Verdict::Parked(parked) => {
                let (lot, reason) = (self.lot(parked), Some(parked.reason.as_str()));
                return self.replace(lot, reason, verdict, Released::ParkingAway).await;
            }
            Verdict::Released(why @ Released::DeferredTooLong) => {
                let (from, why) = (self.from.clone(), *why);
                return self.replace(from, None, verdict, why).await;
            }
            Verdict::Released(_) => self.write(Operation::Return),
        }
        verdict
    }

    fn give_back(self) {
        self.write(Operation::Return);
    }
}
