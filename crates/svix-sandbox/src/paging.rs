//! Query strings and pages of lists.
//!
//! Known traps of the original, kept: `limit=0` says there is more and gives no way to get it, and the iterator is set
//! on the last page too.

use axum::extract::Query;
use hyper::{StatusCode, Uri};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::answers::{Answer, Flaw};

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 250;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Order {
    #[default]
    Ascending,
    Descending,
}

/// Which part of a list is asked for.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) limit: usize,
    /// The id after which (or before which) the page starts.
    pub(super) from: Option<String>,
    /// Towards the start of the list: the iterator had a minus sign.
    pub(super) back: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    data: Vec<T>,
    iterator: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_iterator: Option<String>,
    done: bool,
}

pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Answer> {
    let refuse = |text: &str| Answer::error(StatusCode::BAD_REQUEST, "generic_error", text);
    match Query::try_from_uri(uri) {
        Ok(Query(query)) => Ok(query),
        Err(err) => Err(refuse(&err.body_text())),
    }
}

impl Page {
    pub(super) fn new(limit: Option<usize>, iterator: Option<&str>, prefix: &str) -> Result<Self, Answer> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if limit > MAX_LIMIT {
            let flaw = Flaw::value(&["query", "limit", "limit"], "Given limit must not exceed 250");
            return Err(Answer::invalid(vec![flaw]));
        }
        let back = iterator.is_some_and(|text| text.starts_with('-'));
        let from = iterator.map(|text| text.strip_prefix('-').unwrap_or(text));
        if from.is_some_and(|id| !id.starts_with(prefix)) {
            let flaw = Flaw::value(&["query", "iterator", "__all__"], "Invalid id. Expected different prefix");
            return Err(Answer::invalid(vec![flaw]));
        }
        Ok(Self { limit, from: from.map(str::to_owned), back })
    }

    /// Cuts the page from `items`, which start right behind the iterator and run in the page's direction.
    pub(super) fn cut<T, I>(&self, items: I, id: impl Fn(&T) -> &str) -> List<T>
    where
        I: Iterator<Item = T>,
    {
        self.cut_by(items, |item| id(item).to_owned())
    }

    /// As [`Page::cut`], where the id is no part of the item.
    pub(super) fn cut_by<T, I>(&self, items: I, id: impl Fn(&T) -> String) -> List<T>
    where
        I: Iterator<Item = T>,
    {
        let mut data: Vec<T> = items.take(self.limit + 1).collect();
        let done = data.len() <= self.limit;
        data.truncate(self.limit);
        if self.back {
            data.reverse();
        }
        let iterator = data.last().map(&id);
        let prev_iterator = data.first().map(|item| format!("-{}", id(item)));
        List { data, iterator, prev_iterator, done }
    }
}
