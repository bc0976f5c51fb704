//! The only place that settles deliveries of the pipeline. A verdict becomes one broker operation; one task per channel writes
//! them, and acknowledges the longest run of finished tags at once.

use super::{share::Taken, window::Window};
use crate::{
    event::{Released, Verdict},
    observe::metrics::Metrics,
    pipeline::delivery::Receipt,
    sources::rabbitmq::{
        budget::Held,
        dead_letters::republish::{Original, QueueKind, Republished, Republisher},
    },
};
use bytes::Bytes;
use futures_util::future::join_all;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    },
    time::Instant,
};

/// How long an acknowledgement waits for the gap below its tag to close before it is sent alone. Long enough for
/// neighbours of one burst, far below anything a person or a broker notices.
const STRAGGLER_WAIT: Duration = Duration::from_millis(5);
/// How long a finished run may grow before it is acknowledged; a shorter one costs the broker as much as a longer one. So
/// long a return waits for others, too: together they are one write.
const RUN_WAIT: Duration = Duration::from_millis(1);
/// The part of the prefetch that a run may hold, as its divisor: more would keep the broker from sending.
const RUN_SHARE: u16 = 8;
/// A straggler's own acknowledgement costs as much as a whole run's, so more of those are waited for: half of the prefetch,
/// or all but so many of it that the calls under way have enough to go on with.
const STRAGGLER_SHARE: u16 = 2;
const LEFT_TO_WORK: u16 = 64;
/// Settlements taken at once from the inbox.
const BATCH: usize = 256;

/// The operation on one delivery tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Ack,
    /// To the next rung: `basic.nack(requeue=false)`, which dead-letters to the next delay queue.
    Retry,
    /// Back to where it came from.
    Requeue,
}

#[derive(Debug)]
struct Settlement {
    tag: u64,
    operation: Operation,
    /// Dropped once it is written; none for a delivery that never arrived, or is not counted as outstanding.
    taken: Option<Taken>,
}

/// The writing end towards one channel's settling task. Unbounded, yet never longer than the prefetch: each entry is one
/// unsettled delivery.
#[derive(Debug)]
pub(in crate::sources::rabbitmq) struct Settler {
    inbox: UnboundedSender<Settlement>,
    channel: Channel,
}

/// Settles one delivery.
#[derive(Debug)]
pub struct AmqpReceipt {
    pub(super) tag: u64,
    pub(super) settler: Arc<Settler>,
    pub(super) republisher: Arc<Republisher>,
    pub(super) original: Original,
    pub(super) taken: Option<Taken>,
    pub(super) _held: Held,
    /// Of its rung; free again once the delivery is settled.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
}

impl Receipt for AmqpReceipt {
    async fn settle(self, verdict: Verdict, body: Bytes) -> Verdict {
        // Dropped before its end (the process stops): the delivery stays unsettled, and the broker delivers it again.
        let (settled, operation) = match verdict {
            Verdict::Delivered | Verdict::Duplicate => (verdict, Operation::Ack),
            // Copies are rare: boxed, they leave the task of every other event small.
            Verdict::Retry(_) => match &self.original.kind {
                QueueKind::Rung => (verdict, Operation::Retry),
                QueueKind::Parked { retry_by } => {
                    let from = &self.settler.channel;
                    match Box::pin(self.republisher.to_retry(retry_by, &self.original, &body, from)).await {
                        Republished::Confirmed => (verdict, Operation::Ack),
                        Republished::Not(why) => (Verdict::Released(why), Operation::Requeue),
                    }
                }
                // Looking at it was a defect: a few times more.
                QueueKind::Notices => (verdict, Operation::Requeue),
            },
            Verdict::Dead(_) if matches!(self.original.kind, QueueKind::Notices) => (verdict, Operation::Ack),
            Verdict::Dead(dead) => {
                match Box::pin(self.republisher.to_dead(&self.original, &dead, &body, &self.settler.channel)).await {
                    Republished::Confirmed => (Verdict::Dead(dead), Operation::Ack),
                    Republished::Not(why) => (Verdict::Released(why), Operation::Requeue),
                }
            }
            Verdict::Parked(ref parked) => {
                match Box::pin(self.republisher.to_parked(&self.original, parked, &body, &self.settler.channel)).await {
                    Republished::Confirmed => (verdict, Operation::Ack),
                    Republished::Not(why) => (Verdict::Released(why), Operation::Requeue),
                }
            }
            Verdict::Released(Released::DeferredTooLong) => {
                match Box::pin(self.republisher.to_own_queue(&self.original, &body, &self.settler.channel)).await {
                    Republished::Confirmed => (verdict, Operation::Ack),
                    Republished::Not(_) => (verdict, Operation::Requeue),
                }
            }
            Verdict::Released(_) => (verdict, Operation::Requeue),
        };
        self.settler.write(self.tag, operation, self.taken);
        settled
    }

    fn give_back(self) {
        self.settler.write(self.tag, Operation::Requeue, self.taken);
    }
}

impl Settler {
    /// Starts the settling task of `channel`. It ends once every sender is gone and all is written.
    pub(in crate::sources::rabbitmq) fn start(
        channel: Channel,
        prefetch: u16,
        metrics: Arc<Metrics>,
    ) -> (Arc<Self>, tokio::task::JoinHandle<()>) {
        let (sender, inbox) = unbounded_channel();
        (
            Arc::new(Self { inbox: sender, channel: channel.clone() }),
            tokio::spawn(run(channel, prefetch, inbox, metrics)),
        )
    }

