//! Parked events as operators see and move them, on a connection of their own.

use super::{
    index,
    reader::{LotError, LotReader},
};
use crate::{
    event::{Dead, DeadReason, Event, EventId, ProjectId},
    operate::{
        parked::{Action, Lot, Onward, ParkedError, ParkedEvents, Selection},
        progress::Progress,
    },
    sources::rabbitmq::{
        connect::{Connector, close, not_found},
        headers::{dead_properties, fresh_properties, parked_at, parked_reason},
        publish::Publisher,
        settings::Access,
        topology::Topology,
        transfer::{Claim, Reader as _, Successor, Transfer, Transferred},
    },
};
use bytes::Bytes;
use lapin::{BasicProperties, Channel, Connection, message::Delivery, options::BasicGetOptions};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// The attempts of an event that an operator gives up: those before it was parked are not known.
const NO_ATTEMPT: u8 = 0;

/// The queues of parked events of one topology.
#[derive(Debug)]
pub struct ParkedEventQueues {
    connector: Connector,
    access: Access,
    topology: Topology,
    stop: CancellationToken,
}

/// A queue of parked events, and which of them are meant.
struct Place {
    queue: String,
    /// Those of these projects alone; empty: all.
    of: Vec<ProjectId>,
}

impl ParkedEventQueues {
    /// What is under way when `stop` comes ends early.
    pub fn new(access: Access, topology: Topology, stop: CancellationToken) -> Self {
        Self { connector: Connector::new(access.clone()), access, topology, stop }
    }

    async fn connection(&self) -> Result<Connection, ParkedError> {
        let connection = self.connector.connect("hookbro parked").await;
        connection.map_err(|error| away(&error.into()))
    }

    fn publisher(&self) -> Arc<Publisher> {
        Arc::new(Publisher::new(self.access.clone(), "hookbro parked"))
    }

    async fn projects(&self, publisher: &Publisher) -> Result<Vec<ProjectId>, LotError> {
        Ok(index::read(&self.connector, &self.topology, publisher).await?)
    }

    /// The queues in which selected events may lie: each project's own, and the one that is shared.
    async fn places(&self, selection: &Selection, publisher: &Publisher) -> Result<Vec<Place>, LotError> {
        let own = match selection.projects.as_slice() {
            [] => self.projects(publisher).await?,
            projects => projects.to_vec(),
        };
        let whole = |project: &ProjectId| Place { queue: self.topology.lot(project), of: Vec::new() };
        let shared = Place { queue: self.topology.lot_of_others(), of: selection.projects.clone() };
        Ok(own.iter().map(whole).chain([shared]).collect())
    }

    async fn lots_on(&self, connection: &Connection, publisher: &Publisher) -> Result<Vec<Lot>, LotError> {
        let own =
            self.projects(publisher).await?.into_iter().map(|project| (self.topology.lot(&project), Some(project)));
        let mut first = First { connection, channel: None };
        let mut lots = Vec::new();
        for (queue, project) in own.chain([(self.topology.lot_of_others(), None)]) {
            if let Some((delivery, events)) = first.of(&queue).await? {
                let (since, reason) = (parked_at(&delivery.properties), parked_reason(&delivery.properties));
                lots.push(Lot { project, events, since, reason });
            }
        }
        first.close().await?;
        Ok(lots)
    }

    async fn count_on(&self, connection: &Connection, selection: &Selection) -> Result<u64, LotError> {
        let publisher = self.publisher();
        let places = self.places(selection, &publisher).await;
        publisher.close().await;
        let mut events = 0;
        for place in places? {
            let Some(mut reader) = LotReader::open(connection, place.queue.clone()).await? else { continue };
            if place.of.is_empty() {
                events += u64::from(reader.left());
                continue;
            }
            while let Some(delivery) = reader.next().await? {
                events += u64::from(place.has(&Bytes::from(delivery.data)));
            }
            reader.close_after_removing().await?;
        }
        Ok(selection.limit.map_or(events, |limit| events.min(limit)))
    }

