//! The shapes of what admin calls answer; fields that are not needed here are skipped.

use super::call::AdminError;
use crate::sinks::svix::{
    application::{Application, MARK},
    route::AppId,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::StatusCode;
use serde::Deserialize;
use std::{collections::HashMap, fmt};

#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    pub(super) iterator: Option<String>,
    pub(super) done: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ApplicationOut {
    id: String,
    uid: Option<String>,
    name: String,
    created_at: Option<String>,
    #[serde(default)]
    metadata: HashMap<String, String>,
}

/// Where an application's messages are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    pub id: String,
    pub url: String,
    #[serde(default)]
    pub disabled: bool,
    /// The event types that it wants; `None`: all.
    pub filter_types: Option<Vec<String>>,
}

#[derive(Deserialize)]
pub(super) struct Portal {
    pub(super) url: String,
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Portal")
    }
}

impl ApplicationOut {
    /// Its id becomes part of paths, so it must be one.
    pub(super) fn checked(self) -> Result<Application, AdminError> {
        let foreign = |_| AdminError::Foreign { doing: "read an application", status: StatusCode::OK };
        let id = AppId::try_new(self.id).map_err(foreign)?;
        let marked = self.metadata.get(MARK.0).is_some_and(|by| by == MARK.1);
        Ok(Application { id, uid: self.uid, name: self.name, created_at: self.created_at, marked })
    }
}

/// A value of a query string.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
