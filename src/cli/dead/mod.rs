//! `hookbro dead`: dead letters, looked at and dealt with by the operations that the HTTP API and the console use. What
//! changes something only says what it would do, until `--yes`.

mod change;
mod filter;
mod list;

use super::{
    audit::{self, CommandAudit},
    exit::{Failure, runtime},
};
use crate::{
    app,
    config::Settings,
    operate::dead_letters::{self, DeadLettersError, Refused},
    sources::rabbitmq::BrokerDead,
};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

type Operations = dead_letters::Operations<BrokerDead, CommandAudit>;

#[derive(Debug, clap::Args)]
pub(super) struct DeadArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List dead events, oldest first, or count them by a property.
    List(list::ListArgs),
    /// Show one event: why and when it was given up, its headers, and its body with what is sensitive hidden.
    Show(list::ShowArgs),
    /// Write dead events as NDJSON, bodies included and whole; they stay where they are.
    Export(list::ExportArgs),
    /// Send dead events up the ladder again, through the exchange that only replays use.
    Replay(change::ReplayArgs),
    /// Delete dead events, after writing them to a file.
    Discard(change::DiscardArgs),
}

pub(super) fn run(args: DeadArgs, settings: Settings) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match args.action {
            Action::List(args) => list::list(&args, &looking(&settings)).await,
            Action::Show(args) => list::show(args, &looking(&settings)).await,
            Action::Export(args) => list::export(&args, &looking(&settings)).await,
            Action::Replay(args) => change::replay(&args, &settings).await,
            Action::Discard(args) => change::discard(&args, &settings).await,
        }
    })
}

/// Operations for what changes nothing: there is nothing to audit, and a signal ends the process.
fn looking(settings: &Settings) -> Arc<Operations> {
    app::dead_letters(settings, Arc::new(CommandAudit::Nowhere), CancellationToken::new())
}

fn failure(refused: Refused) -> Failure {
    match refused {
        Refused::Busy => Failure::Running("this process looks through the dead queue already".to_owned()),
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