    /// Moves what is selected; answers how many, and why it ended early if it did.
    async fn send_on(
        &self,
        connection: &Connection,
        onward: &Onward,
        selection: &Selection,
        progress: &Progress,
    ) -> (u64, Result<(), String>) {
        let publisher = self.publisher();
        let (mut moved, mut left) = (0, selection.limit.unwrap_or(u64::MAX));
        let sending = async {
            let places = self.places(selection, &publisher).await.map_err(|error| error.to_string())?;
            for place in places {
                let opened = LotReader::open(connection, place.queue.clone()).await;
                let Some(reader) = opened.map_err(|error| error.to_string())? else { continue };
                progress.begin(progress.total() + u64::from(reader.left()).min(left));
                let mut transfer = Transfer::new(reader, Arc::clone(&publisher));
                while left > 0
                    && !self.stop.is_cancelled()
                    && let Some(delivery) = transfer.next().await
                {
                    progress.examine();
                    progress.changed_so_far(moved + transfer.moved());
                    let Delivery { delivery_tag, routing_key, properties, data, .. } = delivery;
                    let body = Bytes::from(data);
                    if place.has(&body) {
                        left -= 1;
                        let successor = self.successor(routing_key.to_string(), &properties, body, onward);
                        transfer.send(Claim(delivery_tag), successor);
                    }
                }
                let Transferred { moved: of_this, stopped_by } = transfer.finish().await;
                moved += of_this;
                progress.changed_so_far(moved);
                if let Some(error) = stopped_by {
                    return Err(error.to_string());
                }
                if self.stop.is_cancelled() {
                    return Err("hookbro is stopping".to_owned());
                }
            }
            Ok(())
        };
        let sent = sending.await;
        publisher.close().await;
        (moved, sent)
    }

    /// What takes the place of a parked event.
    fn successor(&self, routing_key: String, properties: &BasicProperties, body: Bytes, onward: &Onward) -> Successor {
        let (exchange, properties) = match onward {
            Onward::Release => (self.topology.entry(&routing_key), fresh_properties(properties)),
            Onward::GiveUp(cause) => {
                let (project, event_id) = names(&body);
                let dead = Dead { reason: DeadReason::Exhausted, cause: cause.clone(), project, event_id };
                (self.topology.copies(), dead_properties(properties, &dead, NO_ATTEMPT))
            }
        };
        Successor { exchange: exchange.to_owned(), routing_key, properties, body }
    }
}

impl Place {
    fn has(&self, body: &Bytes) -> bool {
        self.of.is_empty() || names(body).0.is_some_and(|project| self.of.contains(&project))
    }
}

/// The project and the id of an event.
fn names(body: &Bytes) -> (Option<ProjectId>, Option<EventId>) {
    match Event::parse(body.clone(), usize::MAX) {
        Ok(event) => (Some(event.project), Some(event.id)),
        Err(rejected) => (rejected.project, rejected.id),
    }
}

/// Looks at the first message of queues; they stay unsettled on one channel until it is closed.
struct First<'c> {
    connection: &'c Connection,
    channel: Option<Channel>,
}

impl First<'_> {
    /// The first message, and how many there are; none if there is none, or no such queue.
    async fn of(&mut self, queue: &str) -> Result<Option<(Delivery, u64)>, LotError> {
        let failed = |source| LotError::Read { queue: queue.to_owned(), source };
        let channel = match self.channel.take() {
            Some(channel) => channel,
            None => self.connection.create_channel().await.map_err(failed)?,
        };
        match channel.basic_get(queue.into(), BasicGetOptions::default()).await {
            Ok(taken) => {
                self.channel = Some(channel);
                Ok(taken.map(|taken| (taken.delivery, u64::from(taken.message_count) + 1)))
            }
            // The channel is gone with it.
            Err(error) if not_found(&error).is_some() => Ok(None),
            Err(source) => Err(failed(source)),
        }
    }

    async fn close(self) -> Result<(), LotError> {
        let Some(channel) = self.channel else { return Ok(()) };
        let closed = channel.close(200, "hookbro has looked".into()).await;
        closed.map_err(|source| LotError::Read { queue: "of parked events".to_owned(), source })
    }
}

fn away(error: &LotError) -> ParkedError {
    ParkedError::Away(error.to_string())
}

impl ParkedEvents for ParkedEventQueues {
    async fn lots(&self) -> Result<Vec<Lot>, ParkedError> {
        let connection = self.connection().await?;
        let publisher = self.publisher();
        let lots = self.lots_on(&connection, &publisher).await;
        publisher.close().await;
        close(connection).await;
        lots.map_err(|error| away(&error))
    }

    async fn count(&self, selection: &Selection) -> Result<u64, ParkedError> {
        let connection = self.connection().await?;
        let events = self.count_on(&connection, selection).await;
        close(connection).await;
        events.map_err(|error| away(&error))
    }

    async fn send(&self, onward: &Onward, selection: &Selection, progress: &Progress) -> Result<u64, ParkedError> {
        let connection = self.connection().await?;
        let (done, sent) = self.send_on(&connection, onward, selection, progress).await;
        close(connection).await;
        let action = match onward {
            Onward::Release => Action::Release,
            Onward::GiveUp(_) => Action::GiveUp,
        };
        sent.map(|()| done).map_err(|why| ParkedError::Midway { action, done, why })
    }
}
