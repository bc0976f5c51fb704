//! Every message accepted, oldest first, within bounds: the oldest payloads go first, then the oldest messages.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;

use super::attempts::Attempt;
use super::wire::Channels;

/// The place of a message in the order of arrival; never used twice.
pub(super) type Seq = u64;

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) org: Arc<str>,
    pub(super) app_id: Arc<str>,
    /// What the application is known by: its uid, or its id if it has none.
    pub(super) app: Arc<str>,
    pub(super) id: String,
    pub(super) event_id: Option<Arc<str>>,
    pub(super) event_type: String,
    pub(super) channels: Option<Channels>,
    /// None once expunged or forgotten.
    pub(super) payload: Option<Bytes>,
    pub(super) at: Instant,
    pub(super) timestamp: Timestamp,
    /// Oldest first.
    pub(super) attempts: Vec<Attempt>,
}

#[derive(Debug)]
pub(super) struct MessageLog {
    messages: VecDeque<Message>,
    /// The place of the first message still stored.
    first: Seq,
    /// Before this place every payload has been forgotten.
    first_payload: Seq,
    payload_bytes: usize,
    max_payload_bytes: usize,
    max_messages: usize,
}

impl MessageLog {
    pub(super) fn new(max_payload_bytes: usize, max_messages: usize) -> Self {
        let messages = VecDeque::new();
        Self { messages, first: 0, first_payload: 0, payload_bytes: 0, max_payload_bytes, max_messages }
    }

    /// Takes a message in; the ones that had to make room are returned.
    pub(super) fn push(&mut self, message: Message) -> (Seq, Vec<(Seq, Message)>) {
        let seq = self.end();
        self.payload_bytes += message.payload.as_ref().map_or(0, Bytes::len);
        self.messages.push_back(message);
        while self.payload_bytes > self.max_payload_bytes && self.first_payload < self.end() {
            self.forget(self.first_payload);
            self.first_payload += 1;
        }
        let mut gone = Vec::new();
        while self.messages.len() > self.max_messages.max(1) {
            self.forget(self.first);
            gone.extend(self.messages.pop_front().map(|message| (self.first, message)));
            self.first += 1;
            self.first_payload = self.first_payload.max(self.first);
        }
        (seq, gone)
    }

    pub(super) fn get(&self, seq: Seq) -> Option<&Message> {
        self.messages.get(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    pub(super) fn get_mut(&mut self, seq: Seq) -> Option<&mut Message> {
        self.messages.get_mut(usize::try_from(seq.checked_sub(self.first)?).ok()?)
    }

    /// Ids grow with every message, so the log is sorted by them.
    pub(super) fn find(&self, id: &str) -> Option<Seq> {
        let index = self.messages.binary_search_by(|message| message.id.as_str().cmp(id)).ok()?;
        Some(self.first + index as Seq)
    }

    /// The first place whose id is not less than this one.
    pub(super) fn seq_from(&self, id: &str) -> Seq {
        self.first + self.messages.partition_point(|message| message.id.as_str() < id) as Seq
    }

    pub(super) fn forget(&mut self, seq: Seq) {
        let index = seq.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(message) = index.and_then(|index| self.messages.get_mut(index)) {
            self.payload_bytes -= message.payload.take().map_or(0, |payload| payload.len());
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter()
    }

    pub(super) fn clear(&mut self) {
        self.first = self.end();
        self.first_payload = self.first;
        self.payload_bytes = 0;
        self.messages.clear();
    }

    fn end(&self) -> Seq {
        self.first + self.messages.len() as Seq
    }
}
