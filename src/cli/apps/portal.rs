//! `apps portal`.

use super::{Place, project};
use crate::{
    cli::{exit::Failure, output},
    event::ProjectId,
    operate::hooks::NO_PORTAL,
};

#[derive(Debug, clap::Args)]
pub(super) struct PortalArgs {
    #[arg(value_name = "PROJECT", value_parser = project)]
    project: ProjectId,
}

/// The link goes to standard output and nowhere else.
pub(super) async fn portal(args: &PortalArgs, place: &Place) -> Result<(), Failure> {
    let (project, to) = (&args.project, place.routes.destination(&args.project));
    let link = place.svix.portal(to.app()).await?.ok_or_else(|| {
        let app = to.app();
        Failure::Svix(format!("{project}: there is no application {app}; `hookbro apps provision` makes it"))
    })?;
    if link == NO_PORTAL {
        eprintln!("hookbro: this Svix is the open-source server, which has no customer portal");
    }
    output::print(&format!("{link}\n"))
}
