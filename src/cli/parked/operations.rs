//! The operations on parked events as a command uses them, and how a refusal ends the command.

use crate::{
    app,
    cli::{audit::CommandAudit, exit::Failure},
    config::Settings,
    operate::parked::{self, ParkedError},
    sources::rabbitmq::ParkedEventQueues,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Operations for commands that change nothing: there is nothing to audit, and a signal ends the process.
pub(super) fn reading(settings: &Settings) -> parked::Operations<ParkedEventQueues, CommandAudit> {
    app::parked(settings, Arc::new(CommandAudit::Nowhere), CancellationToken::new())
}

pub(super) fn failed(error: &ParkedError) -> Failure {
    Failure::Broker(error.to_string())
}
