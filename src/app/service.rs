//! The service that `hookbro run` is: both ends of the pipeline, what operators see and do, and the order of the end.

use super::{error::AppError, ingest, pages::Operating};
use crate::{
    config::Settings,
    http,
    observe::{self, health::Health, metrics::Metrics, trace::Traces},
    pipeline::{
        self,
        backoff::Jitter,
        journal::{Recorder, journal},
        pauses::{Board, Pauses},
    },
    process::stop::Stop,
    sinks::svix::SvixSink,
    sources::rabbitmq::{PauseRecord, RabbitMq, Topology, watch_policies},
    store::{self, Location, Reader, Writer},
};
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// Longest wait for a scraper that is still reading when the process ends.
const PAGES_GRACE: Duration = Duration::from_secs(1);

/// Longest wait for the last entries: a batch takes a fraction of a second, and Kubernetes kills 5 s after `shutdown.grace`.
const JOURNAL_GRACE: Duration = Duration::from_secs(2);

/// Both ends of the journal and the task that writes it.
fn open_journal(
    settings: store::Settings,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> (Recorder, Reader, JoinHandle<()>) {
    if Location::of(&settings.url.current()) == Ok(Location::Off) {
        return (Recorder::off(), Reader::off(), tokio::spawn(async {}));
    }
    let (recorder, inbox) = journal(Arc::clone(metrics));
    let (writer, reader) = Writer::new(settings, inbox, Arc::clone(metrics), Arc::clone(health));
    (recorder, reader, tokio::spawn(writer.run()))
}

/// The sink that the settings name.
pub fn svix_sink(settings: &Settings, metrics: &Arc<Metrics>, traces: Traces) -> Result<SvixSink, AppError> {
    let routing = &settings.routing;
    let (routes, unknown, limit) = (routing.routes.clone(), routing.unknown_project, routing.provision_limit);
    SvixSink::new(&settings.svix, routes, unknown, limit, Arc::clone(metrics), traces)
        .map_err(|error| AppError::Configuration(error.to_string()))
}

/// Serves until `stop`, and then until what is under way is settled or `shutdown.grace` is over.
pub async fn serve(settings: Settings, stop: Stop) -> Result<(), AppError> {
    let metrics = Arc::new(Metrics::new().map_err(|error| AppError::Running(error.to_string()))?);
    let health = Arc::new(Health::new());
    let (traces, exporting) = observe::start(&settings.tracing, &metrics)
        .map_err(|error| AppError::Running(format!("cannot set up HTTPS: {error}")))?;
    let sink = svix_sink(&settings, &metrics, traces.clone())?;
    let (recorder, reader, writing) = open_journal(settings.journal.clone(), &metrics, &health);
    let board = Arc::new(Board::new(Arc::clone(&metrics)));
    let topology = Topology::new(&settings.broker);
    let pauses = Arc::new(Pauses::new(PauseRecord::new(&settings.broker, &topology), board));
    let (operating, pages) = Operating::open(&settings, reader, &pauses, &metrics, &health, stop.requested.clone())?;
    tokio::spawn(settings.secret_files.watch());
    // The pages outlive the drain, so that its end can be watched.
    let done = tokio_util::sync::CancellationToken::new();
    let (address, serving) =
        http::serve(settings.admin.listen, "admin.listen", pages, done.clone().cancelled_owned()).await?;
    let serving = tokio::spawn(serving);
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "metrics, health and status are served");

    let grace = settings.shutdown_grace;
    let shared = Arc::clone(&metrics);
    let ingesting =
        ingest::start(settings.ingest, &settings.broker, settings.max_payload_bytes, shared, &stop.requested, grace)
            .await?;

    let watching = watch_policies(settings.broker.clone(), topology.clone(), Arc::clone(&metrics), Arc::clone(&health));
    let _watching = AbortOnDropHandle::new(tokio::spawn(watching));
    let delivery = pipeline::Settings {
        projects: settings.metrics_projects,
        max_payload_bytes: settings.max_payload_bytes,
        rate_limit: settings.rate_limit,
        grace,
        max_in_flight: topology.max_in_flight(),
        fresh_from: topology.entries().map(str::to_owned).collect(),
        max_from_lots: topology.max_from_lots(),
        lanes: topology.lanes(),
        jitter: Jitter::random(),
        max_parked: settings.max_parked,
    };
    let source = RabbitMq::new(&settings.broker, &metrics, &health, traces, stop.cut.clone());
    let ends = pipeline::Ends { parking: source.parking(), source, sink };
    let (requested, ended_by) = (stop.requested.clone(), stop.clone());
    let asked = requested.clone();
    let deadline = tokio::spawn(async move {
        asked.cancelled().await;
        Instant::now() + grace
    });
    // What operators change is written by the same store, which closes with the last recorder.
    let store = recorder.clone();
    let ended = pipeline::run(
        delivery,
        ends,
        metrics,
        health,
        pipeline::Records { recorder, pauses: Arc::clone(&pauses) },
        stop,
    )
    .await;
    ingesting.end().await;
    operating.close().await;
    pauses.store().close().await;
    drop(store);
    // The last recorder is gone with the service: the writer ends once all is written.
    if tokio::time::timeout(JOURNAL_GRACE, writing).await.is_err() {
        tracing::warn!("last journal entries were not written in time");
    }
    // Unasked, it ends over what no waiting mends: then for the spans there is no grace either.
    let deadline = if requested.is_cancelled() { deadline.await.ok() } else { None };
    exporting.close(deadline.unwrap_or_else(Instant::now)).await;
    done.cancel();
    let _ = tokio::time::timeout(PAGES_GRACE, serving).await;
    ended?;
    if ended_by.hurried.is_cancelled() && ended_by.cut.is_cancelled() {
        return Err(AppError::Running("a second signal came, and calls in flight were cut off".into()));
    }
    Ok(())
}
