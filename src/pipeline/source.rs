//! The seam to whatever gives events: a broker, a batch, or a queue in memory.
//!
//! A [`Connect`] opens one [`Source`] after another; each lives until its far side goes away. What a source can do with a
//! delivery — delay it, park it, dead-letter it — lies in its [`Receipt`], not in flags.

use super::delivery::{Delivery, Receipt};
use std::error::Error;

/// How many deliveries may be unsettled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Demand {
    Nothing,
    /// One for each queue that the source reads: enough to find out whether the sink is back.
    One,
    /// As many as the source's own settings allow.
    Full,
}

/// Whose word counts where replicas are configured differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// A process that starts has the configuration that is wanted now.
    Start,
    /// One that only lost its connection may be the older: it leaves what another has arranged since.
    Return,
}

/// Why no source could be opened.
#[derive(Debug)]
pub enum NotOpen<F> {
    /// No wait mends it: the process ends with this error.
    Fatal(F),
    /// It may work later.
    Now(Box<dyn Error + Send + Sync>),
}

/// Why a source ended unasked; its unsettled deliveries are with the far side again.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Ended(Box<dyn Error + Send + Sync>);

impl Ended {
    pub fn new(why: impl Error + Send + Sync + 'static) -> Self {
        Self(Box::new(why))
    }
}

/// Yields deliveries until it ends.
pub trait Source: Send + 'static {
    type Receipt: Receipt;

    /// Says how much may be taken from now on. What arrived before still comes out of [`Source::next`].
    fn set_demand(&mut self, demand: Demand) -> impl Future<Output = Result<(), Ended>> + Send;

    /// The next delivery. Safe to drop while it waits. What the far side itself has made a dead letter comes once more, given up,
    /// whatever the demand.
    fn next(&mut self) -> impl Future<Output = Result<Delivery<Self::Receipt>, Ended>> + Send;

    /// A delivery that has arrived already, without waiting for one.
    fn next_arrived(&mut self) -> Option<Delivery<Self::Receipt>>;

    /// Whether the far side is there, as far as this side can see.
    fn connected(&self) -> bool;

    /// Ends a source that is of no use any more. What is unsettled goes back to the far side.
    fn abandon(self) -> impl Future<Output = ()> + Send;

    /// Writes what is settled and closes. Every receipt must be gone by then.
    fn close(self) -> impl Future<Output = ()> + Send;
}

/// Opens sources, one after another.
pub trait Connect: Send + Sync + 'static {
    type Source: Source;
    type Fatal: Error + Send + Sync + 'static;

    /// Opens a source that takes nothing yet.
    fn open(&self, occasion: Occasion) -> impl Future<Output = Result<Self::Source, NotOpen<Self::Fatal>>> + Send;

    /// Closes whatever is kept from one source to the next.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
