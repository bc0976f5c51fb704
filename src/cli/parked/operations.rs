//! The operations on parked events as a command uses them, the flag that names a project, and how a refusal ends the command.

use crate::{
    app,
    cli::{audit::CommandAudit, exit::Failure},
    config::Settings,
    event::ProjectId,
    operate::parked::{self, ParkedError},
    sources::rabbitmq::ParkedEventQueues,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Operations for commands that change nothing: there is nothing to audit, and a signal ends the process.
pub(super) fn reading(settings: &Settings) -> parked::Operations<ParkedEventQueues, CommandAudit> {
    app::parked(settings, Arc::new(CommandAudit::Nowhere), CancellationToken::new())
}

/// A project's id, so that clap can name the flag that has none.
pub(super) fn project(text: &str) -> Result<ProjectId, String> {
    ProjectId::try_new(text.to_owned()).map_err(|error| error.to_string())
}

pub(super) fn failed(error: &ParkedError) -> Failure {
    Failure::Broker(error.to_string())
}
