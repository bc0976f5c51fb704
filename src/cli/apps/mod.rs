//! `hookbro apps`: the Svix applications that events go to. `delete` only says what it would do until it is confirmed.

mod delete;
mod list;
mod organisation;
mod portal;
mod provision;

use super::exit::{Failure, runtime};
use crate::{config::Settings, observe as telemetry};
use organisation::Organisation;
use std::io::IsTerminal as _;

#[derive(Debug, clap::Args)]
pub(super) struct AppsArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the organisation's applications: the projects whose events they take, their endpoints, and who created them.
    List(list::ListArgs),
    /// Create the applications of projects before their first event, with an endpoint if one is given. Changes nothing that
    /// exists.
    Provision(provision::ProvisionArgs),
    /// Delete applications with their endpoints and messages.
    Delete(delete::DeleteArgs),
    /// Print a link that logs whoever has it in to Svix's customer portal of a project. Treat it as a secret.
    Portal(portal::PortalArgs),
}

pub(super) fn run(args: AppsArgs, settings: Settings) -> Result<(), Failure> {
    telemetry::init(settings.log.format, &settings.log.level, std::io::stderr().is_terminal())?;
    let organisation = Organisation::new(&settings)?;
    let svix = settings.svix;
    runtime()?.block_on(async {
        tokio::spawn(settings.secret_files.watch());
        match args.action {
            Action::List(args) => list::list(&args, &organisation).await,
            Action::Provision(args) => provision::provision(&args, &organisation).await,
            Action::Delete(args) => delete::delete(&args, &organisation).await,
            Action::Portal(args) => portal::portal(&args, &organisation, &svix).await,
        }
    })
}
