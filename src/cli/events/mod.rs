//! `hookbro events`: what the journal of a running hookbro has, read over its `/api/v1`.

mod access;
mod api;
mod find;
mod query;
mod show;
mod tail;

use super::exit::{Failure, runtime};
use crate::{config::Settings, observe as telemetry};
use access::Address;
use api::Api;
use std::{io::IsTerminal as _, path::PathBuf};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "The token is taken from --token-file, else from the environment's HOOKBRO_API_TOKEN, else from \
                        admin.tokens of the configuration."
)]
pub(super) struct EventsArgs {
    /// Where hookbro runs, such as `http://10.0.0.7:9464`; if not given, at `admin.listen` of the configuration.
    #[arg(long, global = true, value_name = "URL")]
    api: Option<Address>,
    /// A file whose first line is the API's token; `-` for standard input.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List events, newest first, each by its latest delivery.
    Find(find::FindArgs),
    /// Show one event's timeline: every delivery, the next retry, and what Svix did with it.
    Show(show::ShowArgs),
    /// Follow deliveries as the journal gets them, until Ctrl-C.
    Tail(tail::TailArgs),
}

pub(super) fn run(args: EventsArgs, settings: Settings) -> Result<(), Failure> {
    telemetry::init(settings.log.format, &settings.log.level, std::io::stderr().is_terminal())?;
    let address = args.api.map_or_else(|| Address::of(settings.admin.listen), Ok)?;
    let api = Api::new(address, access::token(args.token_file.as_deref(), &settings.admin.tokens)?)?;
    runtime()?.block_on(async {
        match args.action {
            Action::Find(args) => find::find(&args, &api).await,
            Action::Show(args) => show::show(&args, &api).await,
            Action::Tail(args) => tail::tail(&args, &api).await,
        }
    })
}