    /// Returns a delivery that was not worked.
    pub(in crate::sources::rabbitmq) fn give_back(&self, tag: u64, taken: Taken) {
        self.write(tag, Operation::Requeue, Some(taken));
    }

    /// Removes a message that is none of hookbro's business.
    pub(super) fn remove(&self, tag: u64) {
        self.write(tag, Operation::Ack, None);
    }

    /// Returns a delivery that the broker has sent and that never arrived.
    pub(super) fn return_lost(&self, tag: u64) {
        self.write(tag, Operation::Requeue, None);
    }

    fn write(&self, tag: u64, operation: Operation, taken: Option<Taken>) {
        // The task ends only with its senders or with its runtime; in the latter case the broker delivers again.
        let _ = self.inbox.send(Settlement { tag, operation, taken });
    }
}

async fn run(channel: Channel, prefetch: u16, mut inbox: UnboundedReceiver<Settlement>, metrics: Arc<Metrics>) {
    let most_taken = usize::from(prefetch / RUN_SHARE).max(1);
    let most_stragglers = usize::from((prefetch / STRAGGLER_SHARE).max(prefetch.saturating_sub(LEFT_TO_WORK))).max(1);
    let mut window = Window::default();
    let mut batch = Vec::with_capacity(BATCH);
    // The end of the run that is finished and not acknowledged yet.
    let mut run = None;
    // What is to be returned and has not been written yet.
    let mut returns = Vec::new();
    // When a run, the oldest straggler and the oldest return are written at the latest. Kept over the turns, so that
    // steady traffic cannot put it off.
    let (mut run_due, mut straggler_due, mut return_due) = (None, None, None);
    let timer = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(timer);
    loop {
        let next_due = [run_due, straggler_due, return_due].into_iter().flatten().min();
        if let Some(due) = next_due.filter(|due| *due != timer.deadline()) {
            timer.as_mut().reset(due);
        }
        let received = tokio::select! {
            received = inbox.recv_many(&mut batch, BATCH) => Some(received),
            () = &mut timer, if next_due.is_some() => None,
        };
        let now = Instant::now();
        let mut acks = Vec::new();
        for settlement in batch.drain(..) {
            match settlement.operation {
                Operation::Ack => {
                    window.finished(settlement.tag, now, settlement.taken);
                    continue;
                }
                Operation::Retry => returns.push(nack(&channel, settlement.tag, false, settlement.taken)),
                Operation::Requeue => returns.push(nack(&channel, settlement.tag, true, settlement.taken)),
            }
            window.settled(settlement.tag);
        }
        run = window.take_run().or(run);
        let last = received == Some(0);
        let is_due = |due: Option<Instant>| last || due.is_some_and(|due| due <= now);
        if is_due(run_due) || window.taken() >= most_taken {
            acks.extend(run.take().map(|up_to| ack(&channel, up_to, true, window.acknowledged())));
        }
        let most_waited = last || window.stragglers() >= most_stragglers;
        if most_waited || is_due(straggler_due) {
            let until = if most_waited { now } else { now.checked_sub(STRAGGLER_WAIT).unwrap_or(now) };
            let stragglers = window.take_stragglers(until).into_iter();
            acks.extend(stragglers.map(|(tag, taken)| ack(&channel, tag, false, vec![taken])));
            // The others are checked again soon: each has a wait of its own.
            straggler_due = Some(now + RUN_WAIT);
        }
        run_due = run.and(run_due.or(Some(now + RUN_WAIT)));
        straggler_due = (window.stragglers() > 0).then(|| straggler_due.unwrap_or(now + STRAGGLER_WAIT));
        // Each kind together, so that they share one write to the socket. The returns first: an acknowledgement of a run
        // covers every tag below its own, and would turn one that is still to be returned into one that is done.
        let mut written = Vec::new();
        if !acks.is_empty() || is_due(return_due) || returns.len() >= most_taken {
            written = join_all(returns.drain(..)).await;
        }
        return_due = (!returns.is_empty()).then(|| return_due.unwrap_or(now + RUN_WAIT));
        written.extend(join_all(acks).await);
        if let Some(error) = written.into_iter().find_map(Result::err) {
            // Tags die with their channel: the broker delivers again, and Svix drops the repeat by its eventId.
            metrics.settle_failures.inc();
            tracing::warn!(%error, "settlement did not reach the broker; it delivers the events again");
        }
        if last {
            return;
        }
    }
}

/// What was `taken` stays so until the acknowledgement is written.
#[expect(clippy::disallowed_methods, reason = "the one place where a verdict is settled")]
async fn ack(channel: &Channel, tag: u64, multiple: bool, taken: Vec<Option<Taken>>) -> lapin::Result<()> {
    let written = channel.basic_ack(tag, BasicAckOptions { multiple }).await;
    drop(taken);
    written
}

#[expect(clippy::disallowed_methods, reason = "the one place where a verdict is settled")]
async fn nack(channel: &Channel, tag: u64, requeue: bool, taken: Option<Taken>) -> lapin::Result<()> {
    let written = channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue }).await;
    drop(taken);
    written
}
