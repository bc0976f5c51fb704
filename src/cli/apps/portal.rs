//! `apps portal`.

use super::organisation::Organisation;
use crate::{
    app,
    cli::{
        audit::{self, AuditArgs},
        exit::Failure,
        output,
        project::project,
    },
    event::ProjectId,
    operate::{
        endpoint_admin::{EndpointAdminError, NO_PORTAL},
        endpoints::Order,
    },
    sinks::svix,
};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub(super) struct PortalArgs {
    /// The project whose portal is opened.
    #[arg(value_name = "PROJECT", value_parser = project)]
    project: ProjectId,
    #[command(flatten)]
    audit: AuditArgs,
}

/// The link goes to standard output and nowhere else.
pub(super) async fn portal(
    args: &PortalArgs,
    organisation: &Organisation,
    svix: &svix::Settings,
) -> Result<(), Failure> {
    let (project, to) = (&args.project, organisation.routes.destination(&args.project));
    let audit = args.audit.open(&organisation.journal).await?;
    let endpoints = app::endpoints(svix, &organisation.routes, Arc::clone(&audit));
    let link = endpoints.order(audit::actor(), project, Order::Portal).await;
    audit.close().await;
    let link = link.map_err(|error| {
        audit::not_made(error, |error| match error {
            EndpointAdminError::Missing(_) => {
                let app = to.app();
                Failure::Svix(format!("{project}: there is no application {app}; `hookbro apps provision` creates it"))
            }
            EndpointAdminError::Access(text) => Failure::Configuration(text),
            EndpointAdminError::Refused(text) | EndpointAdminError::Away(text) => Failure::Svix(text),
        })
    })?;
    let link = link.unwrap_or_default();
    if link == NO_PORTAL {
        eprintln!("hookbro: this Svix is the open-source server, which has no customer portal");
    }
    output::print(&format!("{link}\n"))
}
