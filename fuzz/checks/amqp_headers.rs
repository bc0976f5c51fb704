//! Whatever headers a publisher made up, a dead letter with them is read, and its replay can be published again.

use bytes::Bytes;
use hookbro::sources::rabbitmq::{dead_letter, header_bytes, replay_properties};
use lapin::{
    BasicProperties,
    types::{FieldTable, parsing::parse_field_table},
};

const BODY: &[u8] = br#"{"id":"evt_1","project":"gigs","type":"t","data":{}}"#;
/// RabbitMQ's default frame: headers that do not fit one close the connection.
const FRAME: usize = 128 * 1024;
/// What a copy may not carry, and what was said of the climb before.
const LEFT_OUT: [&str; 6] = ["CC", "BCC", "x-hookbro-reason", "x-hookbro-failed-at", "x-hookbro-status", "x-death"];

pub fn check(data: &[u8]) {
    // As they stand in a frame: AMQP 0-9-1, 4.2.5.5, a length and then names and values.
    let Ok((_, headers)) = parse_field_table(data) else { return };
    let published =
        BasicProperties::default().with_expiration("1000".into()).with_user_id("somebody".into()).with_headers(headers);
    let read = |properties: &BasicProperties| dead_letter(properties, "gigs.t", Bytes::from_static(BODY));
    let dead = read(&published);
    assert!(dead.id.is_some() && dead.project.is_some());

    let replay = replay_properties(&published);
    assert_eq!((replay.expiration(), replay.user_id()), (&None, &None));
    assert!(header_bytes(&replay) < FRAME, "{} bytes", header_bytes(&replay));
    let none = FieldTable::default();
    let names = replay.headers().as_ref().unwrap_or(&none).inner();
    for name in LEFT_OUT {
        assert!(!names.contains_key(name), "{name} is carried over");
    }
    let replayed = read(&replay);
    assert!(replayed.replayed >= 1, "a replay counts {}", replayed.replayed);
    assert!(replayed.replayed > dead.replayed || replayed.replayed == i64::from(i32::MAX));
    assert_eq!(header_bytes(&replay_properties(&replay)), header_bytes(&replay), "replays must not grow");
}
