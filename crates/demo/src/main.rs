//! `make run`: publishes the sample events, watches `hookbro run` deliver them, and shows what became of each.
//!
//! One run's path: `children` (sandbox, then hookbro) → `http` (until it is ready) → publish → `log` (one line per
//! settled event) → `tally` (the table). It knows hookbro only from outside: its commands, settings and log lines.
//! Every wait is bounded, and the children are ended on every way out.

mod children;
mod http;
mod log;
mod tally;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::timeout;

use children::{Children, Program};
use log::Settled;
use tally::Tally;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Connecting to a broker that just started, and declaring its queues, takes a second or two.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// `hookbro publish` waits for a confirm of every event.
const PUBLISH_WITHIN: Duration = Duration::from_secs(60);

/// Delivering fifty events takes less than a second; the rest is room for the first retry rungs.
const SETTLE_WITHIN: Duration = Duration::from_secs(60);

const DEFAULT_ADMIN: &str = "127.0.0.1:9464";

/// The sandbox takes any token.
const SANDBOX_TOKEN: &str = "sandbox";

/// Deliver the sample events and show what became of each.
#[derive(Parser)]
#[command(name = "demo")]
struct Args {
    /// Exit after the table: 0 if every event was delivered, 1 naming each that was not
    #[arg(long)]
    once: bool,
    /// Folder of events to publish
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/events/good"))]
    events: PathBuf,
    /// The hookbro to run; default: the one built beside this program
    #[arg(long)]
    hookbro: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let mut children = Children::default();
    let mut shown = false;
    let ended = tokio::select! {
        ended = demo(&args, &mut children, &mut shown) => Some(ended),
        () = asked_to_stop() => None,
    };
    children.end().await;
    match ended {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
        // Ctrl-C is how a demo that keeps running is meant to end.
        None if shown => ExitCode::SUCCESS,
        None => ExitCode::from(130),
    }
}

async fn demo(args: &Args, children: &mut Children, shown: &mut bool) -> Result<(), Error> {
    let program = Program::find(args.hookbro.as_deref())?;
    let mut tally = Tally::of_folder(&args.events)?;
    let admin = admin_address()?;
    let (settled, mut log) = mpsc::channel(1024);

    let svix = start_sandbox(&program, children, &settled).await?;
    start_service(&program, children, settled, admin, &svix).await?;
    let exit = timeout(PUBLISH_WITHIN, program.publish(&args.events)).await;
    let exit = exit.map_err(|_| format!("hookbro publish did not finish within {PUBLISH_WITHIN:?}"))??;
    if !exit.success() {
        return Err(format!("hookbro publish failed: {exit}").into());
    }
    println!("published  {} events from {}", tally.published(), shown_path(&args.events).display());

    let all_settled = timeout(SETTLE_WITHIN, settle(children, &mut log, &mut tally)).await;
    println!("\n{tally}\n");
    println!("metrics    http://{admin}/metrics");
    println!("status     http://{admin}/status");
    *shown = true;
    let verdict = match all_settled {
        Ok(Err(error)) => return Err(error),
        Ok(Ok(())) | Err(_) => tally.verdict(),
    };
    if args.once {
        return verdict;
    }
    if let Err(error) = verdict {
        eprintln!("demo: {error}");
    }
    println!("running until Ctrl-C; warnings of the service follow");
    watch(children, &mut log).await
}

/// From the folder that this runs in, where `folder` lies below it.
fn shown_path(folder: &Path) -> PathBuf {
    let below = || {
        let here = std::env::current_dir().ok()?.canonicalize().ok()?;
        Some(folder.canonicalize().ok()?.strip_prefix(here).ok()?.to_owned())
    };
    below().unwrap_or_else(|| folder.to_owned())
}

/// The Svix side: the one that the environment has a token for, or a sandbox of our own.
async fn start_sandbox(
    program: &Program,
    children: &mut Children,
    settled: &mpsc::Sender<Settled>,
) -> Result<Vec<(&'static str, String)>, Error> {
    if ["HOOKBRO__SVIX__TOKEN", "HOOKBRO__SVIX__TOKEN_FILE"].iter().any(|name| std::env::var_os(name).is_some()) {
        println!("svix       the one that HOOKBRO__SVIX__TOKEN is for");
        return Ok(Vec::new());
    }
    let address = free_port()?;
    children.start("sandbox", program.command(["sandbox", "--listen", &address.to_string()]), settled.clone())?;
    children.until("sandbox", READY_WITHIN, http::answers(address, "/api/v1/health/")).await?;
    println!("sandbox    http://{address} (stands in for Svix; set HOOKBRO__SVIX__TOKEN to use the real one)");
    Ok(vec![("HOOKBRO__SVIX__URL", format!("http://{address}")), ("HOOKBRO__SVIX__TOKEN", SANDBOX_TOKEN.to_owned())])
}

async fn start_service(
    program: &Program,
    children: &mut Children,
    settled: mpsc::Sender<Settled>,
    admin: SocketAddr,
    svix: &[(&'static str, String)],
) -> Result<(), Error> {
    let began = Instant::now();
    let mut run = program.command(["run"]);
    run.env("HOOKBRO__LOG__FORMAT", "json")
        .env("HOOKBRO__LOG__LEVEL", "info,hookbro=debug")
        .env("HOOKBRO__ADMIN__LISTEN", admin.to_string())
        .envs(svix.iter().map(|(name, value)| (name, value)));
    children.start("run", run, settled)?;
    children.until("run", READY_WITHIN, http::answers(admin, "/readyz")).await?;
    println!("hookbro    ready after {:.1} s", began.elapsed().as_secs_f32());
    Ok(())
}

/// Ends once every published event has a verdict.
async fn settle(children: &mut Children, log: &mut mpsc::Receiver<Settled>, tally: &mut Tally) -> Result<(), Error> {
    while !tally.complete() {
        let settled = next(children, log).await?;
        if tally.count(&settled) && !settled.is_success() {
            eprintln!("{settled}");
        }
    }
    Ok(())
}

/// Ends only with the service itself.
async fn watch(children: &mut Children, log: &mut mpsc::Receiver<Settled>) -> Result<(), Error> {
    loop {
        let settled = next(children, log).await?;
        if !settled.is_success() {
            eprintln!("{settled}");
        }
    }
}

/// A child that ends by itself is an error whatever its exit code: nobody asked it to.
async fn next(children: &mut Children, log: &mut mpsc::Receiver<Settled>) -> Result<Settled, Error> {
    tokio::select! {
        biased;
        Some(settled) = log.recv() => Ok(settled),
        gone = children.first_to_end() => Err(gone),
    }
}

/// What the environment says, or the default port, or any that is free when another program has that one.
fn admin_address() -> Result<SocketAddr, Error> {
    if let Ok(configured) = std::env::var("HOOKBRO__ADMIN__LISTEN") {
        return Ok(configured.parse().map_err(|error| format!("HOOKBRO__ADMIN__LISTEN={configured}: {error}"))?);
    }
    let default: SocketAddr = DEFAULT_ADMIN.parse()?;
    if TcpListener::bind(default).is_ok() { Ok(default) } else { free_port() }
}

/// Waits for Ctrl-C or SIGTERM.
async fn asked_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end this process, as they would any.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn free_port() -> Result<SocketAddr, Error> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
