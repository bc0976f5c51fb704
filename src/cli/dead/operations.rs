//! The operations on dead letters as a command uses them, and how their refusals end it.

use crate::{
    app,
    cli::{
        audit::{self, CommandAudit},
        exit::Failure,
    },
    config::Settings,
    operate::dead_letters::{self, DeadLettersError, Refused},
    sources::rabbitmq::DeadLetterQueue,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

pub(super) type Operations = dead_letters::Operations<DeadLetterQueue, CommandAudit>;

/// Operations for commands that change nothing: there is nothing to audit, and a signal ends the process.
pub(super) fn reading(settings: &Settings) -> Arc<Operations> {
    app::dead_letters(settings, Arc::new(CommandAudit::Nowhere), CancellationToken::new())
}

pub(super) fn failure(refused: Refused) -> Failure {
    match refused {
        Refused::Busy => Failure::Running(
            "this process is reading the dead-letter queue already; wait until it has finished".to_owned(),
        ),
        Refused::DeadLetters(error) => failed(&error),
        Refused::NotMade(not_made) => audit::not_made(not_made, |error| failed(&error)),
    }
}

fn failed(error: &DeadLettersError) -> Failure {
    match error {
        DeadLettersError::File(_) => Failure::Running(error.to_string()),
        DeadLettersError::Away(_)
        | DeadLettersError::Locked(_)
        | DeadLettersError::Slow
        | DeadLettersError::TooMany { .. }
        | DeadLettersError::Midway { .. } => Failure::Broker(error.to_string()),
    }
}
