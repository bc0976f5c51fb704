//! `parked release` and `parked give-up`.

use super::operations::{failed, reading};
use crate::{
    app,
    cli::{
        audit::{self, AuditArgs},
        exit::{Failure, on_signals},
        output, progress,
        project::project,
    },
    config::Settings,
    event::ProjectId,
    operate::parked::{Action, PARKED_AGAIN, Selection},
};
use std::sync::Arc;

#[derive(Debug, clap::Args)]
pub(super) struct ChangeArgs {
    /// Events of this project. Repeatable.
    #[arg(long, value_name = "PROJECT", value_parser = project)]
    project: Vec<ProjectId>,
    /// Every parked event; needed where no project is given.
    #[arg(long, conflicts_with = "project")]
    all: bool,
    /// At most so many, the oldest of each project first.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Make the change. Without this, only say what would be done.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    audit: AuditArgs,
}

/// Makes the change, or says how many events it would concern.
pub(super) async fn make(args: ChangeArgs, settings: &Settings, action: Action) -> Result<(), Failure> {
    let ChangeArgs { project: projects, all, limit, yes, audit } = args;
    if projects.is_empty() && !all {
        let verb = action.as_str();
        return Err(Failure::Usage(format!("give --project, or --all to {verb} every parked event")));
    }
    let selection = Selection { projects, limit };
    if !yes {
        let count = reading(settings).count(&selection).await.map_err(|error| failed(&error))?;
        return output::print(&format!("would {} {count} events; add --yes to do it\n", action.as_str()));
    }
    let audit = audit.open(&settings.journal).await?;
    if action == Action::Release {
        eprintln!("hookbro: {PARKED_AGAIN}");
    }
    let stop = on_signals().await?.requested;
    let operations = app::parked(settings, Arc::clone(&audit), stop.clone());
    let shown = Arc::default();
    let making = operations.make(audit::actor(), action, selection, Arc::clone(&shown));
    let made = progress::watched(&shown, making).await;
    audit.close().await;
    match made {
        Ok(events) => output::print(&format!("{events} events were {}\n", action.past())),
        // The operator stopped it, so the broker is not at fault.
        Err(not_made) => Err(audit::not_made(not_made, |error| match stop.is_cancelled() {
            true => Failure::Running(error.to_string()),
            false => failed(&error),
        })),
    }
}
