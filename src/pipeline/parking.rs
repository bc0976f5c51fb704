//! The seam to where events lie that may not be sent now: a lot for each project.
//!
//! A [`super::delivery::Receipt`] sets an event aside, since only it can tie the copy to the original; a [`Parking`] gives the
//! events of one lot back, oldest first, one at a time and only when asked.

use super::delivery::{Delivery, Receipt};
use crate::event::ProjectId;
use jiff::Timestamp;
use std::error::Error;

/// Why a lot or the list of lots cannot be had now. Nothing is lost by it: what lay there still does.
pub type NotNow = Box<dyn Error + Send + Sync>;

/// Whose lot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose<'a> {
    Project(&'a ProjectId),
    /// All projects that have none of their own: new ones that may not be created yet, and those beyond what the far side can
    /// bear.
    Others,
}

/// Where events are parked.
pub trait Parking: Send + Sync + 'static {
    type Receipt: Receipt;
    type Lot: Lot<Receipt = Self::Receipt>;

    /// The projects that have a lot of their own, whoever made it. A lot may be empty.
    fn lots(&self) -> impl Future<Output = Result<Vec<ProjectId>, NotNow>> + Send;

    /// Whether `project` has a lot of its own, as far as this process knows.
    fn has_lot(&self, project: &ProjectId) -> bool;

    /// Opens a lot, to take events out of it.
    fn open(&self, whose: Whose<'_>) -> impl Future<Output = Result<Self::Lot, NotNow>> + Send;

    /// Says goodbye.
    fn close(&self) -> impl Future<Output = ()> + Send;
}

/// The event of a lot that was parked first.
#[derive(Debug)]
pub struct Oldest<R: Receipt> {
    pub delivery: Delivery<R>,
    /// Since when it has been parked, if that is known: an event that is parked again has been so since the first time.
    pub since: Option<Timestamp>,
    /// Events that are left in the lot.
    pub left: u64,
}

/// Whether the oldest event of a lot is overdue.
#[derive(Debug)]
pub enum Look<R: Receipt> {
    /// It is, and is taken.
    Overdue(Box<Oldest<R>>),
    /// It is not, and stays where it is; since when it has been parked, if that is known.
    Stays(Option<Timestamp>),
    Empty,
}

/// The parked events of one lot. Dropped, it takes no more; what it has given is settled all the same.
pub trait Lot: Send + 'static {
    type Receipt: Receipt;

    /// The oldest event, with its first attempt before it; none if the lot is empty.
    fn take(&mut self) -> impl Future<Output = Result<Option<Oldest<Self::Receipt>>, NotNow>> + Send;

    /// Takes the oldest event only if it has been parked since `limit` or longer.
    fn take_overdue(&mut self, limit: Timestamp) -> impl Future<Output = Result<Look<Self::Receipt>, NotNow>> + Send;

    /// How many events lie there and are not taken.
    fn count(&mut self) -> impl Future<Output = Result<u64, NotNow>> + Send;
}
