//! Which dead letters an operator selects: one type with one parser, for query strings, forms and flags alike.

use super::letter::DeadLetter;
use crate::{event::DeadReason, operate::time_argument};
use jiff::Timestamp;
use std::fmt;

/// Longest value, in bytes: identifiers have at most 256.
const MAX_VALUE: usize = 256;

/// Which dead letters are selected; what is not given excludes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    pub ids: Vec<String>,
    pub projects: Vec<String>,
    pub kinds: Vec<String>,
    pub reasons: Vec<DeadReason>,
    pub statuses: Vec<i64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// What is wrong with a filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {why}")]
pub struct FilterError {
    pub key: String,
    /// Completes the sentence "`reason` …".
    pub why: String,
}

/// In words, for the audit: `project gigs, reason refused exhausted`, or `all`.
impl fmt::Display for DeadLetterFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let some = |name: &str, words: Vec<String>| (!words.is_empty()).then(|| format!("{name} {}", words.join(" ")));
        let time = |name: &str, at: Option<Timestamp>| at.map(|at| format!("{name} {at}"));
        let parts = [
            some("id", self.ids.clone()),
            some("project", self.projects.clone()),
            some("type", self.kinds.clone()),
            some("reason", self.reasons.iter().map(|reason| reason.as_str().to_owned()).collect()),
            some("status", self.statuses.iter().map(i64::to_string).collect()),
            time("since", self.since),
            time("until", self.until),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "all".to_owned() } else { parts.join(", ") }.as_str())
    }
}

impl DeadLetterFilter {
    /// What [`DeadLetterFilter::parse`] knows. Each may be given several times; of `since` and `until` the last one counts.
    pub const KEYS: [&str; 7] = ["id", "project", "type", "reason", "status", "since", "until"];

