//! Floor 4: the command line. One place prints errors and picks the exit code.

mod apps;
mod audit;
mod certificates;
mod check;
mod completions;
mod dead;
mod events;
mod exit;
mod feed;
mod man;
mod output;
mod publish;
mod run;
pub mod sandbox;
mod signals;
mod topology;

use crate::config;
use clap::{Parser, Subcommand};
use exit::Failure;
use std::{path::PathBuf, process::ExitCode};

/// Delivers Gigs events from a RabbitMQ topic exchange to the Svix application of their project.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
#[command(after_help = "Exit codes: 0 done; 1 failed while running; 2 usage; 3 configuration; 4 broker refused; \
                        5 Svix refused.\nEvery setting: `hookbro config`; environment: HOOKBRO__SECTION__KEY.")]
pub struct Cli {
    /// Configuration file (TOML); what it leaves out keeps its default.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, stronger than environment and file, as in `--set broker.prefetch=64`. Repeatable.
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Consume and deliver until SIGTERM or SIGINT; a second signal exits at once.
    Run,
    /// Publish event files with confirms, each under its own routing key.
    Publish(publish::PublishArgs),
    /// Say what is wrong with the configuration, the broker and the token, and exit.
    Check,
    /// Show or declare the objects on the broker.
    Topology(topology::TopologyArgs),
    /// Look at events that were given up; replay, export or discard them.
    Dead(dead::DeadArgs),
    /// List, provision and delete the Svix applications that events go to; open their portal.
    Apps(apps::AppsArgs),
    /// Find events, show one's timeline, follow what happens: from the journal of a running hookbro.
    Events(events::EventsArgs),
    /// A local stand-in for Svix, in memory: for trying out and for tests.
    Sandbox(sandbox::SandboxArgs),
    /// Print every setting with its default and meaning.
    Config,
    /// Print a completion script.
    Completions(completions::CompletionsArgs),
    /// Print the manual page.
    #[command(hide = true)]
    Man(man::ManArgs),
}

/// Runs one command to its end. Errors go to standard error, results to standard output.
pub fn execute(cli: Cli) -> ExitCode {
    // Done once, before any TLS: reqwest and lapin are built without a provider of their own.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("hookbro: {failure}");
            failure.code()
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Cli { config, set, command } = cli;
    let settings = || config::load(config.as_deref(), &set).map_err(Failure::from);
    match command {
        Command::Run => run::run(settings()?),
        Command::Publish(args) => publish::run(&args, settings()?),
        Command::Check => check::run(settings()?),
        Command::Topology(args) => topology::run(&args, settings()?),
        Command::Dead(args) => dead::run(args, settings()?),
        Command::Apps(args) => apps::run(args, settings()?),
        Command::Events(args) => events::run(args, settings()?),
        Command::Sandbox(args) => {
            let stop = signals::listen();
            exit::runtime()?
                .block_on(async move { sandbox::run(args, stop.await?.requested.cancelled_owned()).await })?;
            Ok(())
        }
        Command::Config => output::print(config::DEFAULTS),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
