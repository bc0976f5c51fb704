//! The parking: a lot for each project, read one message at a time.

use super::{
    Defect, Why,
    link::{Inner, Link},
    receipt::{SimReceipt, delivery},
    state::{Operation, Place},
};
use hookbro::{
    event::ProjectId,
    pipeline::parking::{Look, Lot, NotNow, Oldest, Parking, Whose},
};
use jiff::Timestamp;
use std::sync::Arc;

pub struct SimLot {
    link: Arc<Inner>,
    connection: u64,
    place: Place,
}

impl Parking for Link {
    type Receipt = SimReceipt;
    type Lot = SimLot;

    async fn lots(&self) -> Result<Vec<ProjectId>, NotNow> {
        let connection = self.0.connect().await?;
        let lots = self.0.on(connection, |state, now| {
            state.close(now, connection);
            state.lots.clone()
        })?;
        if self.0.broker.0.fate.defect() == Some(Defect::ForgetsLots) {
            return Ok(Vec::new());
        }
        self.0.known.lock().unwrap().extend(lots.iter().cloned());
        Ok(lots.into_iter().collect())
    }

    fn has_lot(&self, project: &ProjectId) -> bool {
        self.0.known.lock().unwrap().contains(project)
    }

    async fn open(&self, whose: Whose<'_>) -> Result<SimLot, NotNow> {
        let place = match whose {
            Whose::Project(project) => Place::Lot(project.clone()),
            Whose::Others => Place::Others,
        };
        Ok(SimLot { link: Arc::clone(&self.0), connection: self.0.parking().await?, place })
    }

    async fn close(&self) {
        let connection = self.0.parking.lock().unwrap().take();
        if let Some(connection) = connection {
            self.0.broker.change(|state, now| state.close(now, connection));
        }
    }
}

impl Lot for SimLot {
    type Receipt = SimReceipt;

    async fn take(&mut self) -> Result<Option<Oldest<SimReceipt>>, NotNow> {
        let Self { link, connection, place } = self;
        link.broker.travel().await;
        let acks = link.broker.0.fate.defect() == Some(Defect::LotsAckAtOnce);
        let (taken, left) = link.on(*connection, |state, now| {
            let taken = state.take(now, *connection, place.clone(), link.process);
            if let (true, Some((tag, _))) = (acks, &taken) {
                state.write(now, now, *tag, Operation::Ack(Why::Copied));
            }
            (taken, state.ready(place) as u64)
        })?;
        // Who does not wait for the answer never learns of it.
        link.broker.travel().await;
        let Some((tag, message)) = taken else { return Ok(None) };
        let since = message.parked;
        Ok(Some(Oldest { delivery: delivery(link, *connection, tag, place.clone(), message), since, left }))
    }

    async fn take_overdue(&mut self, limit: Timestamp) -> Result<Look<SimReceipt>, NotNow> {
        self.link.broker.travel().await;
        let first = self.link.on(self.connection, |state, _| state.first(&self.place).map(|first| first.parked))?;
        match first {
            None => Ok(Look::Empty),
            Some(since) if since.is_none_or(|since| since > limit) => Ok(Look::Stays(since)),
            Some(_) => Ok(self.take().await?.map_or(Look::Empty, |oldest| Look::Overdue(Box::new(oldest)))),
        }
    }

    async fn count(&mut self) -> Result<u64, NotNow> {
        let Self { link, connection, place } = self;
        link.broker.travel().await;
        Ok(link.on(*connection, |state, _| state.ready(place) as u64)?)
    }
}
