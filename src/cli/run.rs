//! `hookbro run`: puts the parts together, starts them, and waits for the end.

use super::{
    exit::{Failure, runtime},
    ingest,
    pages::Desks,
    signals,
};
use crate::{
    config::Settings,
    http, observe as telemetry,
    observe::{health::Health, metrics::Metrics},
    pipeline as service,
    pipeline::{
        journal::{Recorder, journal},
        pauses::{Board, Pauses},
    },
    sinks::svix::SvixSink,
    sources::{rabbitmq as amqp, rabbitmq::Topology},
    store as journal,
    store::{PauseTable, Place, Reader, Writer},
};
use std::{io::IsTerminal as _, sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::task::AbortOnDropHandle;

/// Longest wait for a scraper that is still reading when the process ends.
const PAGES_GRACE: Duration = Duration::from_secs(1);

pub(super) fn run(settings: Settings) -> Result<(), Failure> {
    telemetry::init(settings.log.format, &settings.log.level, std::io::stderr().is_terminal())?;
    let runtime = runtime()?;
    // On a worker, not on this thread: the loop that begins deliveries would wake a worker for each of them.
    let serving = runtime.spawn(serve(settings));
    let ended = runtime.block_on(serving).unwrap_or_else(|broken| Err(Failure::Running(broken.to_string())));
    // A name look-up or a file on a hung mount may never return; the process does not wait for it.
    runtime.shutdown_background();
    ended
}

/// Longest wait for the last entries: a batch takes a fraction of a second, and Kubernetes kills 5 s after `shutdown.grace`.
const JOURNAL_GRACE: Duration = Duration::from_secs(2);

/// Both ends of the journal and the task that writes it.
fn open_journal(
    settings: journal::Settings,
    metrics: &Arc<Metrics>,
    health: &Arc<Health>,
) -> (Recorder, Reader, JoinHandle<()>) {
    if Place::of(&settings.url.current()) == Ok(Place::Off) {
        return (Recorder::off(), Reader::off(), tokio::spawn(async {}));
    }
    let (recorder, inbox) = journal(Arc::clone(metrics));
    let (writer, reader) = Writer::new(settings, inbox, Arc::clone(metrics), Arc::clone(health));
    (recorder, reader, tokio::spawn(writer.run()))
}

async fn serve(settings: Settings) -> Result<(), Failure> {
    let stop = signals::listen().await?;
    let metrics = Arc::new(Metrics::new().map_err(|error| Failure::Running(error.to_string()))?);
    let health = Arc::new(Health::new());
    let (traces, exporting) = telemetry::start(&settings.tracing, &metrics)
        .map_err(|error| Failure::Running(format!("cannot set up HTTPS: {error}")))?;
    let sink = SvixSink::new(&settings.svix, Arc::clone(&metrics))
        .map_err(|error| Failure::Configuration(error.to_string()))?
        .traced(traces.clone());
    let (recorder, reader, writing) = open_journal(settings.journal.clone(), &metrics, &health);
    let board = Arc::new(Board::new(Arc::clone(&metrics)));
    let pauses = Arc::new(Pauses::new(PauseTable::beside(&reader), board));
    let (desks, pages) = Desks::open(&settings, reader, &pauses, &metrics, &health, stop.requested.clone())?;
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

    let (broker, topology) = (settings.broker.clone(), Topology::new(&settings.broker));
    let looking = amqp::watch_policies(broker, topology, Arc::clone(&metrics), Arc::clone(&health));
    let _looking = AbortOnDropHandle::new(tokio::spawn(looking));
    let service = service::Settings {
        broker: settings.broker,
        routes: settings.routing.routes,
        projects: settings.metrics_projects,
        unknown_project: settings.routing.unknown_project,
        provision_limit: settings.routing.provision_limit,
        max_payload_bytes: settings.max_payload_bytes,
        rate_limit: settings.rate_limit,
        grace,
        traces,
    };
    let (requested, told) = (stop.requested.clone(), stop.clone());
    let asked = requested.clone();
    let deadline = tokio::spawn(async move {
        asked.cancelled().await;
        Instant::now() + grace
    });
    // What operators change is written by the same store, which closes with the last recorder.
    let store = recorder.clone();
    let ended = service::run(service, sink, metrics, health, service::Records { recorder, pauses }, stop).await;
    ingesting.end().await;
    desks.close().await;
    drop(store);
    // The last recorder is gone with the service: the writer ends once all is written.
    if tokio::time::timeout(JOURNAL_GRACE, writing).await.is_err() {
        tracing::warn!("the journal's last entries were not written in time");
    }
    // Unasked, it ends over what no waiting mends: then for the spans there is no grace either.
    let deadline = if requested.is_cancelled() { deadline.await.ok() } else { None };
    exporting.close(deadline.unwrap_or_else(Instant::now)).await;
    done.cancel();
    let _ = tokio::time::timeout(PAGES_GRACE, serving).await;
    ended?;
    if told.hurried.is_cancelled() && told.cut.is_cancelled() {
        return Err(Failure::Running("a second signal came, and calls in flight were cut off".into()));
    }
    Ok(())
}
