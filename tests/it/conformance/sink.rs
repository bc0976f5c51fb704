//! What every sink must do.

use super::memory_sink::MemoryRig;
use crate::support::{
    events::{Sample, generated, one},
    svix::{TOKEN, TestSvix},
};
use bytes::Bytes;
use hookbro::{
    event::{DeadReason, Event},
    observe::{metrics::Metrics, trace::Traces},
    pipeline::sink::{Outcome, Probed, Scope, Sink, Terms},
    process::secret::Secret,
    sinks::svix::{Routes, Settings, SvixSink, UnknownProject},
};
use std::{sync::Arc, time::Duration};
use svix_sandbox::Fault;

/// A sink under test, with the far side that it delivers to.
pub(super) trait SinkRig {
    fn sink(&self) -> impl Sink;

    /// Lets the destination of a project fail from now on.
    fn fail(&self, project: &str);

    /// The far side goes away as a whole.
    async fn go_away(&mut self);

    /// What the far side holds of a project: ids and payloads, in the order in which they came.
    fn stored(&self, project: &str) -> Vec<(String, Bytes)>;
}

struct SvixRig(TestSvix);

impl SinkRig for SvixRig {
    fn sink(&self) -> impl Sink {
        // Once for each process is enough, so a second try may fail.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let settings = Settings {
            url: self.0.url(),
            token: Secret::fixed(TOKEN),
            authorities: Secret::fixed(""),
            timeout: Duration::from_secs(60),
        };
        let metrics = Arc::new(Metrics::new().unwrap());
        let (routes, unknown) = (Routes::default(), UnknownProject::Provision);
        SvixSink::new(&settings, routes, unknown, 10, metrics, Traces::default()).unwrap()
    }

    fn fail(&self, project: &str) {
        self.0.sandbox.add_fault(Fault { app: Some(project.into()), status: Some(500), ..Fault::default() });
    }

    async fn go_away(&mut self) {
        self.0.go_away().await;
    }

    fn stored(&self, project: &str) -> Vec<(String, Bytes)> {
        let messages = self.0.sandbox.messages().into_iter().filter(|message| message.app == project);
        messages.map(|message| (message.event_id.unwrap_or_default(), message.payload.to_vec().into())).collect()
    }
}

macro_rules! conforms {
    ($($check:ident)*) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $check() {
                super::$check(super::MemoryRig::default()).await;
            })*
        }

        mod to_svix {
            $(#[tokio::test]
            async fn $check() {
                super::$check(super::SvixRig(super::TestSvix::start().await)).await;
            })*
        }
    };
}

conforms! {
    what_is_accepted_is_there_once_with_its_own_bytes
    a_repeat_is_told_and_stored_once_and_another_event_under_its_id_is_dead
    one_destinations_failure_is_about_it_alone
    a_far_side_that_is_away_is_about_the_sink_as_a_whole
}

async fn deliver<S: Sink>(sink: &S, sample: &Sample) -> Outcome {
    let event = Event::parse(sample.body.clone(), 1_000_000).unwrap();
    let to = sink.destination(&event);
    let terms = Terms { goes_on: &|| true, last: false };
    sink.deliver(&event, &to, terms).await.expect("it was to go on")
}

async fn what_is_accepted_is_there_once_with_its_own_bytes(rig: impl SinkRig) {
    let sink = rig.sink();
    let samples = generated("sink", &["gigs", "dev"], 20);
    for sample in &samples {
        let outcome = deliver(&sink, sample).await;
        assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");
        assert_eq!(outcome.scope(), Scope::Event);
    }
    for project in ["gigs", "dev"] {
        let of = samples.iter().filter(|sample| sample.project == project);
        assert_eq!(rig.stored(project), of.map(|s| (s.id.clone(), s.body.clone())).collect::<Vec<_>>());
    }
    assert_eq!(sink.probe().await, Ok(Probed::Well));
}

async fn a_repeat_is_told_and_stored_once_and_another_event_under_its_id_is_dead(rig: impl SinkRig) {
    let sink = rig.sink();
    let sample = one("repeat", "gigs");
    let _accepted = deliver(&sink, &sample).await;
    let again = deliver(&sink, &sample).await;
    assert!(matches!(again, Outcome::Repeated(_)), "{again:?}");
    let text = String::from_utf8(sample.body.to_vec()).unwrap();
    let other = Sample { body: text.replace("1.10", "2.20").into(), ..sample.clone() };
    assert_ne!(other.body, sample.body);
    let outcome = deliver(&sink, &other).await;
    assert!(matches!(outcome, Outcome::Dead { reason: DeadReason::Conflict, .. }), "{outcome:?}");
    assert_eq!((again.scope(), outcome.scope()), (Scope::Event, Scope::Event));
    assert_eq!(rig.stored("gigs"), [(sample.id, sample.body)]);
}

async fn one_destinations_failure_is_about_it_alone(rig: impl SinkRig) {
    let sink = rig.sink();
    rig.fail("gigs");
    let failed = deliver(&sink, &one("sick", "gigs")).await;
    assert!(matches!(failed, Outcome::Failed { .. }), "{failed:?}");
    assert_eq!(failed.scope(), Scope::Destination);
    let well = one("well", "dev");
    let accepted = deliver(&sink, &well).await;
    assert!(matches!(accepted, Outcome::Accepted(_)), "{accepted:?}");
    assert!(rig.stored("gigs").is_empty());
    assert_eq!(rig.stored("dev"), [(well.id, well.body)]);
}

async fn a_far_side_that_is_away_is_about_the_sink_as_a_whole(mut rig: impl SinkRig) {
    rig.go_away().await;
    let sink = rig.sink();
    let outcome = deliver(&sink, &one("away", "gigs")).await;
    assert!(matches!(outcome, Outcome::Halt { .. }), "{outcome:?}");
    assert_eq!(outcome.scope(), Scope::Sink);
    assert!(matches!(sink.probe().await, Err(Outcome::Halt { .. })));
    assert!(rig.stored("gigs").is_empty());
}
