//! `make soak MINUTES=30`: a steady load of events while everything around hookbro breaks at random, judged event by event
//! after a quiet phase: none lost, none taken twice by Svix, memory and descriptors flat.
//!
//! One run's path: `broker` (a private node) and `replicas` (two hookbros against the sandbox in this process) → `load`
//! publishes, `faults` breaks, `samples` watches → quiet → `judge` → `report`. Every random choice comes from one seed.

mod broker;
mod faults;
mod judge;
mod load;
mod replicas;
mod report;
mod samples;
#[path = "../shared/mod.rs"]
mod shared;
mod svix;

use clap::Parser;
use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use broker::Node;
use faults::Faults;
use load::Load;
use replicas::Replica;
use report::Report;
use samples::Samples;
use shared::{Error, asked_to_stop, find_hookbro};
use svix::Svix;

/// A quorum queue killed within a second of its declaration can vanish (RabbitMQ 3.10 and 4.0).
const SETTLE: Duration = Duration::from_secs(3);
/// Longest wait for the end of the work after the last fault: the longest pause between two probes of Svix is 30 s, the
/// broker repeats an unconfirmed dead-lettering after 10 s on nodes of `scripts/broker`, and a backlog has to drain.
const QUIET_WITHIN: Duration = Duration::from_secs(300);
/// An HTTP connection that is not used for 90 s (reqwest's `pool_idle_timeout`) is closed when that is looked for, every 90 s,
/// and must be by the last look.
const POOL_IDLE: Duration = Duration::from_secs(185);

/// Deliver a steady load while everything around breaks at random, and judge event by event.
#[derive(Parser)]
#[command(name = "soak")]
struct Args {
    /// How long load and faults last
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,
    /// Events a second
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=5000))]
    rate: u64,
    /// Repeats the faults of the run that printed it; default: a new one
    #[arg(long)]
    seed: Option<u64>,
    /// Where the report and the logs go
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.run/soak"))]
    folder: PathBuf,
    /// The hookbro to run; default: the one built beside this program
    #[arg(long)]
    hookbro: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    // The libraries leave the choice of a provider to the program; a second one cannot come first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let stopped = CancellationToken::new();
    let ended = tokio::select! {
        ended = soak(&args, stopped.clone()) => ended,
        () = asked_to_stop() => Err("stopped before its end".into()),
    };
    stopped.cancel();
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("soak: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything held.
async fn soak(args: &Args, stopped: CancellationToken) -> Result<bool, Error> {
    let seed = args.seed.unwrap_or_else(rand::random);
    let lasting = Duration::from_secs(60 * args.minutes);
    let program = find_hookbro(args.hookbro.as_deref())?;
    std::fs::create_dir_all(&args.folder)?;
    println!("seed       {seed} (again: make soak MINUTES={} SEED={seed})", args.minutes);

    let node = Arc::new(Node::start(&args.folder.join("node")).await?);
    let svix = Svix::start(args.minutes * 60 * args.rate, stopped.clone()).await?;
    // One is left alone, so that its memory and descriptors can be watched from the first minute to the last.
    let steady = Replica::start("steady", &program, &args.folder, &node.url, &svix).await?;
    let restless = Arc::new(Mutex::new(Replica::start("restless", &program, &args.folder, &node.url, &svix).await?));
    tokio::time::sleep(SETTLE).await;
    println!("running    RabbitMQ {}, two hookbros, {} events/s for {} min", node.version, args.rate, args.minutes);

    let began = Instant::now();
    let end = tokio::time::Instant::now() + lasting;
    let mut samples = Samples::of(steady.address);
    let load = Load::new(node.url.clone(), args.rate);
    let mut faults = Faults::new(seed, Arc::clone(&node), svix.clone(), Arc::clone(&restless));
    tokio::try_join!(load.publish(end), faults.throw(end), samples.watch(end))?;
    let loaded = began.elapsed();

    println!("quiet      {} events are published; waiting for the last of them", load.published());
    svix.heal();
    let settled = tokio::time::timeout(QUIET_WITHIN, quiet(&node, &steady, &restless)).await.is_ok();
    println!("quiet      waiting {POOL_IDLE:?} for idle connections to be closed");
    tokio::time::sleep(POOL_IDLE).await;
    samples.take_last().await;
    let thrown = faults.end();
    let restless = Arc::into_inner(restless).ok_or("a fault is still at work")?.into_inner();
    let counters = steady.counters().await?;
    steady.stop().await?;
    restless.stop().await?;

    let dead = node.dead().await?;
    let judged = judge::judge(load.published(), &svix.messages(), &dead);
    let repeats = svix.repeats().await?;
    let folder = args.folder.clone();
    let report = Report { seed, rate: args.rate, loaded, settled, repeats, counters, samples, thrown, judged, node };
    let passed = report.passed();
    let text = report.text();
    println!("\n{text}");
    let path = folder.join("report.txt");
    std::fs::write(&path, text)?;
    println!("written    {}", path.display());
    Ok(passed)
}

/// Ends once every queue that is worked on is empty, and no hookbro holds an event.
async fn quiet(node: &Node, steady: &Replica, restless: &Mutex<Replica>) {
    // Unsettled messages show in no queue's ready count, and what the broker dead-letters in neither, so it must last.
    let mut quiet_for = 0;
    while quiet_for < 15 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let in_flight = async || Ok::<_, Error>(steady.in_flight().await? + restless.lock().await.in_flight().await?);
        let idle = matches!(node.left().await, Ok(0)) && matches!(in_flight().await, Ok(0));
        quiet_for = if idle { quiet_for + 1 } else { 0 };
    }
}
