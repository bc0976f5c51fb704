//! A snapshot of a queue: every message delivered and unsettled at once, oldest first. When the snapshot ends, however it ends,
//! the broker has everything back as it was.
//!
//! A quorum queue puts what comes back behind what came back before, first come, first out (measured on RabbitMQ 3.10): a
//! process that has less than everything unsettled, and dies, leaves a later part in front. One consumer takes up to 65,535
//! messages in one step. Of more, those that follow may be too late; the next snapshot finds that out and mends it, see
//! [`Snapshot::restore`].

use crate::sources::rabbitmq::{
    exclusive::{ASK_EVERY, alone, counts},
    headers::delivery_count,
};
use futures_util::StreamExt as _;
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    time::{Duration, Instant},
};

/// Largest prefetch that AMQP can express. Without any, a quorum queue gives 2,000 messages and no more (RabbitMQ 3.10). No
/// consumer may have more than its share: the broker gives the unsettled messages of a dead channel's first consumer to the next
/// one of the same channel, if that has room, and takes them back from there, behind that one's own.
const MOST_PER_CONSUMER: u16 = u16::MAX;
/// Consumers of one snapshot at most, two million messages. The broker keeps up to so many in the order of their tags, and takes
/// their messages back in that order.
pub const MAX_CONSUMERS: usize = 32;
/// Messages that one snapshot can hold.
pub(super) const MOST: usize = MAX_CONSUMERS * MOST_PER_CONSUMER as usize;
/// A broker that sends nothing more for so long has no more: others took some away after the count. Before it sends the first of
/// many messages, it reads them all from disk.
pub const IDLE: Duration = Duration::from_secs(10);
/// Longest wait for messages to be back in the queue; two million take seconds.
const BACK_TIMEOUT: Duration = Duration::from_secs(120);

/// Everything that was in a queue when the snapshot began.
pub(super) struct Snapshot {
    queue: String,
    channel: Channel,
    /// Those that still have messages to give, the next one first, and how many.
    consumers: VecDeque<(Consumer, u16)>,
    left: u32,
}

/// How often the broker delivered this one before. The header may be a publisher's where the broker has counted nothing.
fn times_delivered(delivery: &Delivery) -> i64 {
    if delivery.redelivered { delivery_count(&delivery.properties) } else { 0 }
}

/// Messages that were delivered equally often, unsettled on one channel.
struct Level {
    channel: Channel,
    /// Kept until the channel is closed.
    consumers: Vec<(Consumer, u16)>,
    messages: u32,
}

/// How a snapshot can begin.
pub(super) enum Begun {
    Snapshot(Snapshot),
    /// The queue holds so many, more than were allowed.
    TooMany(u32),
}

