//! A whole queue in hand at once, oldest message first, so that the broker has everything back as it was when the look ends,
//! however it ends.
//!
//! A quorum queue puts what comes back behind what came back before, first come, first out (measured on RabbitMQ 3.10): who
//! has less than everything in hand, and dies, leaves a later part in front. Up to 65,535 messages, one consumer takes them in
//! one step. Of more, those that follow may be too late; the next look finds that out and mends it, see [`Look::restore`].

use super::headers::delivery_count;
use futures_util::StreamExt as _;
use lapin::{
    Channel, Connection, Consumer,
    message::Delivery,
    options::{BasicConsumeOptions, BasicQosOptions, QueueDeclareOptions},
    types::FieldTable,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque, btree_map::Entry},
    time::{Duration, Instant},
};

/// Largest prefetch that AMQP can say. Without any, a quorum queue gives 2,000 messages and no more (RabbitMQ 3.10). No
/// consumer may have more than its share: the broker gives what a dead channel's first consumer held to the next one of the
/// same channel, if that has room, and takes it back from there, behind what that held itself.
const MOST_PER_CONSUMER: u16 = u16::MAX;
/// Consumers of one look at most, two million messages. Up to so many the broker keeps in the order of their tags, and gives
/// their messages back in that order.
pub(super) const MAX_CONSUMERS: usize = 32;
/// Messages that one look can have in hand.
pub(super) const MOST: usize = MAX_CONSUMERS * MOST_PER_CONSUMER as usize;
/// A broker that sends nothing more for so long has no more: the count was taken before others took some away. Before it sends
/// the first of many messages, it reads them all from disk.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// Longest wait for others than hookbro that consume the queue. Then both see a part, and order suffers where they are not one
/// after the other; that is better than never being let in by a process that hangs.
const ALONE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often the queue is asked, and how long nobody may be seen: a channel that is ending may be about to consume.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for messages to be back in the queue; two million take seconds.
const BACK_TIMEOUT: Duration = Duration::from_secs(120);

/// Everything that stood in a queue when the look began.
pub(super) struct Look {
    queue: String,
    channel: Channel,
    /// Those that have messages to give, the next one first, and how many.
    consumers: VecDeque<(Consumer, u16)>,
    left: u32,
}

/// How often the broker delivered this one before. Its header may be a publisher's, where the broker has no count to say.
fn times_delivered(delivery: &Delivery) -> i64 {
    if delivery.redelivered { delivery_count(&delivery.properties) } else { 0 }
}

/// What was delivered equally often, in hand of one channel.
struct Level {
    channel: Channel,
    /// Kept until the channel is closed.
    consumers: Vec<(Consumer, u16)>,
    messages: u32,
}

/// How a look can begin.
pub(super) enum Begun {
    Look(Look),
    /// More than may be in hand.
    TooMany(u32),
}

impl Look {
    /// Takes everything in hand on `channel`, which nothing else uses, unless it is more than `most` messages. One look at a
    /// time: whoever calls this holds a lock, by `connection`.
    pub(super) async fn begin(
        connection: &Connection,
        channel: Channel,
        queue: &str,
        most: usize,
    ) -> lapin::Result<Begun> {
        let mut look = Self { queue: queue.to_owned(), channel, consumers: VecDeque::new(), left: 0 };
        look.left = alone(&look.channel, queue).await?;
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        if look.left > most {
            return Ok(Begun::TooMany(look.left));
        }
        if look.left > u32::from(MOST_PER_CONSUMER) {
            look.restore(connection).await?;
        }
        look.consumers = look.take(&look.channel, 0, look.left).await?;
        Ok(Begun::Look(look))
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Messages that stood there at the beginning and have not been given yet.
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
            // What it may still get came later than what stood there at the beginning.
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
            let tag = format!("hookbro.look.{:02}", before + consumers.len());
            let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
            let consumer = channel.basic_consume(self.queue.as_str().into(), tag.into(), options, arguments).await?;
            consumers.push_back((consumer, share));
        }
        Ok(consumers)
    }

    /// Puts in front again what looks that were killed while they began have left behind younger messages.
    ///
    /// Such a look has taken some from the front, which adds one to the broker's count of their deliveries, and they came back
    /// behind the rest. So of two messages the older has been delivered as often as the younger or more often, and among
    /// equals the queue has them in their order; that stays so after any number of killed looks and killed restorations.
    /// Those that were delivered equally often are taken by a channel of their own, and the channels closed one after
    /// another. Returning messages by `basic.nack` would not do: of more than 32 that it hears of together, the queue keeps no
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
            tracing::warn!(queue = self.queue, blocks = blocks.len(), "the order of so many parts is left as it is");
            return Ok(());
        }
        tracing::info!(queue = self.queue, blocks = blocks.len(), "restoring the order that killed looks have left");
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

    /// Closes `channel`, and waits until what it had in hand has made `ready` messages ready again.
    async fn give_back(&self, channel: &Channel, ready: u32) -> lapin::Result<()> {
        channel.close(200, "hookbro has looked".into()).await?;
        let began = Instant::now();
        while self.stands().await?.0 < ready && began.elapsed() < BACK_TIMEOUT {
            tokio::time::sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    /// Ready messages, and consumers.
    pub(super) async fn stands(&self) -> lapin::Result<(u32, u32)> {
        stands(&self.channel, &self.queue).await
    }
}

/// Waits until nobody else consumes, and says how many messages are ready then. Who was killed just now holds messages
/// until the broker has noticed; a look that begins before would have the later ones first, and leave them so.
pub(super) async fn alone(channel: &Channel, queue: &str) -> lapin::Result<u32> {
    let (began, mut seen) = (Instant::now(), true);
    loop {
        let (messages, consumers) = stands(channel, queue).await?;
        let before = std::mem::replace(&mut seen, consumers > 0);
        if !(before || seen) || began.elapsed() > ALONE_TIMEOUT {
            return Ok(messages);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Ready messages, and consumers. The broker answers after it has read what was sent on the channel before.
pub(super) async fn stands(channel: &Channel, queue: &str) -> lapin::Result<(u32, u32)> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let stands = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    Ok((stands.message_count(), stands.consumer_count()))
}
