//! Svix's client as the maker of the calls that a delivery consists of.

use super::{
    answer::{Answer, Create, Messages, Presence},
    client::SvixClient,
    proof::Proof,
    route::AppId,
};
use crate::{event::Event, process::secret::Generation};

impl Messages for SvixClient {
    async fn post(&self, event: &Event, app: &AppId, create: Create) -> Answer {
        self.message(event, app, create).await
    }

    async fn prove(
        &self,
        event: &Event,
        app: &AppId,
        last: bool,
        goes_on: &(dyn Fn() -> bool + Send + Sync),
    ) -> Option<Answer> {
        Proof { sink: self, event, app, last, goes_on }.find().await
    }

    async fn look_up(&self, app: &AppId) -> Result<Presence, Answer> {
        self.presence(app).await
    }

    fn generation(&self) -> Generation {
        self.token().generation()
    }
}
