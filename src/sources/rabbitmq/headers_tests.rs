//! What copies carry, and what is read back from them.

use super::*;
use crate::event::Cause;

const BODY: &[u8] = br#"{"id":"evt_1","project":"gigs","type":"t","data":{}}"#;

fn published() -> BasicProperties {
    let mut table = FieldTable::default();
    table.insert("CC".into(), text("elsewhere"));
    table.insert("traceparent".into(), text("00-1-2-03"));
    table.insert("x-hookbro-status".into(), text("forged"));
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id("evt_1".into())
        .with_delivery_mode(1)
        .with_expiration("1000".into())
        .with_user_id("somebody".into())
        .with_headers(table)
}

fn dead() -> Dead {
    let cause = Cause { status: None, detail: "two\nlines".into() };
    Dead { reason: DeadReason::Malformed, cause, project: None, event_id: None }
}

#[test]
fn a_copy_keeps_all_but_what_would_delete_refuse_or_multiply_it() {
    let copy = dead_properties(&published(), &dead(), 3);
    let own = |name: &str| copy.headers().as_ref().and_then(|table| table.inner().get(name)).cloned();
    assert_eq!((copy.expiration(), copy.user_id()), (&None, &None));
    assert_eq!(copy.message_id().as_ref().map(ShortString::as_str), Some("evt_1"));
    assert_eq!(*copy.delivery_mode(), Some(1));
    assert_eq!(own("CC"), None);
    assert_eq!(own("traceparent"), Some(text("00-1-2-03")));
    assert_eq!(own("x-hookbro-original-CC"), Some(text("elsewhere")));
    assert_eq!(own("x-hookbro-original-expiration"), Some(text("1000")));
    assert_eq!(own("x-hookbro-original-user_id"), Some(text("somebody")));
    assert_eq!(own("x-hookbro-reason"), Some(text("malformed")));
    assert_eq!(own("x-hookbro-detail"), Some(text("two lines")));
    assert_eq!(own("x-hookbro-attempts"), Some(AMQPValue::LongInt(3)));
    assert_eq!(own("x-hookbro-status"), None, "a publisher's own is not believed");
}

#[test]
fn a_replay_climbs_again_and_keeps_its_history() {
    let once = replay_properties(&dead_properties(&published(), &dead(), 1));
    let twice = replay_properties(&dead_properties(&once, &dead(), 7));
    assert_eq!(number(&once, "replayed"), Some(1));
    assert_eq!(number(&twice, "replayed"), Some(2));
    assert_eq!(header(&twice, "replayed-reason"), Some(&text("malformed")));
    assert!(header(&twice, "replayed-failed-at").is_some());
    for name in DEAD_LETTER {
        assert_eq!(header(&twice, name), None, "{name} is of the last climb");
    }
    assert_eq!(header(&twice, "original-expiration"), Some(&text("1000")));
}

#[test]
fn what_is_written_is_read_back() {
    let dead = Dead { cause: Cause { status: Some(422), detail: "no".into() }, reason: DeadReason::Refused, ..dead() };
    let event = dead_letter(&dead_properties(&published(), &dead, 2), "k", Bytes::from_static(BODY));
    assert_eq!((event.id.as_deref(), event.project.as_deref()), (Some("evt_1"), Some("gigs")));
    assert_eq!((event.reason, event.status, event.attempts), (DeadReason::Refused, Some(422), Some(2)));
    assert_eq!((event.detail.as_deref(), event.replayed), (Some("no"), 0));
    assert!(event.failed_at.is_some());
}

#[test]
fn an_event_that_the_broker_gave_up_is_read_as_exhausted() {
    let event = dead_letter(&BasicProperties::default(), "k", Bytes::from_static(BODY));
    assert_eq!((event.reason, event.attempts, event.failed_at), (DeadReason::Exhausted, None, None));
    assert_eq!((event.id.as_deref(), event.kind.as_deref()), (Some("evt_1"), Some("t")));
    let junk = dead_letter(&BasicProperties::default(), "k", Bytes::from_static(b"\xff"));
    assert_eq!((junk.id, junk.project, junk.kind), (None, None, None));
}

