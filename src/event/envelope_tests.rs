use super::*;
use std::path::Path;

const LIMIT: usize = 1_048_576;

fn parse(body: &str) -> Result<Event, Rejected> {
    Event::parse(Bytes::copy_from_slice(body.as_bytes()), LIMIT)
}

fn with(members: &str) -> String {
    format!(
        r#"{{"id":"evt_1","project":"gigs","type":"com.gigs.x","time":"2026-08-03T06:14:10Z","specversion":"1.0","data":{{}}{members}}}"#
    )
}

#[track_caller]
fn refuses(body: &str, word: &str) {
    let failure = parse(body).expect_err(&body[..body.len().min(120)]).to_string();
    assert!(failure.starts_with(word), "expected {word}, got {failure}");
}

#[test]
fn every_documented_event_parses_and_keeps_its_bytes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events/good");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = Bytes::from(std::fs::read(entry.unwrap().path()).unwrap());
        let event = Event::parse(bytes.clone(), LIMIT).unwrap();
        assert_eq!(event.body(), bytes.trim_ascii());
        assert!(event.time.is_some());
        assert_eq!(event.oddities, []);
        seen += 1;
    }
    assert_eq!(seen, 50);
}

#[test]
fn every_hostile_body_meets_the_fate_its_note_suggests() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events/bad");
    for (name, word) in [
        ("01-empty-body.bin", "empty_body"),
        ("03-truncated.json", "invalid_json"),
        ("04-not-object-array.json", "not_an_object"),
        ("06-missing-id.json", "missing_id"),
        ("07-id-not-string.json", "invalid_id"),
        ("10-id-100k.json", "invalid_id"),
        ("11-missing-project.json", "missing_project"),
        ("12-project-null.json", "missing_project"),
        ("14-project-path-traversal.json", "invalid_project"),
        ("16-project-unicode.json", "invalid_project"),
        ("19-project-300-chars.json", "invalid_project"),
        ("21-missing-type.json", "missing_type"),
        ("22-type-with-spaces.json", "invalid_type"),
        ("24-duplicate-keys.json", "duplicate_key"),
        ("25-deep-nesting-10k.json", "too_deep"),
        ("27-nul-bytes.bin", "invalid_json"),
        ("29-invalid-utf8.bin", "invalid_utf8"),
        ("30-bom.bin", "invalid_json"),
        ("33-huge-2mb.json", "payload_too_large"),
        ("37-single-quotes.json", "invalid_json"),
        ("38-trailing-garbage.json", "invalid_json"),
        ("39-data-missing.json", "missing_data"),
        ("46-gzip-body.bin", "invalid_utf8"),
    ] {
        let body = Bytes::from(std::fs::read(folder.join(name)).unwrap());
        let failure = Event::parse(body, LIMIT).expect_err(name).to_string();
        assert!(failure.starts_with(word), "{name}: {failure:.100}");
        assert!(failure.len() < 300, "{name}: a detail stays one short line");
    }
    for name in [
        "32-lone-surrogate.json",
        "35-numbers-beyond-f64.json",
        "41-time-garbage.json",
        "43-specversion-0-3.json",
        "44-wrong-content-type.json",
        "45-no-properties.json",
        "50-retry-header-forged.json",
    ] {
        let body = Bytes::from(std::fs::read(folder.join(name)).unwrap());
        let event = Event::parse(body.clone(), LIMIT).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(event.body(), body.trim_ascii(), "{name}");
    }
}

#[test]
fn white_space_goes_and_everything_inside_stays() {
    let inside = with(r#","z" : 1.10,  "b":1E400"#);
    let event = parse(&format!("\r\n {inside}\t\n")).unwrap();
    assert_eq!(event.body(), inside.as_bytes());
}

#[test]
fn keys_and_values_count_after_their_escapes() {
    let event = parse(&with("").replace("evt_1", r"evt\u005f1")).unwrap();
    assert_eq!(event.id.as_str(), "evt_1");
    refuses(&with(r#","\u0069d":"evt_2""#), "duplicate_key: `id`");
    refuses(&with(r#","type":"x""#), "duplicate_key: `type`");
    refuses(&with("").replace("evt_1", r"a\u002fb"), "invalid_id");
}

#[test]
fn nesting_is_counted_outside_strings_only() {
    let nested = |n: usize| with(&format!(r#","n":{}{}"#, "[".repeat(n), "]".repeat(n)));
    assert!(parse(&nested(MAX_DEPTH - 1)).is_ok());
    refuses(&nested(MAX_DEPTH), "too_deep");
    let quoted = with(&format!(r#","s":"\\\"{}""#, "[".repeat(500)));
    assert!(parse(&quoted).is_ok());
}

#[test]
fn reserved_prefixes_and_dot_segments_are_refused() {
    refuses(&with("").replace("evt_1", "msg_1"), "invalid_id");
    refuses(&with("").replace("\"gigs\"", "\"app_gigs\""), "invalid_project");
    refuses(&with("").replace("\"gigs\"", "\"..\""), "invalid_project");
    refuses(&with("").replace("\"gigs\"", "{\"a\":1}"), "invalid_project");
}

#[test]
fn oddities_are_noticed_and_do_not_stop_the_event() {
    let event = parse(&with("").replace("1.0", "0.3").replace("2026-08-03T06:14:10Z", "yesterday")).unwrap();
    assert_eq!(event.oddities, [Oddity::Time, Oddity::Specversion]);
}

#[test]
fn what_is_rejected_is_still_known_by_its_id_and_project() {
    let known = |body: &str, limit| {
        let rejected = Event::parse(Bytes::copy_from_slice(body.as_bytes()), limit).unwrap_err();
        (rejected.id.map(|id| id.to_string()), rejected.project.map(|project| project.to_string()))
    };
    let (id, project) = (Some("evt_1".to_owned()), Some("gigs".to_owned()));
    assert_eq!(known(&with("").replace("com.gigs.x", "a b"), LIMIT), (id.clone(), project.clone()));
    assert_eq!(known(&with(""), 20), (id.clone(), project));
    assert_eq!(known(&with("").replace("\"gigs\"", "null"), LIMIT), (id, None));
    assert_eq!(known("{", LIMIT), (None, None));
}

#[test]
fn no_detail_quotes_a_value() {
    for bad in [with("").replace("\"evt_1\"", "{\"p\":\"hunter2\"}"), with("").replace("evt_1", "hunter2 hunter2")] {
        let said = parse(&bad).unwrap_err().to_string();
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn only_the_white_space_of_json_is_trimmed() {
    refuses(&format!("\u{c}{}", with("")), "invalid_json");
    refuses(&format!("{}\u{b}", with("")), "invalid_json");
}

#[test]
fn a_lone_surrogate_passes_in_a_name_as_in_a_value() {
    assert!(parse(&with(r#","a\ud800":"\udfff""#)).is_ok());
}
