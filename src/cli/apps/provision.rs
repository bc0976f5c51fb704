//! `apps provision`.

use super::organisation::{Asked, Changes, Organisation};
use crate::{
    cli::{audit::AuditArgs, exit::Failure, output, project::project},
    event::{EventType, ProjectId},
    sinks::svix::{Destination, Made, SvixAdmin},
};
use std::{collections::BTreeSet, sync::Arc};

#[derive(Debug, clap::Args)]
pub(super) struct ProvisionArgs {
    /// The projects whose applications are created.
    #[arg(required = true, value_name = "PROJECT", value_parser = project)]
    projects: Vec<ProjectId>,
    /// An endpoint to deliver to, http or https. An endpoint that exists with this URL is left as it is.
    #[arg(long, value_name = "URL", value_parser = address)]
    endpoint: Option<url::Url>,
    /// The event types that the endpoint takes, comma-separated; all if not given. Unknown types are registered.
    #[arg(long, value_name = "TYPE,…", value_delimiter = ',', requires = "endpoint", value_parser = event_type)]
    event_types: Vec<EventType>,
    #[command(flatten)]
    audit: AuditArgs,
}

fn address(text: &str) -> Result<url::Url, String> {
    let url = url::Url::parse(text).map_err(|error| error.to_string())?;
    if matches!(url.scheme(), "http" | "https") { Ok(url) } else { Err("expected http or https".to_owned()) }
}

fn event_type(text: &str) -> Result<EventType, String> {
    EventType::try_new(text.trim().to_owned()).map_err(|error| format!("not an event type: it {error}"))
}

pub(super) async fn provision(args: &ProvisionArgs, organisation: &Organisation) -> Result<(), Failure> {
    let changes = organisation.changes(&args.audit).await?;
    let provisioned = all(args, &changes).await;
    changes.audit.close().await;
    provisioned
}

async fn all(args: &ProvisionArgs, changes: &Changes<'_>) -> Result<(), Failure> {
    for kind in args.event_types.iter().cloned().collect::<BTreeSet<_>>() {
        let asked = Asked { action: "event_type.register", project: None, target: kind.to_string(), detail: None };
        let of = kind.clone();
        let make = |svix: Arc<SvixAdmin>| async move {
            let made = svix.ensure_event_type(&of).await?;
            Ok((made, summary(made, "registered")))
        };
        if changes.make(asked, make).await? == Made::Now {
            output::print(&format!("registered event type {kind}\n"))?;
        }
    }
    for project in &args.projects {
        application(project, changes).await?;
        if let Some(url) = &args.endpoint {
            endpoint(project, url, &args.event_types, changes).await?;
        }
    }
    Ok(())
}

fn summary(made: Made, now: &str) -> String {
    match made {
        Made::Now => now.to_owned(),
        Made::Before => "it exists already".to_owned(),
    }
}

async fn endpoint(
    project: &ProjectId,
    url: &url::Url,
    kinds: &[EventType],
    changes: &Changes<'_>,
) -> Result<(), Failure> {
    let app = changes.organisation.routes.destination(project).app().clone();
    // Without path and query, which may hold a secret.
    let detail =
        format!("application {app}, types {}", kinds.iter().map(EventType::as_str).collect::<Vec<_>>().join(" "));
    let detail = if kinds.is_empty() { format!("application {app}, every type") } else { detail };
    let target = url.origin().ascii_serialization();
    let asked = Asked { action: "endpoint.create", project: Some(project.to_string()), target, detail: Some(detail) };
    let (to, types) = (url.clone(), kinds.to_vec());
    let make = |svix: Arc<SvixAdmin>| async move {
        let (made, endpoint) = svix.ensure_endpoint(&app, to.as_str(), &types).await?;
        let summary = summary(made, &format!("created {}", endpoint.id));
        Ok(((made, endpoint), summary))
    };
    let (made, endpoint) = changes.make(asked, make).await?;
    let wanted: BTreeSet<_> = kinds.iter().map(EventType::as_str).collect();
    let has: BTreeSet<_> = endpoint.filter_types.iter().flatten().map(String::as_str).collect();
    output::print(&match made {
        Made::Now => format!("{project}: created endpoint {} to {url}\n", endpoint.id),
        Made::Before => format!("{project}: endpoint {} to {url} exists already\n", endpoint.id),
    })?;
    if wanted != has {
        eprintln!(
            "hookbro: {project}: endpoint {} takes {} and was not changed; change it in the portal",
            endpoint.id,
            if has.is_empty() { "every event type".to_owned() } else { has.into_iter().collect::<Vec<_>>().join(",") },
        );
    }
    Ok(())
}

async fn application(project: &ProjectId, changes: &Changes<'_>) -> Result<(), Failure> {
    match changes.organisation.routes.destination(project) {
        Destination::OfProject(app) => {
            let (name, target) = (Some(project.to_string()), app.to_string());
            let (asked, of) = (Asked { action: "app.provision", project: name, target, detail: None }, project.clone());
            let make = |svix: Arc<SvixAdmin>| async move {
                let made = svix.create_application(&of).await?;
                Ok((made, summary(made, "created")))
            };
            let said = match changes.make(asked, make).await? {
                Made::Now => "created",
                Made::Before => "exists already",
            };
            output::print(&format!("{project}: application {app} {said}\n"))
        }
        // The operator's own, which hookbro never makes.
        Destination::Mapped(app) => match changes.organisation.svix.application(&app).await? {
            Some(_) => output::print(&format!("{project}: application {app} exists already, named by routing.apps\n")),
            None => Err(Failure::Configuration(format!(
                "routing.apps sends {project} to {app}, which does not exist in this Svix organisation: create it there, or \
                 remove the entry"
            ))),
        },
    }
}
