//! A stream of bytes as frames (AMQP 0-9-1, 4.2.3): a type, a channel, a size, a payload of that size and an end mark.

use super::{
    content,
    methods::{mend_method, tuned_frame_max},
    unreadable::Unreadable,
};
use std::collections::HashMap;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// Begins the header of the protocol, by which a broker refuses a version: eight bytes, no frame.
const PROTOCOL: u8 = b'A';
const PROTOCOL_SIZE: usize = 8;
/// Type, channel and size.
const HEAD: usize = 7;
const END: u8 = 0xCE;
/// No frame limit may be lower (AMQP 0-9-1, 4.2.3), and lapin takes none that is.
const LEAST_FRAME_MAX: u32 = 4096;

/// Finds in the bytes from the broker what has to be replaced.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes of the frame under way that pass without a look.
    passing: usize,
    /// Bytes of the frame under way that are left out.
    dropping: usize,
    /// It is no AMQP any more: the parser may say so.
    lost: bool,
    /// Largest frame that lapin takes, with head and end.
    frame_max: usize,
    /// What was replaced in a delivery's method, by its channel, until its header comes.
    replaced: HashMap<u16, Unreadable>,
}

/// What bytes from the broker are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// So many pass, from the first on.
    pub pass: usize,
    pub then: Then,
}

/// What follows those that pass.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing.
    End,
    /// A frame that has not come to its end yet.
    Part,
    /// So many bytes, in the place of which others are handed on.
    Replace { bytes: usize, with: Vec<u8> },
}

impl Frames {
    /// `frame_max`: the largest frame that lapin asks for; 0 for any.
    pub(super) fn new(frame_max: u32) -> Self {
        let frame_max = limit(frame_max);
        Self { passing: 0, dropping: 0, lost: false, frame_max, replaced: HashMap::new() }
    }

    /// Reads `bytes`, which follow what has passed and what was replaced before. A method's strings are mended where they
    /// stand. After [`Then::Part`], the same bytes are to come again, with more behind them.
    pub(super) fn scan(&mut self, bytes: &mut [u8]) -> Scanned {
        let mut pass = 0;
        loop {
            let rest = &mut bytes[pass..];
            if self.dropping > 0 && !rest.is_empty() {
                let dropped = self.dropping.min(rest.len());
                self.dropping -= dropped;
                return Scanned { pass, then: Then::Replace { bytes: dropped, with: Vec::new() } };
            }
            if self.lost {
                self.passing = rest.len();
            }
            if self.passing > 0 {
                let passed = self.passing.min(rest.len());
                self.passing -= passed;
                pass += passed;
            }
            let rest = &mut bytes[pass..];
            match rest.first() {
                None => return Scanned { pass, then: Then::End },
                Some(&PROTOCOL) => {
                    self.passing = PROTOCOL_SIZE;
                    continue;
                }
                Some(&(METHOD | HEADER | BODY | HEARTBEAT)) => {}
                Some(_) => {
                    self.lost = true;
                    continue;
                }
            }
            let [kind, c0, c1, s0, s1, s2, s3, ..] = *rest else { return Scanned { pass, then: Then::Part } };
            let size = HEAD + u32::from_be_bytes([s0, s1, s2, s3]) as usize + 1;
            if kind == BODY || kind == HEARTBEAT {
                self.passing = size;
                continue;
            }
            match self.judge(kind, u16::from_be_bytes([c0, c1]), size, rest) {
                None => self.passing = size,
                Some(then) => return Scanned { pass, then },
            }
        }
    }

    /// A method or a content header of `size` bytes, at the beginning of `rest`; nothing if it passes.
    fn judge(&mut self, kind: u8, channel: u16, size: usize, rest: &mut [u8]) -> Option<Then> {
        let oversized = size > self.frame_max;
        let wanted = size.min(self.frame_max);
        if rest.len() < wanted {
            return Some(Then::Part);
        }
        if kind == METHOD {
            if !oversized {
                self.mend(channel, &mut rest[HEAD..size - 1]);
            }
            return None;
        }
        let payload = if oversized { &rest[HEAD..wanted] } else { &rest[HEAD..size - 1] };
        let also = match self.replaced.is_empty() {
            true => Unreadable::NOTHING,
            false => self.replaced.remove(&channel).unwrap_or_default(),
        };
        // A frame without its end is refused by the parser before it reads any of it.
        let ends = oversized || rest[size - 1] == END;
        if !oversized && (!ends || also.is_empty() && content::is_good(payload)) {
            return None;
        }
        let room = self.frame_max - HEAD - 1;
        let payload = content::mended(payload, also, room)?;
        self.dropping = size - wanted;
        let length = (payload.len() as u32).to_be_bytes();
        Some(Then::Replace { bytes: wanted, with: [&rest[..3], &length, &payload, &[END]].concat() })
    }

    fn mend(&mut self, channel: u16, payload: &mut [u8]) {
        if let Some(tuned) = tuned_frame_max(payload) {
            self.frame_max = self.frame_max.min(limit(tuned));
        }
        let unreadable = mend_method(payload);
        if !unreadable.is_empty() {
            self.replaced.insert(channel, unreadable);
        }
    }
}

/// As lapin takes it: none, or at least [`LEAST_FRAME_MAX`].
fn limit(frame_max: u32) -> usize {
    if frame_max == 0 { u32::MAX as usize } else { frame_max.max(LEAST_FRAME_MAX) as usize }
}