    /// Reads keys and their values, as a query string, a form or a command line gives them.
    pub fn parse<K: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (K, V)>) -> Result<Self, FilterError> {
        let mut filter = Self::default();
        for (key, value) in pairs {
            filter
                .add(key.as_ref(), value.as_ref())
                .map_err(|why| FilterError { key: key.as_ref().to_owned(), why })?;
        }
        Ok(filter)
    }

    fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        if value.is_empty() || value.len() > MAX_VALUE || value.chars().any(char::is_control) {
            return Err(format!("must have 1 to {MAX_VALUE} bytes and no control characters"));
        }
        match key {
            "id" => self.ids.push(value.to_owned()),
            "project" => self.projects.push(value.to_owned()),
            "type" => self.kinds.push(value.to_owned()),
            "reason" => {
                let known = DeadReason::ALL.into_iter().find(|reason| reason.as_str() == value);
                let words = || format!("must be one of {}", DeadReason::ALL.map(DeadReason::as_str).join(", "));
                self.reasons.push(known.ok_or_else(words)?);
            }
            "status" => {
                let status = value.parse().ok().filter(|status| (100..=599).contains(status));
                self.statuses.push(status.ok_or("must be a number from 100 to 599")?);
            }
            "since" => self.since = Some(time_argument::parse(value)?),
            "until" => self.until = Some(time_argument::parse(value)?),
            _ => return Err(format!("is no part of a filter; there are {}", Self::KEYS.join(", "))),
        }
        Ok(())
    }

    /// Whether nothing is excluded.
    pub fn is_all(&self) -> bool {
        let words = self.ids.is_empty() && self.projects.is_empty() && self.kinds.is_empty();
        let codes = self.reasons.is_empty() && self.statuses.is_empty();
        words && codes && self.since.is_none() && self.until.is_none()
    }

    /// Whether `letter` is selected. One without a time is outside every period.
    pub fn matches(&self, letter: &DeadLetter) -> bool {
        let among = |wanted: &[String], has: &Option<String>| {
            wanted.is_empty() || has.as_ref().is_some_and(|has| wanted.contains(has))
        };
        among(&self.ids, &letter.id)
            && among(&self.projects, &letter.project)
            && among(&self.kinds, &letter.kind)
            && (self.reasons.is_empty() || self.reasons.contains(&letter.reason))
            && (self.statuses.is_empty() || letter.status.is_some_and(|status| self.statuses.contains(&status)))
            && self.since.is_none_or(|since| letter.failed_at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| letter.failed_at.is_some_and(|at| at < until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn letter() -> DeadLetter {
        DeadLetter {
            id: Some("evt_1".into()),
            project: Some("gigs".into()),
            kind: Some("com.gigs.x".into()),
            reason: DeadReason::Refused,
            detail: None,
            attempts: Some(1),
            status: Some(422),
            failed_at: Some("2026-08-03T06:00:00Z".parse().unwrap()),
            replayed: 0,
            routing_key: "gigs.com.gigs.x".into(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn each_part_of_a_filter_excludes_and_an_empty_one_excludes_nothing() {
        let at = |text: &str| Some(text.parse().unwrap());
        let all = DeadLetterFilter::default();
        assert!(all.matches(&letter()));
        for (filter, meant) in [
            (DeadLetterFilter { ids: vec!["evt_2".into(), "evt_1".into()], ..all.clone() }, true),
            (DeadLetterFilter { ids: vec!["evt_2".into()], ..all.clone() }, false),
            (DeadLetterFilter { projects: vec!["gigs".into()], ..all.clone() }, true),
            (DeadLetterFilter { projects: vec!["dev".into()], ..all.clone() }, false),
            (DeadLetterFilter { kinds: vec!["com.gigs.y".into()], ..all.clone() }, false),
            (DeadLetterFilter { reasons: vec![DeadReason::Exhausted], ..all.clone() }, false),
            (DeadLetterFilter { statuses: vec![500, 422], ..all.clone() }, true),
            (DeadLetterFilter { statuses: vec![500], ..all.clone() }, false),
            (DeadLetterFilter { since: at("2026-08-03T06:00:00Z"), ..all.clone() }, true),
            (DeadLetterFilter { until: at("2026-08-03T06:00:00Z"), ..all.clone() }, false),
            (DeadLetterFilter { since: at("2026-08-04T00:00:00Z"), ..all.clone() }, false),
        ] {
            assert_eq!(filter.matches(&letter()), meant, "{filter:?}");
        }
        let two =
            DeadLetterFilter { reasons: vec![DeadReason::Refused], ids: vec!["a".into(), "b".into()], ..all.clone() };
        assert_eq!((two.to_string().as_str(), two.is_all()), ("id a b, reason refused", false));
        assert_eq!((all.to_string().as_str(), all.is_all()), ("all", true));
        let untimed = DeadLetter { failed_at: None, id: None, ..letter() };
        assert!(!DeadLetterFilter { since: at("2020-01-01T00:00:00Z"), ..all.clone() }.matches(&untimed));
        assert!(!DeadLetterFilter { ids: vec!["evt_1".into()], ..all }.matches(&untimed));
    }

    #[test]
    fn every_front_end_reads_a_filter_alike() {
        let at: Timestamp = "2026-08-03T06:00:00Z".parse().unwrap();
        let long = "x".repeat(MAX_VALUE + 1);
        let wanted = DeadLetterFilter::default();
        for (key, value, read) in [
            ("id", "evt_1", Ok(DeadLetterFilter { ids: vec!["evt_1".into()], ..wanted.clone() })),
            ("project", "gigs", Ok(DeadLetterFilter { projects: vec!["gigs".into()], ..wanted.clone() })),
            ("type", "com.gigs.x", Ok(DeadLetterFilter { kinds: vec!["com.gigs.x".into()], ..wanted.clone() })),
            ("reason", "too_large", Ok(DeadLetterFilter { reasons: vec![DeadReason::TooLarge], ..wanted.clone() })),
            ("status", "422", Ok(DeadLetterFilter { statuses: vec![422], ..wanted.clone() })),
            ("since", "2026-08-03T06:00:00Z", Ok(DeadLetterFilter { since: Some(at), ..wanted.clone() })),
            ("until", "2026-08-03T08:00:00+02:00", Ok(DeadLetterFilter { until: Some(at), ..wanted })),
            ("reason", "Refused", Err("must be one of malformed, ")),
            ("status", "99", Err("from 100 to 599")),
            ("status", "422.5", Err("from 100 to 599")),
            ("since", "yesterday", Err("RFC 3339")),
            ("until", "", Err("1 to 256 bytes")),
            ("id", long.as_str(), Err("1 to 256 bytes")),
            ("project", "a\nb", Err("control characters")),
            ("colour", "red", Err("there are id, project, ")),
        ] {
            match (DeadLetterFilter::parse([(key, value)]), read) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{key}={value}"),
                (Err(error), Err(says)) => {
                    assert_eq!(error.key, key);
                    assert!(error.why.contains(says), "{key}={value}: {error}");
                }
                (found, _) => panic!("{key}={value}: {found:?}"),
            }
        }
        let ago = DeadLetterFilter::parse([("since", "2h")]).unwrap().since.unwrap();
        let hours = Timestamp::now().duration_since(ago).as_secs_f64() / 3600.0;
        assert!((2.0..2.1).contains(&hours), "{hours}");
        let both = DeadLetterFilter::parse([("id", "a"), ("status", "500"), ("id", "b")]).unwrap();
        assert_eq!(both.to_string(), "id a b, status 500");
        assert!(DeadLetterFilter::parse::<&str, &str>([]).unwrap().is_all());
    }
}
