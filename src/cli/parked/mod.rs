//! `hookbro parked`: parked events by destination. What changes something only says what it would do, until `--yes`.

mod change;
mod list;
mod operations;

use super::exit::{Failure, runtime};
use crate::{config::Settings, operate::parked::Action};

#[derive(Debug, clap::Args)]
pub(super) struct ParkedArgs {
    #[command(subcommand)]
    action: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the projects that have parked events: how many, since when, and why.
    List(list::ListArgs),
    /// Try parked events now, as new events are, from the first attempt on. A project that is paused is resumed instead: its
    /// events would be parked again, like those of an application that still fails.
    Release(change::ChangeArgs),
    /// Make dead letters of parked events, `exhausted`. They can be replayed or discarded then.
    GiveUp(change::ChangeArgs),
}

pub(super) fn run(args: ParkedArgs, settings: Settings) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match args.action {
            Command::List(args) => list::list(&args, &settings).await,
            Command::Release(args) => change::make(args, &settings, Action::Release).await,
            Command::GiveUp(args) => change::make(args, &settings, Action::GiveUp).await,
        }
    })
}
