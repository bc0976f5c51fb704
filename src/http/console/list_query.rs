//! What the forms above lists ask for; a field that is left empty asks for nothing.

use crate::http::problem::Problem;
use axum::http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};
use std::{collections::BTreeMap, str::FromStr, time::Duration};
use url::form_urlencoded;

/// Stretches of time to choose from: word, name, length in seconds.
pub(super) const WINDOWS: [(&str, &str, u64); 3] =
    [("1h", "last hour", 3_600), ("24h", "last 24 hours", 86_400), ("7d", "last 7 days", 604_800)];

#[derive(Debug, Default)]
pub(super) struct ListQuery(BTreeMap<String, String>);

/// When a stretch of time begins that ends now.
pub(super) fn since(window: &str) -> Option<Timestamp> {
    let (_, _, seconds) = WINDOWS.iter().find(|(word, _, _)| *word == window)?;
    Some(Timestamp::now() - Duration::from_secs(*seconds))
}

impl ListQuery {
    pub fn read(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned();
        Self(
            pairs.map(|(name, value)| (name, value.trim().to_owned())).filter(|(_, value)| !value.is_empty()).collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Where to go on; nothing on a first page.
    pub fn cursor<T: FromStr>(&self) -> Result<Option<T>, Problem> {
        let wrong = |_| Problem::new(StatusCode::BAD_REQUEST, "`cursor` must be that of a page before");
        self.get("cursor").map(str::parse).transpose().map_err(wrong)
    }

    /// When the chosen stretch of time begins.
    pub fn since(&self) -> Option<Timestamp> {
        self.get("window").and_then(since)
    }

    /// The same in the words of `/api/v1`, which also says what is wrong with it.
    pub fn query(&self) -> String {
        let since = self.since();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.0.iter().filter(|(name, _)| *name != "window" || since.is_none()));
        query.extend_pairs(since.map(|since| ("since", since.to_string())));
        query.finish()
    }

    /// The address of the page after this one.
    pub fn after(&self, path: &str, next: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.0.iter().filter(|(name, _)| *name != "cursor"));
        format!("{path}?{}", query.append_pair("cursor", next).finish())
    }

    /// A line of text to fill in.
    pub fn line(&self, name: &str, label: &str, hint: &str) -> Markup {
        html! {
            div.field {
                label for=(name) { (label) }
                input id=(name) name=(name) value=[self.get(name)] placeholder=(hint) maxlength="256"
                    autocapitalize="off" autocomplete="off" spellcheck="false";
            }
        }
    }

    /// One of some words to choose.
    pub fn choice<'a>(&self, name: &str, label: &str, words: impl IntoIterator<Item = &'a str>) -> Markup {
        html! {
            div.field {
                label for=(name) { (label) }
                select id=(name) name=(name) {
                    option value="" { "any" }
                    @for word in words { option selected[self.get(name) == Some(word)] { (word) } }
                }
            }
        }
    }

    pub fn window(&self) -> Markup {
        html! {
            div.field {
                label for="window" { "Time" }
                select #window name="window" {
                    option value="" { "any" }
                    @for (word, name, _) in WINDOWS {
                        option value=(word) selected[self.get("window") == Some(word)] { (name) }
                    }
                }
            }
        }
    }
}
