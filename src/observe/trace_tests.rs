use super::*;
use crate::event::{Cause, Dead, DeadReason, Released};
use opentelemetry::trace::{SpanKind, TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use std::{collections::HashMap, sync::Mutex, time::Duration};

/// Spans that have ended, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded(Arc<Mutex<Vec<SpanData>>>);

impl SpanProcessor for Recorded {
    fn on_start(&self, _: &mut Span, _: &Context) {}
    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl Recorded {
    /// Records the share of new traces that `ratio` says.
    pub(crate) fn start(ratio: f64) -> (Traces, Self) {
        let recorded = Self::default();
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
        let provider = SdkTracerProvider::builder().with_span_processor(recorded.clone()).with_sampler(sampler).build();
        let tracer = BoxedTracer::new(Box::new(provider.tracer("test")));
        (Traces::new(tracer, TraceContextPropagator::new()), recorded)
    }

    pub(crate) fn spans(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().clone()
    }
}

fn span(name: &'static str) -> SpanBuilder {
    SpanBuilder::from_name(name).with_kind(SpanKind::Consumer)
}

/// A publisher's headers, with this trace's flags.
fn published(flags: &str) -> HashMap<String, String> {
    let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    [("traceparent".to_owned(), parent), ("tracestate".to_owned(), "vendor=x".to_owned())].into()
}

#[tokio::test]
async fn a_call_is_the_child_of_the_event_around_it_and_tells_the_other_side() {
    let (traces, recorded) = Recorded::start(1.0);
    let event = traces.of_message(&published("01"), Follows::Parent, || span("event"));
    let sent = event
        .around(async {
            // Elsewhere meanwhile: the context must come back with the task.
            tokio::task::yield_now().await;
            let mut sent = HashMap::new();
            traces.of_call(&mut sent, || span("call")).end();
            sent
        })
        .await;
    event.settled(&Verdict::Delivered, None);
    let [call, event] = recorded.spans().try_into().unwrap();
    assert_eq!(call.parent_span_id, event.span_context.span_id());
    assert_eq!(event.parent_span_id.to_string(), "00f067aa0ba902b7");
    let (trace, id) = (event.span_context.trace_id(), call.span_context.span_id());
    assert_eq!(trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(sent["traceparent"], format!("00-{trace}-{id}-01"));
    assert_eq!(sent["tracestate"], "vendor=x");
}

#[test]
fn the_publishers_choice_of_what_is_recorded_holds() {
    for (flags, ratio, count) in [("01", 0.0, 1), ("00", 1.0, 0)] {
        let (traces, recorded) = Recorded::start(ratio);
        let event = traces.of_message(&published(flags), Follows::Parent, || span("event"));
        let mut sent = HashMap::new();
        {
            let _within = Context::clone(event.0.as_deref().unwrap()).attach();
            traces.of_call(&mut sent, || span("call"));
        }
        event.end();
        drop(event);
        assert_eq!(recorded.spans().iter().filter(|span| span.name == "event").count(), count, "{flags}");
        // Recorded or not, the other side hears of the trace and of the choice.
        assert!(sent["traceparent"].starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{sent:?}");
        assert!(sent["traceparent"].ends_with(flags), "{sent:?}");
    }
    let (traces, recorded) = Recorded::start(0.0);
    traces.of_message(&HashMap::new(), Follows::Parent, || span("event")).end();
    assert_eq!(recorded.spans().len(), 0, "without a publisher's choice the ratio decides");
}

#[test]
fn what_became_of_an_event_stands_on_its_span() {
    let cause = || Cause { status: Some(503), detail: "Svix answered 503".into() };
    let dead = Dead { reason: DeadReason::Exhausted, cause: cause(), project: None, event_id: None };
    for (verdict, failed, said) in [
        (Verdict::Delivered, None, None),
        (Verdict::Duplicate, None, None),
        (Verdict::Released(Released::DeferredTooLong), None, Some(("hookbro.cause", "deferred too long by a halt"))),
        (Verdict::Retry(cause()), Some("retried"), None),
        (Verdict::Dead(dead), Some("exhausted"), Some(("hookbro.dead.reason", "exhausted"))),
    ] {
        let (traces, recorded) = Recorded::start(1.0);
        traces.of_message(&HashMap::new(), Follows::Parent, || span("event")).settled(&verdict, None);
        let [span] = recorded.spans().try_into().unwrap();
        let value = |name: &str| {
            let found = span.attributes.iter().find(|attribute| attribute.key.as_str() == name);
            found.map(|attribute| attribute.value.as_str().into_owned())
        };
        assert_eq!(value("hookbro.outcome").as_deref(), Some(verdict.outcome()));
        assert_eq!(value("error.type").as_deref(), failed, "{verdict:?}");
        assert_eq!(span.status != Status::Unset, failed.is_some(), "{verdict:?}");
        if let Some((name, reason)) = said {
            assert_eq!(value(name).as_deref(), Some(reason));
        }
    }
}

#[tokio::test]
async fn where_tracing_is_off_nothing_is_begun_and_nothing_sent() {
    let traces = Traces::default();
    let never = || -> SpanBuilder { panic!("nobody asked for it") };
    let event = traces.of_message(&published("01"), Follows::Parent, never);
    let mut sent = HashMap::new();
    let call = traces.of_call(&mut sent, never);
    assert!(!event.is_on() && !call.is_on() && sent.is_empty());
    event.settled(&Verdict::Delivered, None);
}
