//! A time as operators give it, in every front end: RFC 3339, or how long ago.

use jiff::{SignedDuration, Timestamp};

/// Reads `2026-08-03T06:00:00Z`, or `2h` for two hours ago. A refusal completes the sentence "`since` …".
pub fn parse(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let wrong = || "must be RFC 3339, as 2026-08-03T06:14:10Z, or how long ago, as 2h".to_owned();
    let ago: SignedDuration = text.parse().map_err(|_| wrong())?;
    Timestamp::now().checked_sub(ago).map_err(|_| wrong())
}