impl Snapshot {
    /// Takes everything on `channel`, which nothing else uses, unless it is more than `most` messages. One snapshot at a
    /// time: whoever calls this holds a lock, by `connection`.
    pub(super) async fn begin(
        connection: &Connection,
        channel: Channel,
        queue: &str,
        most: usize,
    ) -> lapin::Result<Begun> {
        let mut snapshot = Self { queue: queue.to_owned(), channel, consumers: VecDeque::new(), left: 0 };
        snapshot.left = alone(&snapshot.channel, queue).await?;
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        if snapshot.left > most {
            return Ok(Begun::TooMany(snapshot.left));
        }
        if snapshot.left > u32::from(MOST_PER_CONSUMER) {
            snapshot.restore(connection).await?;
        }
        snapshot.consumers = snapshot.take(&snapshot.channel, 0, snapshot.left).await?;
        Ok(Begun::Snapshot(snapshot))
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Messages that were there at the beginning and have not been given yet.
    pub(super) fn left(&self) -> u32 {
        self.left
    }

    /// The next message, oldest first. Safe to drop while it waits.
    pub(super) async fn next(&mut self) -> lapin::Result<Option<Delivery>> {
        while let Some((consumer, share)) = self.consumers.front_mut().filter(|_| self.left > 0) {
            if *share > 0
                && let Ok(Some(delivery)) = tokio::time::timeout(IDLE, consumer.next()).await
            {
                let delivery = delivery?;
                (self.left, *share) = (self.left - 1, *share - 1);
                return Ok(Some(delivery));
            }
            // What it may still get came after the snapshot began.
            self.consumers.pop_front();
        }
        Ok(None)
    }

    /// Consumes so many of the queue's first messages, with as many consumers as it takes.
    async fn take(&self, channel: &Channel, before: usize, messages: u32) -> lapin::Result<VecDeque<(Consumer, u16)>> {
        let (mut consumers, mut rest) = (VecDeque::new(), messages);
        while rest > 0 {
            let share = u16::try_from(rest).unwrap_or(MOST_PER_CONSUMER);
            rest -= u32::from(share);
            // The prefetch is that of consumers that begin after it.
            channel.basic_qos(share, BasicQosOptions::default()).await?;
            let tag = format!("hookbro.snapshot.{:02}", before + consumers.len());
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = channel.basic_consume(self.queue.as_str().into(), tag.into(), options, arguments).await?;
            consumers.push_back((consumer, share));
        }
        Ok(consumers)
    }

    /// Restores the order where a process was killed while its snapshot began, and left older messages behind younger ones.
    ///
    /// Such a snapshot has taken some from the front, which adds one to the broker's count of their deliveries, and they came back
    /// behind the rest. So of two messages the older has been delivered as often as the younger or more often, and among
    /// equals the queue has them in their order; that stays so after any number of killed snapshots and killed restorations.
    /// Those that were delivered equally often are taken by a channel of their own, and the channels closed one after
    /// another. Returning messages by `basic.nack` would not do: of more than 32 that arrive together, the queue keeps no
    /// order.
    async fn restore(&mut self, connection: &Connection) -> lapin::Result<()> {
        let mut blocks: Vec<(i64, u32)> = Vec::new();
        self.consumers = self.take(&self.channel, 0, self.left).await?;
        while let Some(delivery) = self.next().await? {
            let times = times_delivered(&delivery);
            match blocks.last_mut() {
                Some((of, messages)) if *of == times => *messages += 1,
                _ => blocks.push((times, 1)),
            }
        }
        self.left = blocks.iter().map(|(_, messages)| messages).sum();
        let read = std::mem::replace(&mut self.channel, connection.create_channel().await?);
        self.give_back(&read, self.left).await?;
        self.consumers.clear();
        if blocks.is_sorted_by_key(|(times, _)| Reverse(*times)) {
            return Ok(());
        }
        if blocks.len() > MAX_CONSUMERS {
            tracing::warn!(
                queue = self.queue,
                blocks = blocks.len(),
                "dead-letter queue has too many parts out of order to sort them; it keeps the order it has"
            );
            return Ok(());
        }
        tracing::info!(
            queue = self.queue,
            blocks = blocks.len(),
            "restoring the order of the dead-letter queue, which a killed process disturbed"
        );
        let mut levels: BTreeMap<Reverse<i64>, Level> = BTreeMap::new();
        for (times, messages) in blocks {
            let level = match levels.entry(Reverse(times)) {
                Entry::Occupied(level) => level.into_mut(),
                Entry::Vacant(place) => {
                    let channel = connection.create_channel().await?;
                    place.insert(Level { channel, consumers: Vec::new(), messages: 0 })
                }
            };
            level.consumers.extend(self.take(&level.channel, level.consumers.len(), messages).await?);
            level.messages += messages;
        }
        let mut back = 0;
        for level in levels.values() {
            back += level.messages;
            self.give_back(&level.channel, back).await?;
        }
        Ok(())
    }

    /// Closes `channel`, and waits until the messages that it returns make `ready` messages ready again.
    async fn give_back(&self, channel: &Channel, ready: u32) -> lapin::Result<()> {
        channel.close(200, "hookbro returns its messages".into()).await?;
        let began = Instant::now();
        while counts(&self.channel, &self.queue).await?.0 < ready && began.elapsed() < BACK_TIMEOUT {
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }
}