/// Properties with which the broker has moved a message past its delivery limit.
fn moved() -> FieldTable {
    let mut entry = FieldTable::default();
    entry.insert("queue".into(), text("q.retry.2"));
    entry.insert("reason".into(), text("delivery_limit"));
    entry.insert("time".into(), AMQPValue::Timestamp(1_785_736_800));
    let mut table = FieldTable::default();
    table.insert("x-death".into(), AMQPValue::FieldArray(vec![AMQPValue::FieldTable(entry)].into()));
    table
}

#[test]
fn a_dead_letter_of_the_brokers_says_what_the_broker_wrote_down() {
    let event = dead_letter(&BasicProperties::default().with_headers(moved()), "k", Bytes::from_static(BODY));
    assert_eq!((event.reason, event.attempts), (DeadReason::Exhausted, Some(3)));
    assert_eq!(event.failed_at, "2026-08-03T06:00:00Z".parse().ok());
    assert!(event.detail.unwrap().contains("returned to `q.retry.2` more often"));
    // One of hookbro's own says what hookbro wrote down.
    let copy = dead_properties(&BasicProperties::default().with_headers(moved()), &dead(), 1);
    let event = dead_letter(&copy, "k", Bytes::from_static(BODY));
    assert_eq!((event.attempts, event.detail.as_deref()), (Some(1), Some("two lines")));
}

#[test]
fn a_replay_carries_nothing_that_the_broker_recorded_of_the_last_climb() {
    let mut table = moved();
    for name in ["x-first-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count", "own"] {
        table.insert(name.into(), text("as it was"));
    }
    let replayed = replay_properties(&BasicProperties::default().with_headers(table));
    let names: Vec<_> = replayed.headers().as_ref().unwrap().into_iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["own", "x-hookbro-replayed"]);
}

#[test]
fn headers_of_odd_types_are_survived() {
    let mut table = FieldTable::default();
    table.insert("x-hookbro-attempts".into(), AMQPValue::LongString("many".into()));
    table.insert("x-hookbro-reason".into(), AMQPValue::Boolean(true));
    table.insert("x-hookbro-failed-at".into(), text("yesterday"));
    let event = dead_letter(&BasicProperties::default().with_headers(table), "k", Bytes::from_static(BODY));
    assert_eq!((event.reason, event.attempts, event.failed_at), (DeadReason::Exhausted, None, None));
}

#[test]
fn a_long_detail_is_cut_between_characters() {
    let line = one_line(&"é".repeat(1000));
    assert!(line.len() <= MAX_DETAIL && line.chars().all(|c| c == 'é'));
}

#[test]
fn headers_that_would_not_fit_a_frame_are_left_out_and_counted() {
    let mut table = FieldTable::default();
    table.insert("big".into(), text(&"x".repeat(120_000)));
    table.insert("small".into(), text("kept"));
    let from = BasicProperties::default().with_headers(table);
    assert!(header_bytes(&from) > 120_000);
    let copy = dead_properties(&from, &dead(), 1);
    assert!(header_bytes(&copy) < MAX_COPIED + 2_000);
    assert_eq!(header(&copy, "original-headers-dropped"), Some(&AMQPValue::LongInt(1)));
    assert!(copy.headers().as_ref().unwrap().contains_key("small"));
}

#[test]
fn the_truth_stands_over_what_a_publisher_made_up() {
    let mut table = FieldTable::default();
    table.insert("CC".into(), text("real"));
    table.insert("x-hookbro-original-CC".into(), text("forged"));
    let copy = dead_properties(&BasicProperties::default().with_headers(table), &dead(), 1);
    assert_eq!(header(&copy, "original-CC"), Some(&text("real")));
}

#[test]
fn the_brokers_own_count_is_read_under_its_own_name() {
    let mut table = FieldTable::default();
    table.insert("x-hookbro-x-delivery-count".into(), AMQPValue::LongLongInt(9));
    table.insert("x-delivery-count".into(), AMQPValue::LongLongInt(4));
    assert_eq!(delivery_count(&BasicProperties::default().with_headers(table)), 4);
    assert_eq!(delivery_count(&published()), 0);
}

