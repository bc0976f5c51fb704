//! The source: one connection, and what has arrived on it.

use super::{
    Defect,
    link::{Away, Inner, Link},
    receipt::{SimReceipt, delivery},
    state::Place,
};
use hookbro::pipeline::{
    delivery::Delivery,
    source::{Connect, Demand, Ended, NotOpen, Occasion, Source},
};
use std::{convert::Infallible, sync::Arc};

pub struct SimSource {
    link: Arc<Inner>,
    connection: u64,
    demand: Demand,
}

impl SimSource {
    fn take(&self) -> Result<Option<Delivery<SimReceipt>>, Away> {
        let Self { link, connection, .. } = self;
        let taken = link.on(*connection, |state, _| state.arrived(*connection))?;
        Ok(taken.map(|(tag, rung, message)| delivery(link, *connection, tag, Place::Rung(rung), message)))
    }

    fn end(&self) {
        self.link.broker.change(|state, now| state.close(now, self.connection));
    }
}

impl Source for SimSource {
    type Receipt = SimReceipt;

    async fn set_demand(&mut self, demand: Demand) -> Result<(), Ended> {
        if demand != self.demand {
            self.link.broker.travel().await;
            self.demand = demand;
            let ignores = self.link.broker.0.fate.defect() == Some(Defect::IgnoresPrefetch);
            let room = |prefetch: &usize| match demand {
                Demand::Nothing => 0,
                Demand::One => 1,
                Demand::Full if ignores => 2 * prefetch,
                Demand::Full => *prefetch,
            };
            self.link.broker.change(|state, _| {
                let room = state.rules.prefetch.iter().map(room).collect();
                state.allow(self.connection, room);
            });
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Delivery<SimReceipt>, Ended> {
        let link = Arc::clone(&self.link);
        loop {
            // Changes count from here on.
            let changed = link.broker.0.changed.notified();
            if let Some(delivery) = self.take().map_err(Ended::new)? {
                return Ok(delivery);
            }
            let due = link.broker.state().due();
            tokio::select! {
                biased;
                () = changed => {}
                () = async { tokio::time::sleep_until(due.unwrap()).await }, if due.is_some() => {}
            }
        }
    }

    fn next_arrived(&mut self) -> Option<Delivery<SimReceipt>> {
        self.take().ok().flatten()
    }

    fn connected(&self) -> bool {
        self.link.broker.state().is_connected(self.connection)
    }

    async fn abandon(self) {
        self.end();
    }

    async fn close(self) {
        self.end();
    }
}

impl Connect for Link {
    type Source = SimSource;
    type Fatal = Infallible;

    async fn open(&self, _: Occasion) -> Result<SimSource, NotOpen<Infallible>> {
        let connection = self.0.connect().await.map_err(|away| NotOpen::Now(away.into()))?;
        Ok(SimSource { link: Arc::clone(&self.0), connection, demand: Demand::Nothing })
    }

    async fn close(&self) {}
}
