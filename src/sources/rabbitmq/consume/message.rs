//! From a message of the broker to a delivery of the pipeline.

use super::{
    settle::{AmqpReceipt, Settler},
    share::Taken,
    trace,
};
use crate::{
    event::{Attempt, Cause},
    observe::{metrics::Metrics, trace::Traces},
    pipeline::delivery::{Delivery, Message, Unsettled},
    sources::rabbitmq::{
        budget::Held,
        dead_letters::republish::{DEFER_LIMIT, Original, QueueKind, Republisher},
        headers::{replays, unreadable},
    },
};
use lapin::types::ShortString;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;

/// The queue that a message came from.
#[derive(Debug)]
pub(in crate::sources::rabbitmq) struct Origin<'a> {
    pub queue: &'a Arc<str>,
    /// Counted from the default lane.
    pub lane: usize,
    pub attempt: Attempt,
    /// The delay before this attempt.
    pub waited: Duration,
    /// The delay after it; `None` on the last rung.
    pub next_delay: Option<Duration>,
    pub kind: QueueKind,
    /// Why the broker has given it up.
    pub given_up: Option<Cause>,
}

/// What every delivery of a process shares.
#[derive(Clone, Copy)]
pub(in crate::sources::rabbitmq) struct Context<'a> {
    pub republisher: &'a Arc<Republisher>,
    pub metrics: &'a Arc<Metrics>,
    pub traces: &'a Traces,
}

/// What a delivery holds until it is settled, and how that is done.
pub(in crate::sources::rabbitmq) struct Arrived {
    pub settler: Arc<Settler>,
    /// None for what is not outstanding: the event lies in the dead-letter queue.
    pub taken: Option<Taken>,
    pub held: Held,
}

/// The delivery of one message that has just arrived.
pub(in crate::sources::rabbitmq) fn delivery(
    origin: Origin<'_>,
    context: Context<'_>,
    mut delivery: Box<lapin::message::Delivery>,
    header_bytes: usize,
    Arrived { settler, taken, held }: Arrived,
    permit: Option<OwnedSemaphorePermit>,
) -> Delivery<AmqpReceipt> {
    let (queue, attempt) = (origin.queue, origin.attempt);
    let trace = trace::begin(context.traces, &delivery, queue, attempt);
    let body = std::mem::take(&mut delivery.data).into();
    let properties = &delivery.properties;
    let owned = |text: &Option<ShortString>| text.as_ref().map(|t| t.as_str().to_owned());
    let received = Instant::now();
    let message = Message {
        body,
        attempt,
        content_type: owned(properties.content_type()),
        content_encoding: owned(properties.content_encoding()),
        unreadable: unreadable(properties),
        header_bytes,
        replayed: replays(properties),
        queue: Arc::clone(queue),
        routing_key: delivery.routing_key.as_str().to_owned(),
        received,
        deadline: received + DEFER_LIMIT,
        trace,
        waited: origin.waited,
        next_delay: origin.next_delay,
        lane: origin.lane,
        given_up: origin.given_up,
    };
    let receipt = AmqpReceipt {
        tag: delivery.delivery_tag,
        settler,
        republisher: Arc::clone(context.republisher),
        original: Original { delivery, queue: Arc::clone(queue), attempt, received, kind: origin.kind },
        taken,
        _held: held,
        _permit: permit,
    };
    Delivery { message, token: Unsettled::new(receipt, Arc::clone(context.metrics)) }
}
