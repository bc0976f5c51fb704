//! Starts and ends the listener for events by HTTP, beside the service.

use super::exit::Failure;
use crate::{
    amqp::{self, BrokerIntake, Publisher},
    config::IngestSettings,
    http,
    ports::metrics::Metrics,
};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The listener, if there is one.
pub(super) struct Ingesting {
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// Listens at `ingest.listen`. Stops to accept with `requested`; what is in hand then has `grace` to be confirmed.
pub(super) async fn start(
    ingest: IngestSettings,
    broker: &amqp::Settings,
    max_payload_bytes: usize,
    metrics: Arc<Metrics>,
    requested: &CancellationToken,
    grace: Duration,
) -> Result<Ingesting, Failure> {
    let stop = requested.child_token();
    let Some(listen) = ingest.listen else { return Ok(Ingesting { stop, task: None }) };
    let publisher = Publisher::new(broker.access.clone(), "hookbro ingest");
    let intake = Arc::new(BrokerIntake::new(publisher, broker.exchange.clone()));
    let keys = http::Keys { tokens: ingest.tokens, webhook_secrets: ingest.webhook_secrets };
    let router = http::ingest_router(http::Ingest::new(Arc::clone(&intake), keys, max_payload_bytes, metrics));
    let (address, serving) = http::serve(listen, "ingest.listen", router, stop.clone().cancelled_owned()).await?;
    tracing::info!(%address, "events are taken at POST /notifications");
    let end = stop.clone();
    let task = tokio::spawn(async move {
        tokio::select! {
            () = serving => {}
            () = async { end.cancelled().await; tokio::time::sleep(grace).await } => {
                tracing::warn!("the grace is over; requests that are not confirmed get no answer");
            }
        }
        intake.close().await;
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
            tracing::error!(error = %broken, "the listener for events by HTTP broke off");
        }
    }
}
