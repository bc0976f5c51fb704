//! Walking pages of events by cursor, newest first.

use super::{
    api::{Api, ApiError, Told},
    filter::Pair,
};
use crate::operate::told::Page;

/// Events of a page at most; the API gives no more.
pub(super) const PAGE: usize = 200;

/// A walk from the newest event backwards.
#[derive(Debug)]
pub(super) struct Pages<'a> {
    api: &'a Api,
    query: Vec<Pair>,
    from: From,
}

#[derive(Debug)]
enum From {
    Newest,
    Cursor(String),
    Ended,
}

impl<'a> Pages<'a> {
    pub(super) fn new(api: &'a Api, query: Vec<Pair>) -> Self {
        Self { api, query, from: From::Newest }
    }

    /// The next page, which may be empty though others follow; none after the last. `wanted` more events are of use.
    pub(super) async fn next(&mut self, wanted: usize) -> Result<Option<Told<Page>>, ApiError> {
        let mut query = self.query.clone();
        query.push(("limit", wanted.clamp(1, PAGE).to_string()));
        match &self.from {
            From::Newest => {}
            From::Cursor(cursor) => query.push(("cursor", cursor.clone())),
            From::Ended => return Ok(None),
        }
        let told: Told<Page> = self.api.get(&["events"], &query).await?;
        self.from = match (&self.from, &told.what.next) {
            (_, None) => From::Ended,
            // It would never end.
            (From::Cursor(before), Some(next)) if before == next => {
                return Err(self.api.foreign("its pages lead back to themselves"));
            }
            (_, Some(next)) => From::Cursor(next.clone()),
        };
        Ok(Some(told))
    }
}
