//! The only place that acknowledges. A verdict becomes one broker operation; one task per channel writes them, and
//! acknowledges the longest run of finished tags at once.

use super::{
    copies::{Copies, Original, Placed},
    window::Window,
};
use crate::{
    domain::{Released, Verdict},
    ports::{delivery::Receipt, metrics::Metrics},
};
use bytes::Bytes;
use lapin::{
    Channel,
    options::{BasicAckOptions, BasicNackOptions},
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::Instant,
};

/// How long an acknowledgement waits for the gap below its tag to close before it is sent alone. Long enough for
/// neighbours of one burst, far below anything a person or a broker notices.
const STRAGGLER_WAIT: Duration = Duration::from_millis(3);
/// Settlements taken at once from the inbox.
const BATCH: usize = 256;

/// What the broker is told about one delivery tag.
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
}

/// The writing end towards one channel's settling task. Unbounded, yet never longer than the prefetch: each entry is one
/// unsettled delivery.
#[derive(Debug, Clone)]
pub(super) struct Settler {
    inbox: UnboundedSender<Settlement>,
    channel: Channel,
}

/// Settles one delivery.
#[derive(Debug)]
pub struct AmqpReceipt {
    pub(super) tag: u64,
    pub(super) settler: Settler,
    pub(super) copies: Arc<Copies>,
    pub(super) original: Original,
}

impl Receipt for AmqpReceipt {
    async fn settle(self, verdict: Verdict, body: Bytes) -> Verdict {
        // Dropped before its end (the process stops): the delivery stays unsettled, and the broker delivers it again.
        let (told, operation) = match verdict {
            Verdict::Delivered | Verdict::Duplicate => (verdict, Operation::Ack),
            Verdict::Retry(_) => (verdict, Operation::Retry),
            Verdict::Dead(dead) => match self.copies.to_dead(&self.original, &dead, &body, &self.settler).await {
                Placed::Confirmed => (Verdict::Dead(dead), Operation::Ack),
                Placed::Not(why) => (Verdict::Released(why), Operation::Requeue),
            },
            Verdict::Released(Released::HeldTooLong) => {
                match self.copies.to_own_queue(&self.original, &body, &self.settler).await {
                    Placed::Confirmed => (verdict, Operation::Ack),
                    Placed::Not(_) => (verdict, Operation::Requeue),
                }
            }
            Verdict::Released(_) => (verdict, Operation::Requeue),
        };
        self.settler.tell(self.tag, operation);
        told
    }

    fn give_back(self) {
        self.settler.tell(self.tag, Operation::Requeue);
    }
}

impl Settler {
    /// Starts the settling task of `channel`. It ends once every sender is gone and all is written.
    pub(super) fn start(channel: Channel, metrics: Arc<Metrics>) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, inbox) = unbounded_channel();
        (Self { inbox: sender, channel: channel.clone() }, tokio::spawn(run(channel, inbox, metrics)))
    }

    /// Whether the broker still waits for settlements here. If not, it has taken the deliveries back, and a copy of one
    /// would be a second event.
    pub(super) fn is_awaited(&self) -> bool {
        self.channel.status().connected()
    }

    fn tell(&self, tag: u64, operation: Operation) {
        // The task ends only with its senders or with its runtime; in the latter case the broker delivers again.
        let _ = self.inbox.send(Settlement { tag, operation });
    }
}

async fn run(channel: Channel, mut inbox: UnboundedReceiver<Settlement>, metrics: Arc<Metrics>) {
    let mut window = Window::default();
    let mut batch = Vec::with_capacity(BATCH);
    // When the oldest straggler is acknowledged by itself. Kept over the turns, so that steady traffic cannot put it off.
    let mut due: Option<Instant> = None;
    loop {
        let received = tokio::select! {
            received = inbox.recv_many(&mut batch, BATCH) => Some(received),
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => None,
        };
        let mut written = Ok(());
        for settlement in batch.drain(..) {
            match settlement.operation {
                Operation::Ack => window.finished(settlement.tag),
                Operation::Retry => written = written.and(nack(&channel, settlement.tag, false).await),
                Operation::Requeue => written = written.and(nack(&channel, settlement.tag, true).await),
            }
            if settlement.operation != Operation::Ack {
                window.settled(settlement.tag);
            }
        }
        if let Some(up_to) = window.take_run() {
            written = written.and(ack(&channel, up_to, true).await);
        }
        if received == Some(0) || due.is_some_and(|due| due <= Instant::now()) {
            for tag in window.take_stragglers() {
                written = written.and(ack(&channel, tag, false).await);
            }
        }
        due = match due {
            _ if !window.has_stragglers() => None,
            None => Some(Instant::now() + STRAGGLER_WAIT),
            kept => kept,
        };
        if let Err(error) = written {
            // Tags die with their channel: the broker delivers again, and Svix drops the repeat by its eventId.
            metrics.settle_failures.inc();
            tracing::warn!(%error, "a settlement did not reach the broker; it delivers those events again");
        }
        if received == Some(0) {
            return;
        }
    }
}

async fn ack(channel: &Channel, tag: u64, multiple: bool) -> lapin::Result<()> {
    channel.basic_ack(tag, BasicAckOptions { multiple }).await
}

async fn nack(channel: &Channel, tag: u64, requeue: bool) -> lapin::Result<()> {
    channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue }).await
}
