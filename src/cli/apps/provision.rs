//! `apps provision`.

use super::{Place, project};
use crate::{
    cli::{exit::Failure, output},
    event::{EventType, ProjectId},
    pipeline::route::Destination,
    sinks::svix::Made,
};
use std::collections::BTreeSet;

#[derive(Debug, clap::Args)]
pub(super) struct ProvisionArgs {
    #[arg(required = true, value_name = "PROJECT", value_parser = project)]
    projects: Vec<ProjectId>,
    /// An endpoint to deliver to, http or https; one that stands with this URL is left as it is.
    #[arg(long, value_name = "URL", value_parser = address)]
    endpoint: Option<url::Url>,
    /// The event types that the endpoint wants, comma-separated; all, if not given. Unknown ones are registered.
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',', requires = "endpoint", value_parser = event_type)]
    event_types: Vec<EventType>,
}

fn address(text: &str) -> Result<url::Url, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err("expected http or https".to_owned()) }
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::try_new(text.trim().to_owned()).map_err(|error| format!("no event type is called so: it {error}"))
}

pub(super) async fn provision(args: &ProvisionArgs, place: &Place) -> Result<(), Failure> {
    for kind in args.event_types.iter().collect::<BTreeSet<_>>() {
        if place.svix.ensure_event_type(kind).await? == Made::Now {
            output::print(&format!("registered event type {kind}\n"))?;
        }
    }
    for project in &args.projects {
        application(project, place).await?;
        let Some(url) = &args.endpoint else { continue };
        let to = place.routes.destination(project);
        let (made, endpoint) = place.svix.ensure_endpoint(to.app(), url.as_str(), &args.event_types).await?;
        let wanted: BTreeSet<_> = args.event_types.iter().map(EventType::as_str).collect();
        let has: BTreeSet<_> = endpoint.filter_types.iter().flatten().map(String::as_str).collect();
        output::print(&match made {
            Made::Now => format!("{project}: created endpoint {} to {url}\n", endpoint.id),
            Made::Before => format!("{project}: endpoint {} to {url} stands\n", endpoint.id),
        })?;
        if wanted != has {
            eprintln!(
                "hookbro: {project}: endpoint {} takes {} and is left so; change it in the portal",
                endpoint.id,
                if has.is_empty() {
                    "every event type".to_owned()
                } else {
                    has.into_iter().collect::<Vec<_>>().join(",")
                },
            );
        }
    }
    Ok(())
}

async fn application(project: &ProjectId, place: &Place) -> Result<(), Failure> {
    match place.routes.destination(project) {
        Destination::OfProject(app) => {
            let said = match place.svix.create_application(project).await? {
                Made::Now => "created",
                Made::Before => "stands",
            };
            output::print(&format!("{project}: application {app} {said}\n"))
        }
        // The operator's own, which hookbro never makes.
        Destination::Mapped(app) => match place.svix.application(&app).await? {
            Some(_) => output::print(&format!("{project}: application {app} stands, by routing.apps\n")),
            None => Err(Failure::Configuration(format!(
                "routing.apps sends {project} to {app}, which is no application of this organisation: make it in Svix, or \
                 take the entry away"
            ))),
        },
    }
}
