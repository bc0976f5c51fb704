//! What becomes of which frame.

use super::{
    CHANNEL, FRAME_MAX, content_header, counted, delivery, frame, guarded, marked, nested, parsed, short, whole,
};
use crate::sources::rabbitmq::guard::table::{MAX_DEPTH, MAX_VALUES};
use amq_protocol::{
    frame::AMQPFrame,
    protocol::{AMQPClass, basic},
    types::AMQPValue,
};

/// Flags of properties.
const CONTENT_TYPE: u16 = 1 << 15;
const HEADERS: u16 = 1 << 13;
const DELIVERY_MODE: u16 = 1 << 12;
const MESSAGE_ID: u16 = 1 << 7;
const CLUSTER_ID: u16 = 1 << 2;

/// `depth` tables inside each other, as a value.
fn nested_tables(depth: usize) -> Vec<u8> {
    (0..depth).fold(vec![b'V'], |value, _| [vec![b'F'], counted(&[short(b"k"), value].concat())].concat())
}

/// One entry of headers.
fn headers(value: &[u8]) -> Vec<u8> {
    counted(&[short(b"k"), value.to_vec()].concat())
}

#[test]
fn what_the_parser_takes_passes_untouched() {
    let every_type = [
        b"V".to_vec(),
        b"t\x01".to_vec(),
        b"b\x01".to_vec(),
        b"B\x01".to_vec(),
        b"s\0\x01".to_vec(),
        b"U\0\x01".to_vec(),
        b"u\0\x01".to_vec(),
        b"I\0\0\0\x01".to_vec(),
        b"i\0\0\0\x01".to_vec(),
        b"f\0\0\0\x01".to_vec(),
        b"D\0\0\0\0\x01".to_vec(),
        b"L\0\0\0\0\0\0\0\x01".to_vec(),
        b"l\0\0\0\0\0\0\0\x01".to_vec(),
        b"d\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(),
        b"T\xff\0\0\0\0\0\0\x01".to_vec(),
        b"S\0\0\0\x01\xff".to_vec(),
        b"x\0\0\0\x01\xff".to_vec(),
        b"F\0\0\0\0".to_vec(),
        b"A\0\0\0\0".to_vec(),
    ];
    let array = [vec![b'A'], counted(&every_type.concat())].concat();
    let named: Vec<u8> = every_type.iter().flat_map(|value| [short("é".as_bytes()), value.clone()].concat()).collect();
    for (flags, values) in [
        (0, vec![]),
        (CONTENT_TYPE, short(b"application/json")),
        (HEADERS, counted(&named)),
        (HEADERS, headers(&array)),
        (HEADERS, headers(&nested(MAX_DEPTH - 1))),
        (HEADERS, headers(&nested_tables(MAX_DEPTH - 1))),
        (HEADERS, headers(&[vec![b'A'], counted(&[b'V'; MAX_VALUES - 1])].concat())),
        (HEADERS | DELIVERY_MODE, [headers(b"V"), vec![2]].concat()),
        (0xFFFC, {
            let empty = vec![0, 0, 0, 0, 0, 0, 2, 9, 0, 0, 0, 1, b'i'];
            [empty, vec![0; 8], vec![0; 4]].concat()
        }),
    ] {
        let bytes = delivery("clé".as_bytes(), &content_header(2, flags, &values), b"{}");
        assert_eq!(whole(&bytes), bytes, "{flags:b} {values:?}");
        assert_eq!(parsed(&bytes).len(), 3, "{flags:b} {values:?}: the parser takes it");
    }
}

