//! `hookbro dead`: dead letters, by the operations that the HTTP API and the console use. What changes something only says
//! what it would do, until `--yes`.

mod change;
mod filter;
mod list;
mod operations;

use super::exit::{Failure, runtime};
use crate::config::Settings;
use operations::reading;

#[derive(Debug, clap::Args)]
pub(super) struct DeadArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List dead letters, oldest first, or count them by a property.
    List(list::ListArgs),
    /// Show one dead letter: why and when its event was given up, its headers, and its body with sensitive fields hidden.
    Show(list::ShowArgs),
    /// Write dead letters as NDJSON with their full bodies; they stay in the dead-letter queue.
    Export(list::ExportArgs),
    /// Publish dead letters again, from the first attempt on, through the exchange that only replays use.
    Replay(change::ReplayArgs),
    /// Delete dead letters, after writing them to a file.
    Discard(change::DiscardArgs),
}

pub(super) fn run(args: DeadArgs, settings: Settings) -> Result<(), Failure> {
    runtime()?.block_on(async {
        match args.action {
            Action::List(args) => list::list(&args, &reading(&settings)).await,
            Action::Show(args) => list::show(args, &reading(&settings)).await,
            Action::Export(args) => list::export(&args, &reading(&settings)).await,
            Action::Replay(args) => change::replay(&args, &settings).await,
            Action::Discard(args) => change::discard(&args, &settings).await,
        }
    })
}
