//! `dead replay` and `dead discard`.

use super::{
    filter::FilterArgs,
    operations::{failure, reading},
};
use crate::{
    app,
    cli::{
        audit::{self, AuditArgs},
        exit::{Failure, on_signals},
        output, progress,
    },
    config::Settings,
    operate::dead_letters::{Action, Options, Outcome, REPEATS},
};
use std::{num::NonZeroU32, path::PathBuf, sync::Arc};

/// Which events a change is about, and whether to make it.
#[derive(Debug, clap::Args)]
struct Chosen {
    #[command(flatten)]
    filter: FilterArgs,
    /// Every dead letter; needed where no filter is given.
    #[arg(long)]
    all: bool,
    /// Make the change. Without this, only say what would be done.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    audit: AuditArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Replay at most this many events a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DiscardArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// The NDJSON file that they are written to first. It must not exist yet.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

pub(super) async fn replay(args: &ReplayArgs, settings: &Settings) -> Result<(), Failure> {
    let options = Options { rate: args.rate.and_then(NonZeroU32::new), to: None };
    make(&args.chosen, settings, Action::Replay, options).await
}

pub(super) async fn discard(args: &DiscardArgs, settings: &Settings) -> Result<(), Failure> {
    make(&args.chosen, settings, Action::Discard, Options { rate: None, to: args.to.clone() }).await
}

/// Makes the change, or says how many events it would concern.
async fn make(chosen: &Chosen, settings: &Settings, action: Action, options: Options) -> Result<(), Failure> {
    let (filter, verb) = (chosen.filter.filter()?, action.as_str());
    if filter.is_all() && !chosen.all {
        return Err(Failure::Usage(format!("give a filter, or --all to {verb} every dead letter")));
    }
    if !chosen.yes {
        let count = reading(settings).count(filter).await.map_err(failure)?;
        return output::print(&format!("would {verb} {count} events; add --yes to do it\n"));
    }
    let audit = chosen.audit.open(&settings.journal).await?;
    if action == Action::Replay {
        eprintln!("hookbro: {REPEATS}");
    }
    let stop = on_signals().await?.requested;
    let operations = app::dead_letters(settings, Arc::clone(&audit), stop.clone());
    let started = operations.start(audit::actor(), action, filter, options).await;
    let made = match started {
        Ok(mut started) => progress::watched(&Arc::clone(&started.progress), started.ended()).await,
        Err(refused) => Err(refused),
    };
    audit.close().await;
    match made {
        Ok(Outcome { events, file: None }) => output::print(&format!("{} {events} events\n", action.past())),
        Ok(Outcome { events, file: Some(file) }) => {
            output::print(&format!("{} {events} events, written to {file}\n", action.past()))
        }
        // The operator stopped it, so the broker is not at fault.
        Err(refused) if stop.is_cancelled() => match failure(refused) {
            Failure::Broker(text) => Err(Failure::Running(text)),
            other => Err(other),
        },
        Err(refused) => Err(failure(refused)),
    }
}