#[test]
fn what_it_cannot_take_is_replaced_and_named() {
    let long = |flags, values: Vec<u8>| content_header(2, flags, &values);
    let too_many = [vec![b'A'], counted(&[b'V'; MAX_VALUES])].concat();
    let latin1_name = counted(&[short(b"caf\xe9"), vec![b'V']].concat());
    let latin1_inside = headers(&[vec![b'F'], latin1_name.clone()].concat());
    for (header, names) in [
        (long(HEADERS, headers(&nested(MAX_DEPTH))), "headers"),
        (long(HEADERS, headers(&nested_tables(MAX_DEPTH))), "headers"),
        (long(HEADERS, headers(&nested(20_000))), "headers"),
        (long(HEADERS, headers(&too_many)), "headers"),
        (long(HEADERS, counted(&[*b"\x01kV"; MAX_VALUES + 1].concat())), "headers"),
        (long(HEADERS, headers(b"Z")), "headers"),
        (long(HEADERS, headers(b"S\0\0\0\x02a")), "headers"),
        (long(HEADERS, headers(b"S\xff\xff\xff\xffa")), "headers"),
        (long(HEADERS, headers(b"A\0\0\0\x01Z")), "headers"),
        (long(HEADERS, headers(b"F\0\0\0\x01k")), "headers"),
        (long(HEADERS, counted(b"\x01")), "headers"),
        (long(HEADERS, counted(b"\x01k")), "headers"),
        (long(HEADERS | DELIVERY_MODE, [counted(b"\x05kV"), vec![2]].concat()), "headers"),
        (long(HEADERS, b"\0\0\0\x09".to_vec()), "headers"),
        (long(HEADERS, vec![0, 0]), "headers"),
        (long(HEADERS, latin1_name), "header_names"),
        (long(HEADERS, latin1_inside), "header_names"),
        (long(CONTENT_TYPE, short(b"caf\xe9")), "content_type"),
        (long(1 << 14, short(b"caf\xe9")), "content_encoding"),
        (long(CONTENT_TYPE | MESSAGE_ID, [short(b"a/b"), short(b"caf\xe9")].concat()), "message_id"),
        (long(MESSAGE_ID | CLUSTER_ID, vec![9, b'a']), "message_id,cluster_id"),
        (long(1 << 6, vec![0; 7]), "timestamp"),
        (long(0, vec![0]), "properties"),
        (long(1, vec![]), "properties"),
        (long(CONTENT_TYPE | 2, short(b"a/b")), "properties"),
    ] {
        let bytes = delivery(b"key", &header, b"{}");
        let out = whole(&bytes);
        let frames = parsed(&out);
        assert_eq!(frames.len(), 3, "{names}: {header:?}");
        assert_eq!(marked(&frames), names, "{header:?}");
        assert_eq!(frames[2], AMQPFrame::Body(CHANNEL, b"{}".to_vec()));
        // The delivery before it, and what is behind it, are as they were.
        assert!(bytes.starts_with(&out[..20]) && out.ends_with(&frame(3, b"{}")));
        let few = if bytes.len() < 1_000 { 1 } else { 1_000 };
        assert_eq!(guarded(&bytes, &[few], &[few]), out, "{header:?} in pieces of {few}");
        assert_eq!(whole(&out), out, "what is mended stays as it is");
    }
}

#[test]
fn what_can_be_kept_is_kept() {
    let entries = [
        [short(b"before"), b"S\0\0\0\x01b".to_vec()].concat(),
        [short(b"deep"), nested(MAX_DEPTH)].concat(),
        [short(b"x-hookbro-unreadable"), b"S\0\0\0\x0amessage_id".to_vec()].concat(),
        [short(b"behind"), b"I\0\0\0\x07".to_vec()].concat(),
        [short(b"unknown"), b"Z".to_vec()].concat(),
        [short(b"lost"), b"V".to_vec()].concat(),
    ];
    let values = [short(b"a/b"), counted(&entries.concat()), vec![2], short(b"caf\xe9")].concat();
    let flags = CONTENT_TYPE | HEADERS | DELIVERY_MODE | MESSAGE_ID;
    let frames = parsed(&whole(&delivery(b"cl\xe9", &content_header(2, flags, &values), b"{}")));
    assert_eq!(marked(&frames), "headers,message_id,routing_key");
    let AMQPFrame::Method(CHANNEL, AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver))) = &frames[0] else {
        panic!("{:?}", frames[0])
    };
    assert_eq!(deliver.routing_key.as_str(), "cl?");
    let AMQPFrame::Header(_, header) = &frames[1] else { panic!("{:?}", frames[1]) };
    assert_eq!(header.body_size, 2);
    let properties = &header.properties;
    assert_eq!(properties.content_type().as_ref().map(|text| text.as_str()), Some("a/b"));
    assert_eq!(properties.message_id().as_ref().map(|text| text.as_str()), Some("caf?"));
    assert_eq!(*properties.delivery_mode(), Some(2));
    let kept = properties.headers().as_ref().unwrap().inner();
    let kept: Vec<_> = kept.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let mark = AMQPValue::LongString("headers,message_id,routing_key".into());
    assert_eq!(
        kept,
        [
            ("before", AMQPValue::LongString("b".into())),
            ("behind", AMQPValue::LongInt(7)),
            ("deep", AMQPValue::Void),
            ("x-hookbro-unreadable", mark),
        ]
    );
}

