//! What a query string asks for: every parameter known, each checked, and said by name when it is wrong.

use crate::http::problem::Problem;
use axum::http::StatusCode;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Entries of a page: by default, and at most.
const LIMIT: usize = 50;
const MAX_LIMIT: usize = 200;
/// Longest value: identifiers have at most 256 bytes.
const MAX_VALUE: usize = 256;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads `query`; refuses what is not among `known`, what stands twice, and what no identifier could be.
    pub fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut params = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let name: String = name.chars().take(40).collect();
                return Err(refuse(&name, &format!("is no parameter here; there are {}", known.join(", "))));
            }
            if value.is_empty() || value.len() > MAX_VALUE || value.chars().any(char::is_control) {
                return Err(refuse(&name, "must have 1 to 256 bytes and no control characters"));
            }
            if params.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(refuse(&name, "is given twice"));
            }
        }
        Ok(Self(params))
    }

    pub fn text(&self, name: &str) -> Option<&String> {
        self.0.get(name)
    }

    /// An identifier, of the one alphabet that Svix takes.
    pub fn ident(&self, name: &str) -> Result<Option<&String>, Problem> {
        let legal = |text: &&String| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
        let Some(text) = self.text(name) else { return Ok(None) };
        Some(text).filter(legal).map(Some).ok_or_else(|| refuse(name, "has a character outside a-z A-Z 0-9 - _ ."))
    }

    pub fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.text("limit") else { return Ok(LIMIT) };
        let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        limit.ok_or_else(|| refuse("limit", &format!("must be a number from 1 to {MAX_LIMIT}")))
    }

    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, Problem> {
        let parse = |text: &String| text.parse().map_err(|_| refuse(name, "must be RFC 3339, as 2026-08-03T06:14:10Z"));
        self.text(name).map(parse).transpose()
    }

    pub fn number(&self, name: &str) -> Result<Option<i64>, Problem> {
        let parse = |text: &String| text.parse().map_err(|_| refuse(name, "must be the `next` of a page before"));
        self.text(name).map(parse).transpose()
    }

    /// How many entries come before the page.
    pub fn place(&self, name: &str) -> Result<u64, Problem> {
        let parse = |text: &String| text.parse().map_err(|_| refuse(name, "must be the `next` of a page before"));
        self.text(name).map_or(Ok(0), parse)
    }

    /// One of a closed list of words.
    pub fn word(&self, name: &str, words: &[&'static str]) -> Result<Option<&'static str>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let found = words.iter().copied().find(|word| word == text);
        found.map(Some).ok_or_else(|| refuse(name, &format!("must be one of {}", words.join(", "))))
    }
}

pub(super) fn refuse(name: &str, why: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("`{name}` {why}")).with("parameter", name)
}
