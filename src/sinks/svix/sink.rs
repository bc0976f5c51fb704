//! Svix as a sink: an event goes to the application of its project, which is created where that is missing and may be.

use super::{
    answer::{Answer, Messages},
    client::SvixClient,
    http::ClientError,
    provision::Provisioner,
    route::{Destination, Routes, UnknownProject},
    settings::Settings,
};
use crate::{
    event::Event,
    observe::{metrics::Metrics, trace::Traces},
    pipeline::sink::{Outcome, Probed, Sink, Terms},
    process::secret::Generation,
};
use std::sync::Arc;

/// Delivers to Svix.
#[derive(Debug)]
pub struct SvixSink(Deliveries<SvixClient>);

impl SvixSink {
    /// `provision_limit`: applications created in an hour at most. Fails if nothing could be called.
    pub fn new(
        settings: &Settings,
        routes: Routes,
        unknown_project: UnknownProject,
        provision_limit: u32,
        metrics: Arc<Metrics>,
        traces: Traces,
    ) -> Result<Self, ClientError> {
        let client = SvixClient::new(settings, Arc::clone(&metrics))?.traced(traces);
        let provisioner = Provisioner::new(unknown_project, provision_limit, metrics);
        Ok(Self(Deliveries { client, routes, provisioner }))
    }

    /// The certificate that Svix shows, as DER; none without TLS or an answer. Asks on a connection of its own.
    pub async fn server_certificate(&self) -> Option<Vec<u8>> {
        self.0.client.server_certificate().await
    }
}

impl Sink for SvixSink {
    type Destination = Destination;

    fn destination(&self, event: &Event) -> Destination {
        self.0.routes.destination(&event.project)
    }

    async fn deliver(&self, event: &Event, to: &Destination, terms: Terms<'_>) -> Option<Outcome> {
        self.0.deliver(event, to, terms).await
    }

    async fn probe(&self) -> Result<Probed, Outcome> {
        self.0.client.probe().await.map_err(Outcome::from)
    }

    fn generation(&self) -> Generation {
        self.0.client.token().generation()
    }

    async fn credentials_changed(&self, seen: Generation) {
        self.0.client.token().changed_since(seen).await;
    }
}

/// The calls of a delivery, one after another, whoever makes them.
#[derive(Debug)]
pub(super) struct Deliveries<M> {
    pub(super) client: M,
    pub(super) routes: Routes,
    pub(super) provisioner: Provisioner,
}

impl<M: Messages> Deliveries<M> {
    pub(super) async fn deliver(&self, event: &Event, to: &Destination, terms: Terms<'_>) -> Option<Outcome> {
        let answer = match self.provisioner.deliver(&self.client, event, to, terms.goes_on).await? {
            // Boxed, since it is rare: the task of an ordinary event must not grow by it.
            Answer::Conflict => Box::pin(self.client.prove(event, to.app(), terms.last, terms.goes_on)).await?,
            answer => answer,
        };
        Some(answer.into())
    }
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
