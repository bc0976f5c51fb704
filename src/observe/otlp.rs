//! Spans to a collector, by OTLP over HTTP with protobuf bodies (OTLP 1.5, "OTLP/HTTP"). A collector that is slow or away
//! costs spans and a count, never an event and never a wait.

use super::queue::{Bounded, CAPACITY, Tally};
use crate::{
    observe::{
        metrics::Metrics,
        trace::{SpanLoss, Traces},
    },
    process::secret::Secret,
};
use opentelemetry::{Key, global::BoxedTracer, trace::TracerProvider as _};
use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    propagation::TraceContextPropagator,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter, SpanLimits},
};
use prost::Message as _;
use reqwest::{
    Client, Url,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, time::Instant};

/// Spans in one request; the SDK's own default.
const BATCH: usize = 512;
/// How long spans wait for others. Whoever looks at a trace looks seconds later.
const DELAY: Duration = Duration::from_secs(1);
/// Longest wait for the collector's answer. Meanwhile the queue fills; a batch is tried once.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Least time for the last spans when the events have used up the grace.
const LEAST_FLUSH: Duration = Duration::from_millis(500);
/// Longest answer read, in bytes: it says at most how many spans were rejected, and why.
const MAX_ANSWER: usize = 64 * 1024;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");

/// The settings of tracing: `tracing.*`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where spans are posted; `None`: tracing is off.
    pub endpoint: Option<Url>,
    /// Share of the traces begun here that are recorded, 0 to 1. Where the message names a trace, that one's choice holds.
    pub sample_ratio: f64,
    /// More headers, `name=value`, one a line.
    pub headers: Secret,
}

/// The way out of what is recorded. To be closed, so that the last spans are sent.
#[derive(Debug, Default)]
#[must_use = "the last spans are sent by `close`"]
pub struct Exporting(Option<(SdkTracerProvider, Arc<Tally>)>);

/// What the collector said to a batch: how many spans it did not take.
type Posted = Result<usize, String>;

/// Makes spans and sends them, if an endpoint is set. To be called within a runtime, whose workers then make the calls.
pub fn start(settings: &Settings, metrics: &Arc<Metrics>) -> Result<(Traces, Exporting), reqwest::Error> {
    let Some(endpoint) = &settings.endpoint else { return Ok(<_>::default()) };
    let client = Client::builder()
        .user_agent(concat!("hookbro/", env!("CARGO_PKG_VERSION")))
        .timeout(TIMEOUT)
        .redirect(redirect::Policy::none())
        .build()?;
    let tally = Arc::new(Tally::new(Arc::clone(metrics)));
    let collector = Collector { client, endpoint: endpoint.clone(), headers: settings.headers.clone() };
    let exporter = Exporter {
        collector: Arc::new(collector),
        resource: ResourceAttributesWithSchema::default(),
        runtime: Handle::current(),
        tally: Arc::clone(&tally),
    };
    // Set one by one: what is left to the builder it takes from OTEL_* variables.
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(CAPACITY)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY);
    let inner = BatchSpanProcessor::builder(exporter).with_batch_config(batches.build()).build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio))))
        .with_span_limits(SpanLimits::default())
        .with_span_processor(Bounded { inner, tally: Arc::clone(&tally) })
        .build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("hookbro")));
    Ok((Traces::new(tracer, TraceContextPropagator::new()), Exporting(Some((provider, tally)))))
}

/// Who the spans are of. `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` count, since platforms set them.
fn resource() -> Resource {
    let given = Resource::builder().build();
    let nameless = given.get(&Key::new("service.name")).is_none_or(|name| name.as_str().starts_with("unknown_service"));
    let resource =
        Resource::builder().with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    if nameless { resource.with_service_name("hookbro").build() } else { resource.build() }
}

