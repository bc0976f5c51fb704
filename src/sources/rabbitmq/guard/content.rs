//! Content headers (AMQP 0-9-1, 4.2.6): the properties of a message.

use super::{
    table,
    unreadable::{Unreadable, is_text, mend},
};

/// Class, weight and body size, before the flags.
const BEFORE_FLAGS: usize = 2 + 2 + 8;
/// Where the properties begin.
const PROPERTIES: usize = BEFORE_FLAGS + 2;
const HEADERS_FLAG: u16 = 1 << 13;
/// The lowest says that another word of flags follows, which no class of AMQP 0-9-1 needs; the next is nobody's.
const FLAGS_OF_NOBODY: u16 = 0b11;

enum Form {
    Short,
    Table,
    Fixed(usize),
}

/// The properties of class `basic`, in the order of their flags, the highest first (AMQP 0-9-1, 1.8).
const FORMS: [Form; 14] = [
    Form::Short,    // content_type
    Form::Short,    // content_encoding
    Form::Table,    // headers
    Form::Fixed(1), // delivery_mode
    Form::Fixed(1), // priority
    Form::Short,    // correlation_id
    Form::Short,    // reply_to
    Form::Short,    // expiration
    Form::Short,    // message_id
    Form::Fixed(8), // timestamp
    Form::Short,    // type
    Form::Short,    // user_id
    Form::Short,    // app_id
    Form::Short,    // cluster_id
];

impl Form {
    /// How many bytes a property of this form has at the beginning of `rest`; none if `rest` ends before it does.
    fn size(&self, rest: &[u8]) -> Option<usize> {
        let size = match self {
            Self::Fixed(size) => *size,
            Self::Short => 1 + usize::from(*rest.first()?),
            Self::Table => 4 + usize::try_from(u32::from_be_bytes(rest.get(..4)?.try_into().ok()?)).ok()?,
        };
        (size <= rest.len()).then_some(size)
    }

    fn is_good(&self, property: &[u8]) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Short => is_text(&property[1..]),
            Self::Table => table::is_good(&property[4..]),
        }
    }
}

fn flags(payload: &[u8]) -> u16 {
    u16::from_be_bytes([payload[BEFORE_FLAGS], payload[BEFORE_FLAGS + 1]])
}

/// The properties that `flags` names, by their number.
fn set(mut flags: u16) -> impl Iterator<Item = (usize, &'static Form)> {
    std::iter::from_fn(move || {
        let nth = flags.leading_zeros() as usize;
        flags &= !(1_u16 << 15).unbounded_shr(flags.leading_zeros());
        Some((nth, FORMS.get(nth)?))
    })
}

/// Whether the parser takes a content header's payload as it is. One pass; allocates nothing.
pub(super) fn is_good(payload: &[u8]) -> bool {
    if payload.len() < PROPERTIES || flags(payload) & FLAGS_OF_NOBODY != 0 {
        return false;
    }
    let mut rest = &payload[PROPERTIES..];
    for (_, form) in set(flags(payload)) {
        let Some(size) = form.size(rest) else { return false };
        let (property, after) = rest.split_at(size);
        if !form.is_good(property) {
            return false;
        }
        rest = after;
    }
    rest.is_empty()
}

/// A content header's payload as the parser takes it, within `room` bytes, with the mark among its headers. `also` is what
/// was replaced before it. Nothing, if there is no body size to save.
pub(super) fn mended(payload: &[u8], also: Unreadable, room: usize) -> Option<Vec<u8>> {
    if payload.len() < PROPERTIES {
        return None;
    }
    let whole = rebuilt(payload, also, table::mended);
    // Marked headers may not fit any more, or may never have fitted: RabbitMQ adds to them, and cuts no header frame.
    Some(if whole.len() <= room { whole } else { rebuilt(payload, also, |_| (Vec::new(), Unreadable::HEADERS)) })
}

fn rebuilt(payload: &[u8], also: Unreadable, headers: impl Fn(&[u8]) -> (Vec<u8>, Unreadable)) -> Vec<u8> {
    let mut unreadable = also;
    let mut kept = HEADERS_FLAG;
    let (mut before, mut entries, mut behind) = (Vec::new(), Vec::new(), Vec::new());
    let mut rest = &payload[PROPERTIES..];
    let flags = flags(payload);
    let known = flags & FLAGS_OF_NOBODY == 0;
    let mut properties = set(if known { flags } else { 0 });
    while let Some((nth, form)) = properties.next() {
        let Some(size) = form.size(rest) else {
            // Nobody knows where the others begin.
            let lost = properties.map(|(nth, _)| nth).chain([nth]).map(Unreadable::property);
            unreadable = lost.fold(unreadable, Unreadable::and);
            rest = &[];
            break;
        };
        let (property, after) = rest.split_at(size);
        rest = after;
        if let Form::Table = form {
            let (good, lost) = headers(&property[4..]);
            entries = good;
            unreadable.add(lost);
            continue;
        }
        let to = if 1 << (15 - nth) > HEADERS_FLAG { &mut before } else { &mut behind };
        let text = to.len() + 1;
        to.extend_from_slice(property);
        if matches!(form, Form::Short) && mend(&mut to[text..]) {
            unreadable.add(Unreadable::property(nth));
        }
        kept |= 1 << (15 - nth);
    }
    if !known || !rest.is_empty() {
        unreadable.add(Unreadable::PROPERTIES);
    }
    entries.extend_from_slice(&unreadable.as_header());
    let length = (entries.len() as u32).to_be_bytes();
    [&payload[..BEFORE_FLAGS], &kept.to_be_bytes(), &before, &length, &entries, &behind].concat()
}
