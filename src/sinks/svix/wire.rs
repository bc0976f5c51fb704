//! The bytes of a message call: where it goes and what it carries.
//!
//! The body is written around the event's own bytes, never re-encoded: key order, big numbers and escapes survive.

use super::{answer::Create, body::MessageBody, route::AppId};
use crate::{event::Event, sinks::svix::MARK};
use std::time::{Duration, SystemTime};

/// Waits that a far side may ask for, however it asks.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// Path and query of a message call. Every identifier is of a checked alphabet, so nothing needs escaping.
pub(super) fn message_path(app: &AppId) -> String {
    format!("/api/v1/app/{app}/msg?with_content=false")
}

/// The request body. Identifiers hold no character that JSON would escape.
pub(super) fn message_body(event: &Event, app: &AppId, create: Create) -> MessageBody {
    let application = match create {
        Create::Never => String::new(),
        Create::IfMissing => {
            let (key, value) = MARK;
            format!(r#""application":{{"name":"{app}","uid":"{app}","metadata":{{"{key}":"{value}"}}}},"#)
        }
    };
    let head = format!(r#"{{{application}"eventType":"{}","eventId":"{}","payload":"#, event.kind, event.id);
    MessageBody { head, payload: event.body().clone() }
}

/// Reads `Retry-After` (RFC 9110, 10.2.3: seconds or an HTTP date), bounded to five minutes.
pub(super) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    let wait = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        httpdate::parse_http_date(value).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The API host of the region that a token names in its suffix, as in Svix's own clients
/// (svix-webhooks, `rust/src/api/client.rs`).
pub(super) fn regional_url(token: &str) -> &'static str {
    match token.rsplit_once('.').map(|(_, region)| region) {
        Some("us") => "https://api.us.svix.com",
        Some("eu") => "https://api.eu.svix.com",
        Some("in") => "https://api.in.svix.com",
        Some("ca") => "https://api.ca.svix.com",
        Some("au") => "https://api.au.svix.com",
        _ => "https://api.svix.com",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn written(body: MessageBody) -> Bytes {
        Bytes::copy_from_slice(reqwest::Body::from(body).as_bytes().unwrap())
    }

    #[test]
    fn the_payload_is_the_body_byte_for_byte() {
        let raw =
            r#"{"z":1, "id":"evt_1","project":"p","type":"t","data":{"n":1.10,"b":12345678901234567890,"s":"\u00e9"}}"#;
        let event = Event::parse(Bytes::from_static(raw.as_bytes()), 1000).unwrap();
        let app = AppId::try_new("p").unwrap();
        let plain = written(message_body(&event, &app, Create::Never));
        assert_eq!(plain, format!(r#"{{"eventType":"t","eventId":"evt_1","payload":{raw}}}"#));
        let creating = written(message_body(&event, &app, Create::IfMissing));
        let application = r#"{"name":"p","uid":"p","metadata":{"created-by":"hookbro"}}"#;
        let expected = format!(r#"{{"application":{application},"eventType":"t","eventId":"evt_1","payload":{raw}}}"#);
        assert_eq!(creating, expected);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_long() {
        let now = httpdate::parse_http_date("Mon, 03 Aug 2026 06:14:10 GMT").unwrap();
        assert_eq!(retry_after("2", now), Some(Duration::from_secs(2)));
        assert_eq!(retry_after("Mon, 03 Aug 2026 06:14:20 GMT", now), Some(Duration::from_secs(10)));
        assert_eq!(retry_after("Mon, 03 Aug 2026 06:14:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("999999", now), Some(MAX_RETRY_AFTER));
        assert_eq!(retry_after("Monday, 03-Aug-26 06:14:20 GMT", now), Some(Duration::from_secs(10)), "RFC 850");
        assert_eq!(retry_after("Mon Aug  3 06:14:20 2026", now), Some(Duration::from_secs(10)), "asctime");
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-3", now), None);
    }

    #[test]
    fn the_region_is_the_suffix_of_the_token() {
        assert_eq!(regional_url("sk_abc.eu"), "https://api.eu.svix.com");
        assert_eq!(regional_url("sk_abc.us"), "https://api.us.svix.com");
        assert_eq!(regional_url("sk_abc.mars"), "https://api.svix.com");
        assert_eq!(regional_url("sk_abc"), "https://api.svix.com");
    }
}
