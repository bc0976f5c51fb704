//! What happened to a delivery, on its way to whoever keeps it: bounded, never waited for, and what is lost is counted.

use crate::{
    event::{Attempt, EventId, EventType, ProjectId},
    observe::metrics::Metrics,
};
use jiff::Timestamp;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Entries between delivery and store: three seconds at 5,000 events/s, some 10 MiB at the longest names.
const ROOM: usize = 16_384;

/// One delivery from its receipt to its verdict. No payload, and no free text of anybody else's.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When the broker received the verdict.
    pub at: Timestamp,
    /// Missing where the body is no event.
    pub project: Option<ProjectId>,
    pub event: Option<EventId>,
    pub kind: Option<EventType>,
    /// The queue that it came from.
    pub queue: Arc<str>,
    /// Where it differs from `<project>.<type>`.
    pub routing_key: Option<String>,
    pub attempt: Attempt,
    /// As in `hookbro_events_settled_total`.
    pub outcome: &'static str,
    /// Why it is dead, went back, or was deferred: a word for machines.
    pub reason: Option<&'static str>,
    /// HTTP status of the last call that was answered.
    pub status: Option<u16>,
    /// From the last call to its answer.
    pub latency: Option<Duration>,
    /// Deliveries to the sink: more than one after a halt.
    pub calls: u32,
    /// From its reception to the verdict, deferrals included.
    pub processing: Duration,
    /// The far side's own id of the message.
    pub message: Option<Box<str>>,
    /// One line in hookbro's own words; of a harmless alphabet where it quotes anybody else.
    pub detail: Option<String>,
    /// The wait before the next attempt, if there is one.
    pub next_after: Option<Duration>,
}

/// Why the journal does not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    #[error("the journal is off (journal.url = \"off\")")]
    Off,
    #[error("the journal's store is away")]
    Away,
    #[error("the journal's store took too long")]
    Slow,
}

/// A stretch of time of which entries are missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub from: Timestamp,
    /// Not over yet, if there is none.
    pub until: Option<Timestamp>,
    /// Entries known to be missing; unknown after a crash.
    pub lost: Option<u64>,
}

/// The writing end. Clones share it.
#[derive(Debug, Clone)]
pub struct Recorder(Option<Sending>);

#[derive(Debug, Clone)]
struct Sending {
    entries: mpsc::Sender<Entry>,
    losses: Arc<Losses>,
}

/// The reading end, for whoever keeps the entries. It ends when the last [`Recorder`] is gone.
#[derive(Debug)]
pub struct Inbox {
    pub entries: mpsc::Receiver<Entry>,
    pub losses: Arc<Losses>,
}

/// What did not get into the journal, until that is written down itself.
#[derive(Debug)]
pub struct Losses {
    gap: Mutex<Option<Gap>>,
    metrics: Arc<Metrics>,
}

/// Both ends of a journal.
pub fn journal(metrics: Arc<Metrics>) -> (Recorder, Inbox) {
    let (sender, entries) = mpsc::channel(ROOM);
    let losses = Arc::new(Losses { gap: Mutex::default(), metrics });
    (Recorder(Some(Sending { entries: sender, losses: Arc::clone(&losses) })), Inbox { entries, losses })
}

impl Recorder {
    /// One that keeps nothing, `journal.url = "off"`.
    pub fn off() -> Self {
        Self(None)
    }

    /// Puts what `entry` makes on its way, or counts it as lost if there is no room. Never waits.
    pub fn record(&self, entry: impl FnOnce() -> Entry) {
        let Some(Sending { entries, losses }) = &self.0 else { return };
        match entries.try_send(entry()) {
            Ok(()) => {}
            Err(TrySendError::Full(entry) | TrySendError::Closed(entry)) => losses.count(entry.at, entry.at, 1),
        }
    }
}

impl Losses {
    /// `lost` entries from `from` until `until` are missing.
    pub fn count(&self, from: Timestamp, until: Timestamp, lost: u64) {
        self.metrics.journal_lost.inc_by(lost);
        let mut gap = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
        let before = gap.take().unwrap_or(Gap { from, until: Some(until), lost: Some(0) });
        *gap = Some(Gap {
            from: before.from.min(from),
            until: before.until.max(Some(until)),
            lost: before.lost.map(|before| before + lost),
        });
    }

    /// What is missing and not written down yet.
    pub fn current(&self) -> Option<Gap> {
        self.gap.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes what is missing, to write it down.
    pub fn take(&self) -> Option<Gap> {
        self.gap.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts back what could not be written down. It was counted when it was lost.
    pub fn put_back(&self, gap: Gap) {
        let mut current = self.gap.lock().unwrap_or_else(PoisonError::into_inner);
        *current = Some(match current.take() {
            None => gap,
            Some(newer) => Gap {
                from: gap.from.min(newer.from),
                until: gap.until.max(newer.until),
                lost: gap.lost.zip(newer.lost).map(|(one, other)| one + other),
            },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            at: Timestamp::now(),
            project: None,
            event: None,
            kind: None,
            queue: "q".into(),
            routing_key: None,
            attempt: Attempt::FIRST,
            outcome: "delivered",
            reason: None,
            status: None,
            latency: None,
            calls: 1,
            processing: Duration::ZERO,
            message: None,
            detail: None,
            next_after: None,
        }
    }

    #[test]
    fn a_full_journal_costs_entries_and_never_time() {
        let metrics = Arc::new(Metrics::new().unwrap());
        let (recorder, mut inbox) = journal(Arc::clone(&metrics));
        for _ in 0..ROOM + 3 {
            recorder.record(entry);
        }
        assert_eq!(metrics.journal_lost.get(), 3);
        let gap = inbox.losses.take().unwrap();
        assert_eq!(gap.lost, Some(3));
        assert!(gap.until >= Some(gap.from));
        assert_eq!(inbox.losses.current(), None);
        // What could not be written down is reported together with what followed.
        inbox.losses.count(gap.from, gap.from, 2);
        inbox.losses.put_back(gap);
        assert_eq!(inbox.losses.current().unwrap().lost, Some(5));
        assert_eq!(metrics.journal_lost.get(), 5);
        assert!(inbox.entries.try_recv().is_ok());
        recorder.record(entry);
        assert_eq!(metrics.journal_lost.get(), 5, "there is room again");
    }

    #[test]
    fn a_recorder_that_is_off_makes_no_entry() {
        Recorder::off().record(|| panic!("an entry was made for nobody"));
    }
}