#[test]
fn a_released_event_climbs_again_without_the_records_of_its_first_climb() {
    let mut table = FieldTable::default();
    for name in ["x-death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count", "own", "traceparent"] {
        table.insert(name.into(), text("as it was"));
    }
    let from = published().with_headers(table);
    let fresh = fresh_properties(&portable(&from));
    let names: Vec<_> = fresh.headers().as_ref().unwrap().into_iter().map(|(name, _)| name.as_str()).collect();
    for kept in ["own", "traceparent"] {
        assert!(names.contains(&kept), "{kept} of {names:?}");
    }
    assert!(names.iter().all(|name| !name.starts_with("x-death") && !name.contains("-death-")), "{names:?}");
    assert!(!names.contains(&"x-delivery-count") && !names.contains(&"x-hookbro-replayed"), "{names:?}");
    assert_eq!((fresh.expiration(), fresh.message_id()), (&None, from.message_id()));
}

/// Properties with the guard's mark.
#[test]
fn a_parked_event_says_since_when_and_why_until_it_climbs_again() {
    let (first, later): (Timestamp, Timestamp) =
        ("2026-08-03T06:00:00Z".parse().unwrap(), "2026-08-04T06:00:00Z".parse().unwrap());
    assert_eq!(parked_at(&published()), None);
    let parked = parked_properties(&published(), first, ParkReason::Paused);
    assert_eq!((parked_at(&parked), parked_reason(&parked)), (Some(first), Some(ParkReason::Paused)));
    assert_eq!(parked.message_id(), published().message_id());
    let again = parked_properties(&parked, later, ParkReason::CircuitOpen);
    assert_eq!((parked_at(&again), parked_reason(&again)), (Some(later), Some(ParkReason::CircuitOpen)));
    let fresh = fresh_properties(&again);
    assert_eq!((parked_at(&fresh), parked_reason(&fresh)), (None, None));
    let mut table = FieldTable::default();
    table.insert("x-hookbro-parked-at".into(), text("tomorrow"));
    assert_eq!(parked_at(&BasicProperties::default().with_headers(table)), None, "no time");
}

fn marked(names: &str) -> BasicProperties {
    let mut table = FieldTable::default();
    table.insert(MARK.into(), text(names));
    BasicProperties::default().with_headers(table)
}

#[test]
fn a_mark_says_what_could_not_be_read_in_our_words_alone() {
    let read = |names| {
        let Unreadable { needed, spare } = unreadable(&marked(names));
        (needed, spare)
    };
    assert_eq!(read("headers,message_id"), ("headers".into(), "message_id".into()));
    assert_eq!(read("routing_key"), (String::new(), "routing_key".into()));
    assert_eq!(read("your account is closed,reason"), (String::new(), String::new()));
    let mut table = FieldTable::default();
    table.insert(MARK.into(), AMQPValue::Boolean(true));
    assert!(unreadable(&BasicProperties::default().with_headers(table)).needed.is_empty());
}

#[test]
fn a_dead_letter_says_in_its_detail_what_could_not_be_read_and_a_replay_says_nothing() {
    let copy = dead_properties(&marked("headers"), &dead(), 1);
    assert_eq!(header(&copy, "unreadable"), None);
    assert!(replay_properties(&marked("headers")).headers().as_ref().unwrap().inner().get(MARK).is_none());
    // Copies that climb on keep it: the event is the same.
    assert!(portable(&marked("message_id")).headers().is_some());
    // As the broker moved it, or an older version left it.
    let letter = |names| dead_letter(&marked(names), "k", Bytes::from_static(BODY));
    assert_eq!(letter("headers").reason, DeadReason::Malformed);
    assert_eq!(letter("message_id").reason, DeadReason::Exhausted);
    assert!(letter("message_id").detail.unwrap().contains("message_id"));
}
