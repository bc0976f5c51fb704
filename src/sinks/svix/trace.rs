//! A message call as OpenTelemetry's HTTP conventions describe it (semantic conventions 1.30, "HTTP client"), and its trace
//! context on the way to Svix.

use super::classify::{error_label, root_cause};
use crate::observe::trace::{Trace, Traces};
use opentelemetry::{
    KeyValue,
    propagation::Injector,
    trace::{SpanBuilder, SpanKind},
};
use reqwest::{
    Request, StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue},
};

/// The path without its identifiers, so that spans of one kind have one name.
const TEMPLATE: &str = "/api/v1/app/{app_id}/msg";

/// Begins the span of `request` and writes its context into the headers.
pub(super) fn begin(traces: &Traces, request: &mut Request) -> Trace {
    if !traces.is_on() {
        return Trace::default();
    }
    let (method, url) = (request.method().to_string(), request.url().clone());
    traces.of_call(&mut Carrier(request.headers_mut()), || {
        let mut attributes = vec![
            KeyValue::new("http.request.method", method.clone()),
            KeyValue::new("server.address", url.host_str().unwrap_or_default().to_owned()),
            KeyValue::new("url.full", url.as_str().to_owned()),
            KeyValue::new("url.template", TEMPLATE),
        ];
        attributes.extend(url.port_or_known_default().map(|port| KeyValue::new("server.port", i64::from(port))));
        SpanBuilder::from_name(format!("{method} {TEMPLATE}")).with_kind(SpanKind::Client).with_attributes(attributes)
    })
}

/// Ends it with the answer's status, or with what came instead of one.
pub(super) fn end(trace: &Trace, answered: Result<StatusCode, &reqwest::Error>) {
    if !trace.is_on() {
        return;
    }
    match answered {
        Ok(status) => {
            trace.note("http.response.status_code", i64::from(status.as_u16()));
            // A conflict is a repeat that Svix has: nothing failed.
            if !status.is_success() && status != StatusCode::CONFLICT {
                trace.fail(status.as_str().to_owned(), String::new());
            }
        }
        Err(error) => trace.fail(error_label(error), root_cause(error)),
    }
    trace.end();
}

struct Carrier<'a>(&'a mut HeaderMap);

impl Injector for Carrier<'_> {
    /// What no header can carry, or is empty, is left out: a `tracestate` comes from outside.
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value), false) =
            (HeaderName::try_from(key), HeaderValue::try_from(&value), value.is_empty())
        {
            self.0.insert(name, value);
        }
    }
}
