//! Spans, by OpenTelemetry's API: whether they are recorded and where they go is known to whoever made the tracer.
//!
//! Attributes of an event are set here, under `hookbro.`; those of a broker or a vendor, in the adapter that knows it.

use crate::event::{Event, Verdict};
use opentelemetry::{
    Context, KeyValue, Value,
    global::BoxedTracer,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{FutureExt as _, SpanBuilder, Status, TraceContextExt as _, Tracer as _},
};
use std::{fmt, sync::Arc};
use tracing::Instrument as _;

/// Makes spans, or none at all: then no call here does anything. Clones share the tracer.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Tracing>>);

struct Tracing {
    tracer: BoxedTracer,
    propagator: Box<dyn TextMapPropagator + Send + Sync>,
}

/// How a span relates to the one that its message names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// As its child, in the same trace.
    Parent,
    /// In a trace of its own that points there.
    Link,
}

/// Why a span reached no collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanLoss {
    /// More were waiting than may.
    QueueFull,
    /// The collector was not there, not in time, or refused the batch.
    NotSent,
    /// The collector took the batch, and not this one.
    Rejected,
}

impl SpanLoss {
    pub const ALL: [Self; 3] = [Self::QueueFull, Self::NotSent, Self::Rejected];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::NotSent => "not_sent",
            Self::Rejected => "rejected",
        }
    }
}

/// One span, or nothing where tracing is off. Ends with [`Trace::end`], or when its last clone is dropped.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Box<Context>>);

impl Traces {
    pub fn new(tracer: BoxedTracer, propagator: impl TextMapPropagator + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(Tracing { tracer, propagator: Box::new(propagator) })))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span of a message. What `carrier` holds may be anything: it is a hint, and bad ones are none.
    pub fn of_message(&self, carrier: &dyn Extractor, follows: Follows, span: impl FnOnce() -> SpanBuilder) -> Trace {
        let Some(tracing) = &self.0 else { return Trace::default() };
        let named = tracing.propagator.extract_with_context(&Context::new(), carrier);
        let creation = named.span().span_context().clone();
        match follows {
            Follows::Link if creation.is_valid() => {
                let link = opentelemetry::trace::Link::with_context(creation);
                tracing.begin(span().with_links(vec![link]), &Context::new())
            }
            _ => tracing.begin(span(), &named),
        }
    }

    /// Begins the span of a call on behalf of the event in whose [`Trace::around`] this runs, and passes it on to the other side.
    pub fn of_call(&self, carrier: &mut dyn Injector, span: impl FnOnce() -> SpanBuilder) -> Trace {
        let Some(tracing) = &self.0 else { return Trace::default() };
        let trace = Context::map_current(|current| tracing.begin(span(), current));
        if let Some(context) = &trace.0 {
            tracing.propagator.inject_context(context, carrier);
        }
        trace
    }
}

impl Tracing {
    fn begin(&self, span: SpanBuilder, parent: &Context) -> Trace {
        Trace(Some(Box::new(parent.with_span(self.tracer.build_with_context(span, parent)))))
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.is_on()).finish()
    }
}

impl Trace {
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Runs `work` within this span: calls become its children, and log lines carry its `trace_id`.
    pub fn around<W: Future>(&self, work: W) -> impl Future<Output = W::Output> + use<W> {
        let context = self.0.as_deref().cloned().unwrap_or_default();
        let trace_id = context.span().span_context().trace_id();
        // Of the highest level, so that a quiet log keeps it on the lines that it does write.
        work.with_context(context).instrument(tracing::error_span!("event", %trace_id))
    }

    pub fn note(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value));
        }
    }

    /// Marks it as failed: `kind` is a word of few values, `description` for people.
    pub fn fail(&self, kind: impl Into<Value>, description: String) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(description));
        }
    }

    pub fn end(&self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }

    /// Says what became of the event, and ends its span. Never a body, never a token.
    pub fn settled(&self, verdict: &Verdict, event: Option<&Event>) {
        if !self.is_on() {
            return;
        }
        if let Some(event) = event {
            self.note("hookbro.event.id", event.id.to_string());
            self.note("hookbro.event.type", event.kind.to_string());
            self.note("hookbro.project", event.project.to_string());
        }
        self.note("hookbro.outcome", verdict.outcome());
        match verdict {
            Verdict::Delivered | Verdict::Duplicate => {}
            Verdict::Parked(parked) => self.note("hookbro.cause", parked.reason.detail()),
            Verdict::Released(why) => self.note("hookbro.cause", why.as_str()),
            Verdict::Retry(cause) => self.fail("retried", cause.detail.clone()),
            Verdict::Dead(dead) => {
                self.note("hookbro.dead.reason", dead.reason.as_str());
                self.fail(dead.reason.as_str(), dead.cause.detail.clone());
            }
        }
        self.end();
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
pub(crate) mod tests;
