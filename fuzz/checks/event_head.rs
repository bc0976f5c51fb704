//! Whatever a body is, it is either read as another parser reads it, or refused without a word of what it says.

use bytes::Bytes;
use hookbro::event::{Event, ParseFailure};

/// Largest event taken, in bytes: small, so that the fuzzer reaches both sides of it.
const LIMIT: usize = 2048;
/// Longest identifier that Svix takes, in characters.
const MAX_IDENT: usize = 256;
/// Longest reason for refusing a body, in bytes: it becomes a header and a log line.
const MAX_REASON: usize = 256;

pub fn check(data: &[u8]) {
    let blank = |byte: &u8| b" \t\r\n".contains(byte);
    let begin = data.iter().position(|byte| !blank(byte)).unwrap_or(data.len());
    let end = data.iter().rposition(|byte| !blank(byte)).map_or(begin, |last| last + 1);
    let trimmed = &data[begin..end];
    match Event::parse(Bytes::copy_from_slice(data), LIMIT) {
        Ok(event) => {
            assert_eq!(event.body().as_ref(), trimmed, "the payload is the body, byte for byte");
            assert!(trimmed.len() <= LIMIT);
            for ident in [event.id.as_str(), event.project.as_str(), event.kind.as_str()] {
                assert!(!ident.is_empty() && ident.chars().count() <= MAX_IDENT, "{ident}");
            }
            // serde_json's own tree refuses some of what passes (lone surrogates, its depth limit).
            if let Ok(tree) = serde_json::from_slice::<serde_json::Value>(trimmed) {
                assert_eq!(tree["id"], event.id.as_str());
                assert_eq!(tree["project"], event.project.as_str());
                assert_eq!(tree["type"], event.kind.as_str());
                assert!(tree.as_object().is_some_and(|members| members.contains_key("data")));
            }
            let again = Event::parse(event.body().clone(), LIMIT);
            assert!(again.is_ok_and(|again| again.id == event.id && again.project == event.project));
        }
        Err(rejected) => {
            let reason = rejected.failure.to_string();
            assert!(reason.len() <= MAX_REASON && !reason.contains(char::is_control), "{reason:?}");
            let too_large = matches!(rejected.failure, ParseFailure::TooLarge { .. });
            assert_eq!(too_large, trimmed.len() > LIMIT);
        }
    }
}
