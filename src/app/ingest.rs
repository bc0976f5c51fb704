//! Starts and ends the listener for events by HTTP, beside the service.

use super::error::AppError;
use crate::{
    config::IngestSettings,
    http,
    observe::metrics::Metrics,
    sources::{
        rabbitmq as amqp,
        rabbitmq::{BrokerIntake, Entrance, Publisher, Topology},
    },
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for the connection to close, once every request is answered or given up.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// The listener, if there is one.
pub(super) struct Ingesting {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// Listens at `ingest.listen`. Stops to accept with `requested`; requests that are open then have `grace` to be confirmed.
pub(super) async fn start(
    ingest: IngestSettings,
    broker: &amqp::Settings,
    max_payload_bytes: usize,
    metrics: Arc<Metrics>,
    requested: &CancellationToken,
    grace: Duration,
) -> Result<Ingesting, AppError> {
    let stop = requested.child_token();
    let Some(listen) = ingest.listen else { return Ok(Ingesting { stop, task: None }) };
    let entrance = Entrance::new(Topology::new(broker));
    let publisher = Publisher::through(broker.access.clone(), "hookbro ingest", entrance);
    let intake = Arc::new(BrokerIntake::new(publisher, broker.exchange.clone(), broker.bindings.clone()));
    let keys = http::Keys { tokens: ingest.tokens, webhook_secrets: ingest.webhook_secrets };
    let router = http::ingest_router(http::Ingest::new(Arc::clone(&intake), keys, max_payload_bytes, metrics));
    let (address, serving) = http::serve(listen, "ingest.listen", router, stop.clone().cancelled_owned()).await?;
    tracing::info!(%address, "events are taken at POST /notifications");
    let end = stop.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = serving => {}
            () = async { end.cancelled().await; tokio::time::sleep(grace).await } => {
                tracing::warn!("shutdown.grace is over: ingest requests that are not confirmed get no answer");
            }
        }
        // A put that waits for a connection has the lock that closing needs.
        if tokio::time::timeout(CLOSE_TIMEOUT, intake.close()).await.is_err() {
            tracing::debug!("broker did not confirm the close of the ingest connection in time");
        }
    });
    Ok(Ingesting { stop, task: Some(task) })
}

impl Ingesting {
    /// Waits until the last request is answered, or the grace over.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Some(task) = self.task
            && let Err(broken) = task.await
        {
            tracing::error!(error = %broken, "ingest listener ended unexpectedly");
        }
    }
}
