//! Made and mutated frames, in pieces of any size.

use super::{CHANNEL, content_header, counted, delivery, frame, guarded, marked, nested, parsed, short, whole};
use crate::sources::rabbitmq::guard::{content, unreadable::Unreadable};
use amq_protocol::frame::AMQPFrame;
use proptest::prelude::*;

/// Bytes as values of a table, most of them good ones; `depth` bounds their nesting.
fn made_table(entropy: &mut impl Iterator<Item = u8>, depth: usize) -> Vec<u8> {
    let mut entries = Vec::new();
    for _ in 0..entropy.next().unwrap_or(0) % 4 {
        let name: Vec<u8> = entropy.take(3).map(|byte| if byte == 0xFF { byte } else { byte % 128 }).collect();
        entries.extend(short(&name));
        entries.extend(made_value(entropy, depth));
    }
    entries
}

fn made_value(entropy: &mut impl Iterator<Item = u8>, depth: usize) -> Vec<u8> {
    let kinds = b"VtbBsUuIifDLldTSxFA";
    let kind = entropy.next().unwrap_or(0);
    // Now and then the whole point of it.
    if kind == 0xFF {
        return nested(usize::from(entropy.next().unwrap_or(0)) * 4);
    }
    let kind = kinds[usize::from(kind) % kinds.len()];
    let inside = match kind {
        b'V' => vec![],
        b't' | b'b' | b'B' => vec![1],
        b's' | b'U' | b'u' => vec![1; 2],
        b'I' | b'i' | b'f' => vec![1; 4],
        b'D' => vec![1; 5],
        b'S' | b'x' => counted(&entropy.take(4).collect::<Vec<_>>()),
        b'F' if depth > 0 => counted(&made_table(entropy, depth - 1)),
        b'A' if depth > 0 => {
            let count = entropy.next().unwrap_or(0) % 4;
            counted(&(0..count).flat_map(|_| made_value(entropy, depth - 1)).collect::<Vec<_>>())
        }
        b'F' | b'A' => counted(&[]),
        _ => vec![1; 8],
    };
    [vec![kind], inside].concat()
}

/// A content header's payload; some of its bytes behind the size are others than they should be.
fn made_header() -> impl Strategy<Value = Vec<u8>> {
    let mutations = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let entropy = prop::collection::vec(any::<u8>(), 0..200);
    (any::<u16>(), entropy, mutations, prop::bool::weighted(0.1)).prop_map(|(flags, entropy, mutations, raw)| {
        let flags = if raw { flags } else { flags & 0xFFFC };
        let mut entropy = entropy.into_iter();
        let mut values = Vec::new();
        for bit in (2..16).rev().filter(|bit| flags & 1 << bit != 0) {
            match bit {
                13 => values.extend(counted(&made_table(&mut entropy, 8))),
                12 | 11 => values.push(2),
                6 => values.extend([0; 8]),
                _ => values.extend(short(&entropy.by_ref().take(5).map(|byte| byte % 132).collect::<Vec<_>>())),
            }
        }
        let mut payload = content_header(2, flags, &values);
        for (at, byte) in mutations {
            // Class, weight and size are the broker's own.
            let behind = payload.len() - 12;
            payload[12 + at.index(behind)] = byte;
        }
        payload
    })
}

fn sizes(most: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..most, 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_publisher_put_into_its_properties_the_parser_takes_what_comes_out(
        messages in prop::collection::vec((made_header(), prop::collection::vec(any::<u8>(), 0..6)), 1..6),
        pieces in sizes(400),
        buffers in sizes(300),
    ) {
        let bytes: Vec<u8> = messages.iter().flat_map(|(header, key)| delivery(key, header, b"{}")).collect();
        let out = guarded(&bytes, &pieces, &buffers);
        let frames = parsed(&out);
        prop_assert_eq!(frames.len(), 3 * messages.len());
        prop_assert_eq!(whole(&bytes), out, "the same however it arrives");
        for (frames, (header, key)) in frames.chunks(3).zip(&messages) {
            prop_assert_eq!(&frames[2], &AMQPFrame::Body(CHANNEL, b"{}".to_vec()));
            let good = std::str::from_utf8(key).is_ok() && content::is_good(header);
            let alone = frame(2, header);
            // Good ones pass; of the others each is marked, and the parser would not have taken those.
            if good {
                prop_assert_eq!(&parsed(&alone)[0], &frames[1]);
            } else {
                prop_assert!(!marked(frames).is_empty());
                let beyond_parser = header.len() > 450 || Unreadable::from_names(marked(frames).as_bytes()) == Unreadable::ROUTING_KEY;
                let flags = u16::from_be_bytes([header[12], header[13]]);
                prop_assert!(beyond_parser || flags & 3 != 0 || parsed(&alone).is_empty(), "{:?}", header);
            }
        }
    }

    #[test]
    fn no_bytes_of_a_broker_end_the_guard_or_the_parser(
        frames in prop::collection::vec(
            prop_oneof![
                made_header().prop_map(|header| frame(2, &header)),
                made_header().prop_map(|header| delivery(b"key", &header, b"{}")),
                prop::collection::vec(any::<u8>(), 0..40).prop_map(|payload| frame(1, &payload)),
                prop::collection::vec(any::<u8>(), 0..40),
            ],
            1..6,
        ),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        pieces in sizes(100),
        buffers in sizes(100),
    ) {
        let mut bytes = frames.concat();
        for (at, byte) in mutations {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let out = guarded(&bytes, &pieces, &buffers);
        parsed(&out);
        prop_assert_eq!(whole(&bytes), out);
    }
}
