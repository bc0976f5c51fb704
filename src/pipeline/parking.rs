//! The seam to where events lie that may not be sent now.
//!
//! A [`super::delivery::Receipt`] sets an event aside, since only it can tie the copy to the original; a [`Parking`] gives
//! back what may go.

use crate::event::ProjectId;
use std::error::Error;

/// What a pass over the parked events came to.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Events on their way again, each confirmed before it left its place.
    pub released: u64,
    /// Events that stay, since they may not go yet.
    pub kept: u64,
    /// Events that were not looked at, since the pass was to end.
    pub left: u32,
}

/// Why a pass ended early. What was not confirmed on its way is where it was.
#[derive(Debug, thiserror::Error)]
pub enum NotPassed {
    /// Another process releases parked events at this moment.
    #[error("another process releases parked events")]
    Busy,
    /// More events stay than a pass can step over.
    #[error(transparent)]
    TooMany(Box<dyn Error + Send + Sync>),
    #[error(transparent)]
    Failed(Box<dyn Error + Send + Sync>),
}

/// Gives parked events back, in the order in which they were set aside.
pub trait Parking: Send + Sync + 'static {
    /// One pass from the oldest event to the newest that lies there when it begins: `stays` says whose events it steps over,
    /// `goes_on` whether it goes on. A released event begins with its first attempt again.
    fn release(
        &self,
        stays: impl Fn(&ProjectId) -> bool + Send + Sync,
        goes_on: impl Fn() -> bool + Send + Sync,
    ) -> impl Future<Output = Result<Passed, NotPassed>> + Send;

    /// Events that lie there, as far as this process knows.
    fn parked(&self) -> u64;

    /// Says goodbye.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
