//! Points in time as options give them.

use jiff::{SignedDuration, Timestamp};

/// RFC 3339, or so long ago.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago: SignedDuration =
        text.parse().map_err(|_| "expected RFC 3339 as 2026-08-03T06:00:00Z, or 2h".to_owned())?;
    Timestamp::now().checked_sub(ago).map_err(|error| error.to_string())
}
