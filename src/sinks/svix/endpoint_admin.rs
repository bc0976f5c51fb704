//! The endpoint admin of a running hookbro: what operators ask of Svix through API and console, within the time that a page
//! may take.

use super::{
    admin::{AdminError, Endpoint, SvixAdmin},
    route::{AppId, Routes},
    settings::Settings,
};
use crate::{
    event::{EndpointId, EventId, EventType, ProjectId},
    operate::endpoint_admin::{self as admin, EndpointAdmin, EndpointAdminError},
};
use jiff::Timestamp;
use std::time::Duration;

/// Longest wait for Svix, repeats and the pages of a list included.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Asks with the token that delivers. Requests are rare, so each has a client of its own, with today's authorities.
#[derive(Debug)]
pub struct SvixEndpointAdmin {
    settings: Settings,
    routes: Routes,
}

impl SvixEndpointAdmin {
    pub fn new(settings: &Settings, routes: &Routes) -> Self {
        Self { settings: settings.clone(), routes: routes.clone() }
    }

    /// What `ask` answers of a project's application; where Svix has no such thing, the error says `missing`.
    async fn ask<T>(
        &self,
        project: &ProjectId,
        missing: &str,
        ask: impl AsyncFnOnce(&SvixAdmin, &AppId) -> Result<Option<T>, AdminError>,
    ) -> Result<T, EndpointAdminError> {
        let admin = SvixAdmin::new(&self.settings).map_err(|error| EndpointAdminError::Away(error.to_string()))?;
        match tokio::time::timeout(TIMEOUT, ask(&admin, self.routes.destination(project).app())).await {
            Ok(Ok(Some(answer))) => Ok(answer),
            Ok(Ok(None)) => Err(EndpointAdminError::Missing(missing.to_owned())),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(EndpointAdminError::Away(
                "no answer from Svix in time; see its portal before asking again".to_owned(),
            )),
        }
    }
}

fn failed(error: &AdminError) -> EndpointAdminError {
    let text = error.to_string();
    match error {
        AdminError::Refused { status, .. } => match status.as_u16() {
            400 | 404 | 409 | 413 | 422 => EndpointAdminError::Refused(text),
            _ => EndpointAdminError::Away(text),
        },
        AdminError::Access(_) => EndpointAdminError::Access(text),
        AdminError::NoAnswer { .. } | AdminError::Foreign { .. } | AdminError::Endless { .. } => {
            EndpointAdminError::Away(text)
        }
    }
}

fn line(endpoint: Endpoint) -> admin::Endpoint {
    let Endpoint { id, url, disabled, filter_types } = endpoint;
    admin::Endpoint { id, url, disabled, event_types: filter_types }
}

impl EndpointAdmin for SvixEndpointAdmin {
    async fn endpoints(&self, project: &ProjectId) -> Result<Vec<admin::Endpoint>, EndpointAdminError> {
        let missing = "Svix has no application of this project";
        self.ask(project, missing, async |svix, app| {
            if svix.application(app).await?.is_none() {
                return Ok(None);
            }
            Ok(Some(svix.endpoints(app).await?.into_iter().map(line).collect()))
        })
        .await
    }

    async fn test(
        &self,
        project: &ProjectId,
        endpoint: &EndpointId,
        kind: &EventType,
    ) -> Result<String, EndpointAdminError> {
        let missing = "Svix has no such project, endpoint or event type";
        self.ask(project, missing, async |svix, app| svix.send_example(app, endpoint, kind).await).await
    }

    async fn recover(
        &self,
        project: &ProjectId,
        endpoint: &EndpointId,
        since: Timestamp,
    ) -> Result<String, EndpointAdminError> {
        let missing = "Svix has no such project or endpoint";
        self.ask(project, missing, async |svix, app| svix.recover(app, endpoint, since).await).await
    }

    async fn resend(
        &self,
        project: &ProjectId,
        event: &EventId,
        endpoint: &EndpointId,
    ) -> Result<(), EndpointAdminError> {
        let missing = "Svix has no such message or endpoint in this project";
        // No URL carries a dot segment.
        if matches!(event.as_str(), "." | "..") {
            return Err(EndpointAdminError::Missing(missing.to_owned()));
        }
        self.ask(project, missing, async |svix, app| Ok(svix.resend(app, event, endpoint).await?.then_some(()))).await
    }

    async fn portal(&self, project: &ProjectId) -> Result<String, EndpointAdminError> {
        self.ask(project, "Svix has no application of this project", async |svix, app| svix.portal(app).await).await
    }
}
