//! The command line: parses, dispatches, prints errors and picks the exit code. Each command has a file or folder of its own.

mod apps;
mod audit;
mod certificates;
mod check;
mod dead;
mod event_files;
mod events;
mod exit;
mod output;
mod packaging;
mod parked;
mod progress;
mod project;
mod publish;
pub mod sandbox;
mod topology;

use crate::{
    app,
    config::{self, Settings},
    observe,
};
use clap::{CommandFactory as _, Parser, Subcommand};
use exit::Failure;
use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

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
    /// Check the configuration, the broker and the token, say what is wrong, and exit.
    Check,
    /// Show or declare the objects on the broker.
    Topology(topology::TopologyArgs),
    /// List dead letters, the events that were given up; replay, export or discard them.
    Dead(dead::DeadArgs),
    /// List parked events, those that may not be sent now; release them or give them up.
    Parked(parked::ParkedArgs),
    /// List, provision and delete the Svix applications that events go to; open their portal.
    Apps(apps::AppsArgs),
    /// Find events, show one event's timeline, follow deliveries; asks a running hookbro for what its journal has.
    Events(events::EventsArgs),
    /// Run an in-memory stand-in for Svix, to try hookbro and to test against.
    Sandbox(sandbox::SandboxArgs),
    /// Print every setting with its default and meaning.
    Config,
    /// Print a completion script.
    Completions(packaging::CompletionsArgs),
    /// Print the manual page.
    #[command(hide = true)]
    Man(packaging::ManArgs),
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
        Command::Run => serve(settings()?),
        Command::Publish(args) => publish::run(&args, settings()?),
        Command::Check => check::run(settings()?),
        Command::Topology(args) => topology::run(&args, settings()?),
        Command::Dead(args) => dead::run(args, settings()?),
        Command::Parked(args) => parked::run(args, settings()?),
        Command::Apps(args) => apps::run(args, settings()?),
        Command::Events(args) => events::run(args, settings()?),
        Command::Sandbox(args) => {
            let stop = exit::on_signals();
            exit::runtime()?
                .block_on(async move { sandbox::run(args, stop.await?.requested.cancelled_owned()).await })?;
            Ok(())
        }
        Command::Config => output::print(config::DEFAULTS),
        Command::Completions(args) => packaging::completions(&args, Cli::command()),
        Command::Man(args) => packaging::man(&args, Cli::command()),
    }
}

/// `hookbro run`: starts the log and the service, and waits for the end.
fn serve(settings: Settings) -> Result<(), Failure> {
    observe::init(settings.log.format, &settings.log.level, std::io::stderr().is_terminal())?;
    let runtime = exit::runtime()?;
    // On a worker, not on this thread: the loop that begins deliveries would wake a worker for each of them.
    let serving =
        runtime.spawn(async move { Ok::<_, Failure>(app::serve(settings, exit::on_signals().await?).await?) });
    let ended = runtime.block_on(serving).unwrap_or_else(|broken| Err(Failure::Running(broken.to_string())));
    // A name look-up or a file on a hung mount may never return; the process does not wait for it.
    runtime.shutdown_background();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }
}
