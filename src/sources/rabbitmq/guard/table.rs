//! Field tables (AMQP 0-9-1, 4.2.5.5, with RabbitMQ's types), walked with a stack of our own.

use super::unreadable::{Unreadable, is_text, mend};
use std::ops::Range;

/// Most tables and arrays inside each other, the headers themselves included. rabbitmq-c has the same bound (its pull request
/// 763). On the 2 MiB stack of lapin's thread, upstream's parser takes over 600 when it is optimised, and some 150 when it is not.
pub(super) const MAX_DEPTH: usize = 100;
/// Most values in one message's headers. A value may be one byte on the wire and dozens in memory: without a bound, 128 KiB of
/// headers would take megabytes, for each message of a prefetch.
pub(super) const MAX_VALUES: usize = 4096;

/// What holds values: names stand before those of a table only.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Holder {
    Table,
    Array,
}

/// What stands behind the type of a value.
enum Value {
    /// So many bytes.
    Fixed(usize),
    /// A length of four bytes, and so many.
    Long,
    /// A length of four bytes, and values in so many.
    Nested(Holder),
}

impl Value {
    /// As amq-protocol-types reads them (`AMQPType::from_id`), which is as RabbitMQ does.
    fn of(kind: u8) -> Option<Self> {
        Some(match kind {
            b'V' => Self::Fixed(0),
            b't' | b'b' | b'B' => Self::Fixed(1),
            b's' | b'U' | b'u' => Self::Fixed(2),
            b'I' | b'i' | b'f' => Self::Fixed(4),
            b'D' => Self::Fixed(5),
            b'L' | b'l' | b'd' | b'T' => Self::Fixed(8),
            b'S' | b'x' => Self::Long,
            b'F' => Self::Nested(Holder::Table),
            b'A' => Self::Nested(Holder::Array),
            _ => return None,
        })
    }
}

/// The parser cannot take it, or it is beyond our bounds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unfit;

/// A length of four bytes at `at`, and where what it counts ends; within `end`.
fn counted(bytes: &[u8], at: usize, end: usize) -> Result<Range<usize>, Unfit> {
    let start = at.checked_add(4).filter(|start| *start <= end).ok_or(Unfit)?;
    let length = bytes[at..start].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let stop = start.checked_add(length).filter(|stop| *stop <= end).ok_or(Unfit)?;
    Ok(start..stop)
}

/// Reads values one after the other, and those inside them, to the end of `bytes`.
struct Walk<'b> {
    bytes: &'b [u8],
    at: usize,
    values: usize,
}

impl Walk<'_> {
    /// Walks what `holder` holds, from here to `end`, at `depth`; each name goes to `named`.
    fn through(
        &mut self,
        mut holder: Holder,
        mut end: usize,
        depth: usize,
        named: &mut impl FnMut(Range<usize>),
    ) -> Result<(), Unfit> {
        // The holders above this one: where each ends, and a bit for a table.
        let (mut ends, mut tables, mut open) = ([0_u32; MAX_DEPTH], 0_u128, 0);
        loop {
            while self.at == end {
                if open == 0 {
                    return Ok(());
                }
                open -= 1;
                end = ends[open] as usize;
                holder = if tables & 1 << open == 0 { Holder::Array } else { Holder::Table };
            }
            if holder == Holder::Table {
                named(self.name(end)?);
            }
            if let Some((inside, inner_end)) = self.value(end)? {
                if depth + open >= MAX_DEPTH {
                    return Err(Unfit);
                }
                ends[open] = u32::try_from(end).map_err(|_| Unfit)?;
                tables = tables & !(1 << open) | u128::from(holder == Holder::Table) << open;
                open += 1;
                (holder, end) = (inside, inner_end);
            }
        }
    }

    /// A short string, before `end`.
    fn name(&mut self, end: usize) -> Result<Range<usize>, Unfit> {
        let start = self.at + 1;
        let stop = start + usize::from(*self.bytes.get(self.at).ok_or(Unfit)?);
        if stop > end {
            return Err(Unfit);
        }
        self.at = stop;
        Ok(start..stop)
    }

    /// Steps over a value, or into it: what holds more is returned with its end.
    fn value(&mut self, end: usize) -> Result<Option<(Holder, usize)>, Unfit> {
        if self.at >= end {
            return Err(Unfit);
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(Unfit);
        }
        let at = self.at + 1;
        let (next, inner) = match Value::of(self.bytes[self.at]).ok_or(Unfit)? {
            Value::Fixed(size) => (at + size, None),
            Value::Long => (counted(self.bytes, at, end)?.end, None),
            Value::Nested(holder) => {
                let inside = counted(self.bytes, at, end)?;
                (inside.start, Some((holder, inside.end)))
            }
        };
        if next > end {
            return Err(Unfit);
        }
        self.at = next;
        Ok(inner)
    }
}

/// Whether the parser takes the entries of a table (without its length) as they are. One pass; allocates nothing.
pub(super) fn is_good(entries: &[u8]) -> bool {
    let mut names_good = true;
    let mut walk = Walk { bytes: entries, at: 0, values: 0 };
    let named = &mut |name: Range<usize>| names_good &= is_text(&entries[name]);
    walk.through(Holder::Table, entries.len(), 1, named).is_ok() && names_good
}

/// The entries of a table as the parser takes them, and what of them is not as it was published. Values that it cannot take
/// become void, under their names; from the first that has no end, nothing is left.
pub(super) fn mended(entries: &[u8]) -> (Vec<u8>, Unreadable) {
    let mut kept = Vec::with_capacity(entries.len());
    let mut unreadable = Unreadable::NOTHING;
    let mut walk = Walk { bytes: entries, at: 0, values: 0 };
    while walk.at < entries.len() {
        let Some(readable) = mend_entry(&mut walk, &mut kept) else {
            unreadable.add(Unreadable::HEADERS);
            break;
        };
        unreadable.add(readable);
    }
    (kept, unreadable)
}

/// Appends the next entry to `kept`, mended; nothing if it has no end, or if there were too many before it.
fn mend_entry(walk: &mut Walk<'_>, kept: &mut Vec<u8>) -> Option<Unreadable> {
    let (entries, begin) = (walk.bytes, walk.at);
    let mut names = vec![walk.name(entries.len()).ok()?];
    let value = walk.at;
    let fits = match walk.value(entries.len()).ok()? {
        Some((holder, end)) => {
            let through = walk.through(holder, end, 2, &mut |name| names.push(name));
            walk.at = end;
            through.is_ok()
        }
        None => true,
    };
    if walk.values > MAX_VALUES {
        return None;
    }
    let (copy, mut unreadable) = (kept.len(), Unreadable::NOTHING);
    if fits {
        kept.extend_from_slice(&entries[begin..walk.at]);
    } else {
        names.truncate(1);
        kept.extend_from_slice(&entries[begin..value]);
        kept.push(b'V');
        unreadable.add(Unreadable::HEADERS);
    }
    for name in names {
        if mend(&mut kept[copy + name.start - begin..copy + name.end - begin]) {
            unreadable.add(Unreadable::HEADER_NAMES);
        }
    }
    Some(unreadable)
}
