//! An event in the dead queue as people look at it, and which of them are meant.

use crate::event::DeadReason;
use bytes::Bytes;
use jiff::Timestamp;
use std::fmt;

/// What a dead event says of itself. Every field but body and key may be missing: an event that the broker itself moved
/// there, after its last queue's delivery limit, has no headers of ours and counts as exhausted.
#[derive(Debug, Clone)]
pub struct DeadEvent {
    pub id: Option<String>,
    pub project: Option<String>,
    pub kind: Option<String>,
    pub reason: DeadReason,
    pub detail: Option<String>,
    /// Attempts made.
    pub attempts: Option<i64>,
    /// HTTP status of the last attempt.
    pub status: Option<i64>,
    pub failed_at: Option<Timestamp>,
    /// How often it has been replayed before.
    pub replayed: i64,
    pub routing_key: String,
    pub body: Bytes,
}

/// Which dead events are meant; what is not given excludes nothing.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    pub ids: Vec<String>,
    pub projects: Vec<String>,
    pub kinds: Vec<String>,
    pub reasons: Vec<DeadReason>,
    pub statuses: Vec<i64>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// In words, for the audit: `project gigs, reason refused exhausted`, or `all`.
impl fmt::Display for DeadFilter {
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

impl DeadFilter {
    /// Whether nothing is excluded.
    pub fn is_all(&self) -> bool {
        let words = self.ids.is_empty() && self.projects.is_empty() && self.kinds.is_empty();
        let codes = self.reasons.is_empty() && self.statuses.is_empty();
        words && codes && self.since.is_none() && self.until.is_none()
    }

    /// Whether `event` is meant. One without a time is outside every period.
    pub fn matches(&self, event: &DeadEvent) -> bool {
        let among = |wanted: &[String], has: &Option<String>| {
            wanted.is_empty() || has.as_ref().is_some_and(|has| wanted.contains(has))
        };
        among(&self.ids, &event.id)
            && among(&self.projects, &event.project)
            && among(&self.kinds, &event.kind)
            && (self.reasons.is_empty() || self.reasons.contains(&event.reason))
            && (self.statuses.is_empty() || event.status.is_some_and(|status| self.statuses.contains(&status)))
            && self.since.is_none_or(|since| event.failed_at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| event.failed_at.is_some_and(|at| at < until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> DeadEvent {
        DeadEvent {
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
        let all = DeadFilter::default();
        assert!(all.matches(&event()));
        for (filter, meant) in [
            (DeadFilter { ids: vec!["evt_2".into(), "evt_1".into()], ..all.clone() }, true),
            (DeadFilter { ids: vec!["evt_2".into()], ..all.clone() }, false),
            (DeadFilter { projects: vec!["gigs".into()], ..all.clone() }, true),
            (DeadFilter { projects: vec!["dev".into()], ..all.clone() }, false),
            (DeadFilter { kinds: vec!["com.gigs.y".into()], ..all.clone() }, false),
            (DeadFilter { reasons: vec![DeadReason::Exhausted], ..all.clone() }, false),
            (DeadFilter { statuses: vec![500, 422], ..all.clone() }, true),
            (DeadFilter { statuses: vec![500], ..all.clone() }, false),
            (DeadFilter { since: at("2026-08-03T06:00:00Z"), ..all.clone() }, true),
            (DeadFilter { until: at("2026-08-03T06:00:00Z"), ..all.clone() }, false),
            (DeadFilter { since: at("2026-08-04T00:00:00Z"), ..all.clone() }, false),
        ] {
            assert_eq!(filter.matches(&event()), meant, "{filter:?}");
        }
        let two = DeadFilter { reasons: vec![DeadReason::Refused], ids: vec!["a".into(), "b".into()], ..all.clone() };
        assert_eq!((two.to_string().as_str(), two.is_all()), ("id a b, reason refused", false));
        assert_eq!((all.to_string().as_str(), all.is_all()), ("all", true));
        let untimed = DeadEvent { failed_at: None, id: None, ..event() };
        assert!(!DeadFilter { since: at("2020-01-01T00:00:00Z"), ..all.clone() }.matches(&untimed));
        assert!(!DeadFilter { ids: vec!["evt_1".into()], ..all }.matches(&untimed));
    }
}
