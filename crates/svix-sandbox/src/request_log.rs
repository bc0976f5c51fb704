//! What was asked of the sandbox and what it answered: one line per call, and one tally per application.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::fault_registry::FaultId;
use super::route::RequestKind;

/// A client that makes up applications shall not fill the memory: what comes later is counted together.
const MAX_TALLIES: usize = 100_000;
const THE_REST: &str = "(others)";

/// How a call ended for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered(u16),
    /// A fault closed the connection without an answer.
    Dropped,
    /// The caller went away first, or the sandbox was stopped.
    Abandoned,
}

/// What a call did to the store, whatever the caller learned of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    #[default]
    None,
    /// A message was stored.
    Stored,
    /// The event id was taken.
    Duplicate,
    /// Another call created the application first: 409, and the message was not stored.
    LostRace,
}

/// One call. Written when it ended, so lines are in the order of endings.
#[derive(Clone, Debug)]
pub struct RequestLine {
    /// When it had arrived.
    pub at: Instant,
    pub elapsed: Duration,
    pub kind: RequestKind,
    /// The application as the path had it.
    pub app: Option<String>,
    pub event_id: Option<String>,
    pub event_type: Option<String>,
    /// The body had an inline `application`.
    pub had_application: bool,
    /// The header of W3C Trace Context, which Svix itself has no use for.
    pub traceparent: Option<String>,
    pub outcome: Outcome,
    pub effect: Effect,
    pub fault: Option<FaultId>,
}

/// Counts of one application's message creates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub calls: u64,
    pub stored: u64,
    pub duplicates: u64,
    pub lost_races: u64,
    pub unanswered: u64,
}

#[derive(Debug)]
pub(super) struct RequestLog {
    lines: VecDeque<RequestLine>,
    tallies: BTreeMap<String, Tally>,
    max: usize,
}

impl RequestLog {
    pub(super) fn new(max: usize) -> Self {
        Self { lines: VecDeque::new(), tallies: BTreeMap::new(), max }
    }

    pub(super) fn write(&mut self, line: RequestLine) {
        if line.kind == RequestKind::MessageCreate {
            self.count(&line);
        }
        self.lines.push_back(line);
        while self.lines.len() > self.max {
            self.lines.pop_front();
        }
    }

    fn count(&mut self, line: &RequestLine) {
        let app = line.app.as_deref().unwrap_or_default();
        let known = self.tallies.len() < MAX_TALLIES || self.tallies.contains_key(app);
        let tally = self.tallies.entry(if known { app } else { THE_REST }.to_owned()).or_default();
        tally.calls += 1;
        tally.stored += u64::from(line.effect == Effect::Stored);
        tally.duplicates += u64::from(line.effect == Effect::Duplicate);
        tally.lost_races += u64::from(line.effect == Effect::LostRace);
        tally.unanswered += u64::from(!matches!(line.outcome, Outcome::Answered(_)));
    }

    pub(super) fn lines(&self) -> impl Iterator<Item = &RequestLine> {
        self.lines.iter()
    }

    pub(super) fn tallies(&self) -> &BTreeMap<String, Tally> {
        &self.tallies
    }

    pub(super) fn clear(&mut self) {
        self.lines.clear();
        self.tallies.clear();
    }
}
