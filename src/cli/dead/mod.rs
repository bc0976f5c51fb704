//! `hookbro dead`: what was given up, looked at and dealt with. What changes something only says what it would do, until
//! `--yes`.

mod filter;
mod list;
mod take;

use super::exit::{Failure, runtime};
use crate::{
    config::Settings,
    sources::rabbitmq::{Connector, DeadQueue, Topology},
};

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
    Export(take::ExportArgs),
    /// Send dead events up the ladder anew, through the exchange that only replays use.
    Replay(take::ReplayArgs),
    /// Delete dead events, after writing them to a file.
    Discard(take::DiscardArgs),
}

/// Where the dead queue is.
struct Place {
    settings: Settings,
    topology: Topology,
}

impl Place {
    async fn open(&self) -> Result<DeadQueue, Failure> {
        let connector = Connector::new(self.settings.broker.access.clone());
        Ok(DeadQueue::open(&connector, &self.topology).await?)
    }
}

pub(super) fn run(args: DeadArgs, settings: Settings) -> Result<(), Failure> {
    let place = Place { topology: Topology::new(&settings.broker), settings };
    runtime()?.block_on(async {
        match args.action {
            Action::List(args) => list::list(&args, &place).await,
            Action::Show(args) => list::show(&args, &place).await,
            Action::Export(args) => take::export(&args, &place).await,
            Action::Replay(args) => take::replay(&args, &place).await,
            Action::Discard(args) => take::discard(&args, &place).await,
        }
    })
}