impl Exporting {
    /// Sends what waits until `deadline`, and at least for `LEAST_FLUSH`.
    pub async fn close(self, deadline: Instant) {
        let Some((provider, tally)) = self.0 else { return };
        let left = deadline.saturating_duration_since(Instant::now()).max(LEAST_FLUSH);
        // It blocks; the calls that it waits for run on this runtime's workers.
        let flushing = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(left));
        let _ = tokio::time::timeout(left, flushing).await;
        tally.lose(SpanLoss::NotSent, tally.waiting(), "the process ended before they were sent");
    }
}

/// Where batches go.
#[derive(Debug)]
struct Collector {
    client: Client,
    endpoint: Url,
    headers: Secret,
}

/// Called by the SDK's own thread, one batch after another.
#[derive(Debug)]
struct Exporter {
    collector: Arc<Collector>,
    resource: ResourceAttributesWithSchema,
    runtime: Handle,
    tally: Arc<Tally>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.tally.take(spans);
        let resource_spans = group_spans_by_resource_and_scope(batch, &self.resource);
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let collector = Arc::clone(&self.collector);
        let posted = self.runtime.spawn(async move { collector.post(body).await }).await;
        match posted.unwrap_or_else(|ended| Err(ended.to_string())) {
            Ok(rejected) => {
                let rejected = rejected.min(spans);
                self.tally.sent(spans - rejected);
                self.tally.lose(SpanLoss::Rejected, rejected, "the collector rejected them");
                Ok(())
            }
            Err(why) => {
                self.tally.lose(SpanLoss::NotSent, spans, &why);
                Err(OTelSdkError::InternalFailure(why))
            }
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource = resource.into();
    }
}

impl Collector {
    async fn post(&self, body: Vec<u8>) -> Posted {
        let mut headers = headers(&self.headers.current())?;
        headers.insert(header::CONTENT_TYPE, PROTOBUF);
        let sent = self.client.post(self.endpoint.clone()).headers(headers).body(body).send().await;
        // The URL of the operator may hold what is not for the log.
        let mut answer = sent.map_err(|error| failed(error.without_url()))?;
        if !answer.status().is_success() {
            return Err(format!("the collector answered {}", answer.status()));
        }
        let mut read = Vec::new();
        while let Ok(Some(chunk)) = answer.chunk().await {
            if read.len() + chunk.len() > MAX_ANSWER {
                break;
            }
            read.extend_from_slice(&chunk);
        }
        // Some collectors answer JSON or nothing, which says nothing either way.
        let partial = ExportTraceServiceResponse::decode(&*read).ok().and_then(|response| response.partial_success);
        Ok(partial.and_then(|partial| usize::try_from(partial.rejected_spans).ok()).unwrap_or(0))
    }
}

/// The innermost reason.
fn failed(error: reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    format!("the collector cannot be reached: {cause}")
}

/// Headers given as `name=value`, one a line. An error names the line, and never repeats it.
pub fn headers(lines: &str) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (n, line) in lines.lines().enumerate() {
        let wrong = |what: &str| format!("header {} {what}; expected name=value", n + 1);
        let (name, value) = line.split_once('=').ok_or_else(|| wrong("has no ="))?;
        let name = HeaderName::try_from(name.trim()).map_err(|_| wrong("has a name that HTTP cannot carry"))?;
        let mut value = HeaderValue::try_from(value.trim()).map_err(|_| wrong("has a value that HTTP cannot carry"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_secret_and_their_mistakes_name_the_line() {
        let good = headers("authorization=Bearer a=b\nx-tenant = one").unwrap();
        assert_eq!(good["authorization"], "Bearer a=b");
        assert_eq!(good["x-tenant"], "one");
        assert!(!format!("{good:?}").contains("Bearer"));
        for (text, says) in [("a=b\nhunter2", "header 2 has no ="), ("hun ter2=x", "header 1 has a name")] {
            let problem = headers(text).unwrap_err();
            assert!(problem.contains(says) && !problem.contains("hunter2"), "{problem}");
        }
        assert!(headers("").unwrap().is_empty());
    }
}
