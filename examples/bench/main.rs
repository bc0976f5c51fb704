//! `make bench`: hookbro against the floors and the loops that one writes by hand, on a private broker, in one run.
//!
//! One run's path: `broker` (node, queue) → `plan` (who drains what, in which order) → `drain`, `latency`, `singles` (figures) →
//! `report` (medians, ratios, table, `bench/results.json`). Every contender is a process of its own (`contenders` is this
//! very program again), so its CPU and memory are its own (`procs`). Everything started is ended on every way out.

mod broker;
mod contenders;
mod drain;
mod event;
mod ingest;
mod journal;
mod lanes;
mod latency;
mod plan;
mod procs;
mod profile;
mod report;
mod retries;
#[path = "../shared/mod.rs"]
mod shared;
mod singles;
mod standin;

use clap::{Parser, Subcommand};
use shared::{Error, asked_to_stop, find_hookbro};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// hookbro's default; the configuration of a run leaves it alone.
const QUEUE: &str = "hookbro.events";

/// Measure hookbro against the floors and two hand-written loops.
#[derive(Parser)]
#[command(name = "bench")]
struct Cli {
    /// Under two minutes: the ratios alone, from fewer events and repetitions
    #[arg(long)]
    quick: bool,
    /// Drain a million events too, for memory over time
    #[arg(long)]
    million: bool,
    /// Only whether a flood on one lane makes the others wait
    #[arg(long)]
    lanes: bool,
    /// Only what a retried event costs against a straight one
    #[arg(long)]
    retries: bool,
    /// Repetitions
    #[arg(long, default_value_t = 5)]
    repetitions: usize,
    /// The hookbro to measure; default: the one built beside this program
    #[arg(long)]
    hookbro: Option<PathBuf>,
    /// Where the figures go; default: bench/results.json, quick: nowhere
    #[arg(long)]
    output: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Count instructions per event with callgrind
    Profile {
        /// Where the profile goes, for callgrind_annotate
        #[arg(long, default_value = "callgrind.out.hookbro")]
        into: PathBuf,
        /// Of a retried event too: every second one fails once
        #[arg(long)]
        retries: bool,
        /// Projects that the events belong to
        #[arg(long, default_value_t = 1, conflicts_with = "retries")]
        projects: u64,
    },
    /// Measure what the journal costs at 5,000 events/s
    Journal {
        /// Events of one drain
        #[arg(long, default_value_t = 25_000)]
        events: u64,
    },
    /// Measure how many events a second are promised by HTTP, and how long a promise takes
    Ingest,
    #[command(hide = true)]
    Contender(contenders::Args),
}

/// What all parts of a run share.
struct Bench {
    node: broker::Node,
    publisher: broker::Publisher,
    hookbro: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The libraries leave the choice of a provider to the program; a second one cannot come first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut cli = Cli::parse();
    let command = cli.command.take();
    if let Some(Command::Contender(args)) = command {
        return exit(contenders::run(args).await.map(|()| true));
    }
    // Dropping the future ends children and node.
    let ended = tokio::select! {
        ended = run(&cli, command) => ended,
        () = asked_to_stop() => return ExitCode::from(130),
    };
    exit(ended)
}

fn exit(ended: Result<bool, Error>) -> ExitCode {
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli, command: Option<Command>) -> Result<bool, Error> {
    let hookbro = find_hookbro(cli.hookbro.as_deref())?;
    let node = broker::Node::start()?;
    let mut declare = tokio::process::Command::new(&hookbro);
    declare.args(["topology", "declare"]).env("HOOKBRO__BROKER__URL", &node.url).stdout(std::process::Stdio::null());
    if !declare.status().await?.success() {
        return Err("hookbro topology declare failed".into());
    }
    let publisher = broker::Publisher::open(&node.url, QUEUE).await?;
    let bench = Bench { node, publisher, hookbro };
    match command {
        Some(Command::Profile { into, retries, projects }) => return bench.profiles(&into, retries, projects).await,
        Some(Command::Journal { events }) => return bench.journal(events, cli.repetitions).await,
        Some(Command::Ingest) => return bench.ingest(cli.repetitions).await,
        Some(Command::Contender(_)) | None => {}
    }
    if cli.retries {
        println!("{:#}", bench.retries().await?);
        return Ok(true);
    }
    if cli.lanes {
        let fairness = bench.fairness(lanes::FLOOD).await?;
        println!("{}", serde_json::to_string_pretty(&fairness)?);
        return Ok(fairness.met());
    }
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/results.json");
    let output = cli.output.clone().or((!cli.quick).then_some(default));
    plan::run(
        &bench,
        &plan::Size { quick: cli.quick, million: cli.million, repetitions: cli.repetitions },
        output.as_deref(),
    )
    .await
}
