//! An OpenTelemetry collector: takes OTLP over HTTP, decodes it, and shows the spans.

use super::{SOON, hookbro::Hookbro, until};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::task::AbortOnDropHandle;

/// What it does with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Takes,
    /// All but one of each batch.
    Rejects,
    Answers(u16),
    /// Never answers.
    Hangs,
}

pub struct Collector {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    spans: Vec<Spanned>,
    headers: Vec<HeaderMap>,
    resource: BTreeMap<String, String>,
}

/// One span, with its identifiers in hexadecimal.
#[derive(Debug, Clone)]
pub struct Spanned {
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: String,
    /// As OTLP numbers them: 3 is CLIENT, 5 is CONSUMER.
    pub kind: i32,
    pub failed: bool,
    pub links: Vec<String>,
    attributes: BTreeMap<String, String>,
}

impl Spanned {
    /// An attribute as text; empty if there is none.
    pub fn says(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Collector {
    pub async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let state = (Arc::clone(&seen), manner);
        let router = Router::new().route("/v1/traces", post(take)).with_state(state);
        let serving: JoinHandle<()> = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen, _serving: AbortOnDropHandle::new(serving) }
    }

    pub fn spans(&self) -> Vec<Spanned> {
        self.seen.lock().unwrap().spans.clone()
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().headers.clone()
    }

    pub fn resource(&self) -> BTreeMap<String, String> {
        self.seen.lock().unwrap().resource.clone()
    }

    /// The spans of this event's attempts, first attempt first, once there are `count`.
    pub async fn attempts(&self, event: &str, count: usize) -> Vec<Spanned> {
        until("its spans arrive", SOON, async || {
            let mut spans = self.spans();
            spans.retain(|span| span.kind == 5 && span.says("hookbro.event.id") == event);
            spans.sort_by_key(|span| span.says("hookbro.attempt").to_owned());
            (spans.len() == count).then_some(spans)
        })
        .await
    }

    /// The spans within `parent`, in the order of their ends.
    pub fn children(&self, parent: &Spanned) -> Vec<Spanned> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace == parent.trace && span.parent == parent.id);
        spans
    }
}

/// Waits until `series` of `hookbro` has reached `least`.
pub async fn counted(hookbro: &Hookbro, series: &str, least: f64) {
    until(series, SOON, async || (hookbro.metric(series).await >= least).then_some(())).await;
}

async fn take(
    State((seen, manner)): State<(Arc<Mutex<Seen>>, Manner)>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    {
        let mut seen = seen.lock().unwrap();
        seen.headers.push(headers);
        for of_resource in request.resource_spans {
            seen.resource = texts(of_resource.resource.unwrap().attributes);
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            seen.spans.extend(spans.map(spanned));
        }
    }
    match manner {
        Manner::Takes => (StatusCode::OK, Vec::new()),
        Manner::Rejects => {
            let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too odd".into() };
            let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
            (StatusCode::OK, answer.encode_to_vec())
        }
        Manner::Answers(status) => (StatusCode::from_u16(status).unwrap(), Vec::new()),
        Manner::Hangs => std::future::pending().await,
    }
}

fn spanned(span: Span) -> Spanned {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Spanned {
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        kind: span.kind,
        // OTLP's STATUS_CODE_ERROR.
        failed: span.status.is_some_and(|status| status.code == 2),
        links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
        attributes: texts(span.attributes),
        name: span.name,
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::StringValue(text) => text,
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |attribute: &KeyValue| attribute.value.clone().and_then(|value| value.value);
    attributes.iter().filter_map(|each| Some((each.key.clone(), text(value(each)?)))).collect()
}