#[test]
fn a_mark_belongs_to_the_message_of_its_method_alone() {
    let good = content_header(0, 0, &[]);
    let bytes = [delivery(b"\xff", &good, b""), delivery(b"key", &good, b"")].concat();
    let out = whole(&bytes);
    assert_eq!(marked(&parsed(&out)), "routing_key");
    assert!(out.ends_with(&delivery(b"key", &good, b"")));
}

#[test]
fn a_frame_that_is_too_large_for_lapin_is_made_to_fit() {
    let max = FRAME_MAX as usize;
    for size in [max - 7 - 1, max - 7, max, 2 * max, 4 * max] {
        // Class, weight, size, flags, the table's length, a name and a long string.
        let text = counted(&vec![b'y'; size - 14 - 4 - 2 - 1 - 4]);
        let header = content_header(2, HEADERS, &headers(&[vec![b'S'], text].concat()));
        assert_eq!(header.len(), size);
        let bytes = delivery(b"key", &header, b"{}");
        for pieces in [&[1_000_000][..], &[30_000, 7, 100_000]] {
            let out = guarded(&bytes, pieces, &[300_000, 5]);
            let frames = parsed(&out);
            assert_eq!(frames.len(), 3, "{size}");
            if size + 8 <= max {
                assert_eq!(out, bytes);
            } else {
                assert_eq!(marked(&frames), "headers", "{size}");
                assert!(out.len() < 300, "{size}");
            }
        }
    }
    // The mark alone makes it too large.
    let text = counted(&vec![b'y'; max - 8 - 14 - 4 - 2 - 1 - 4 - 5]);
    let header =
        content_header(2, HEADERS | MESSAGE_ID, &[headers(&[vec![b'S'], text].concat()), short(b"caf\xe9")].concat());
    let out = whole(&delivery(b"key", &header, b"{}"));
    assert_eq!(marked(&parsed(&out)), "headers,message_id");
    // A lower limit of the broker's counts from then on.
    let tune = frame(1, &[0, 10, 0, 30, 0, 0, 0, 0, 0x20, 0, 0, 60]);
    let header = content_header(2, HEADERS, &headers(&[vec![b'S'], counted(&[b'y'; 9_000])].concat()));
    let bytes = delivery(b"key", &header, b"{}");
    assert_eq!(whole(&bytes), bytes);
    let out = whole(&[tune.clone(), bytes].concat());
    assert_eq!(marked(&parsed(&out[tune.len()..])), "headers");
}

/// What is behind a replacement is copied once, not for each: else this would move 50 GB.
#[test]
fn a_read_full_of_poison_takes_one_pass() {
    const MANY: usize = 20_000;
    let poison = delivery(b"key", &content_header(2, MESSAGE_ID, &short(b"caf\xe9")), b"{}");
    // One large read, and small ones for what comes of it.
    let buffers = [vec![4 * 1024 * 1024], vec![1024; 3 * MANY]].concat();
    let out = guarded(&poison.repeat(MANY), &[4 * 1024 * 1024], &buffers);
    assert_eq!(parsed(&out).len(), 3 * MANY);
    assert_eq!(out, whole(&poison).repeat(MANY));
}

#[test]
fn errors_of_the_broker_that_repeat_foreign_bytes_are_readable() {
    let text = [vec![1, 0x96], short(b"invalid expiration 'caf\xe9'"), vec![0, 60, 0, 40]].concat();
    for method in [[0, 20, 0, 40], [0, 10, 0, 50]] {
        let bytes = frame(1, &[&method[..], &text].concat());
        assert!(parsed(&bytes).is_empty(), "the parser refuses it");
        assert_eq!(parsed(&whole(&bytes)).len(), 1);
    }
    let returned = [&[0, 60, 0, 50, 1, 0x38][..], &short(b"NO_ROUTE"), &short(b"\xfe"), &short(b"\xff")].concat();
    let bytes = [frame(1, &returned), frame(2, &content_header(0, 0, &[]))].concat();
    assert_eq!(marked(&parsed(&whole(&bytes))), "exchange,routing_key");
}

#[test]
fn what_is_no_amqp_reaches_the_parser_as_it_is() {
    let mut without_end = frame(2, &content_header(0, HEADERS, &headers(&nested(500))));
    without_end.pop();
    without_end.extend(b"?\0\0");
    for bytes in [
        &b"AMQP\0\0\x09\x01"[..],
        b"\x15\x03\x03\x00\x02\x02\x46",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &frame(1, &[0, 60]),
        &frame(2, &[0, 60, 0, 0, 0]),
        &frame(9, b"?"),
        &without_end,
    ] {
        for size in [1, 3, 100] {
            assert_eq!(guarded(bytes, &[size], &[64]), bytes, "{bytes:?}");
        }
    }
}
