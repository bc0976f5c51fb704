//! `dead export`, `dead replay` and `dead discard`.

use super::{Place, filter::FilterArgs};
use crate::{
    cli::{exit::Failure, output},
    operate::{dead as record, dead::REPEATS},
    sources::{
        rabbitmq as amqp,
        rabbitmq::{DeadQueue, DiscardError, Publisher, Replay, Replayed},
    },
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs::File,
    io::{BufWriter, ErrorKind, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Where to; standard output if not given.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Hide what `redact.fields` names. Such an export is for reading: it cannot be published again.
    #[arg(long)]
    redact: bool,
}

/// Which events a change is about, and whether to make it.
#[derive(Debug, clap::Args)]
struct Chosen {
    #[command(flatten)]
    filter: FilterArgs,
    /// All of them; needed where no filter is given.
    #[arg(long)]
    all: bool,
    /// Do it. Without this, only say what would be done.
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// Events a second at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DiscardArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// The NDJSON file that they are written to first; must not exist yet.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

pub(super) async fn export(args: &ExportArgs, place: &Place) -> Result<(), Failure> {
    let filter = args.filter.filter();
    let mut queue = place.open().await?;
    let mut to: Box<dyn Write> = match &args.to {
        Some(path) => Box::new(BufWriter::new(create(path)?)),
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let mut written = Ok(());
    while let (Ok(()), Some(in_hand)) = (&written, queue.next().await?) {
        if filter.matches(&in_hand.event) {
            let record = match args.redact {
                true => record::redacted(&in_hand.event, &place.settings.redaction),
                false => record::whole(&in_hand.event),
            };
            written = writeln!(to, "{record}");
        }
    }
    written = written.and_then(|()| to.flush());
    queue.close().await;
    match written {
        // As with every list: the reader has seen enough.
        Err(error) if args.to.is_none() && error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

pub(super) async fn replay(args: &ReplayArgs, place: &Place) -> Result<(), Failure> {
    let Some(queue) = begin(&args.chosen, place, "replay").await? else { return Ok(()) };
    eprintln!("hookbro: {REPEATS}");
    let filter = args.chosen.filter.filter();
    let pace = args.rate.map(|rate| {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
        // At most this rate: what a stall has missed is not made up for.
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        pace
    });
    let bar = progress(&queue);
    let publisher = Publisher::new(place.settings.broker.access.clone(), "hookbro replay");
    let replay = Replay::new(queue, publisher, &place.topology);
    let seen = |_| {
        bar.inc(1);
        ControlFlow::Continue(())
    };
    let Replayed { events, stopped_by } = amqp::replay(replay, &filter, pace, seen).await;
    bar.finish_and_clear();
    match stopped_by {
        None => output::print(&format!("replayed {events} events\n")),
        Some(error) => Err(Failure::Broker(format!(
            "{error}; {events} events were replayed before that, the others lie where they were: run it again for them"
        ))),
    }
}

pub(super) async fn discard(args: &DiscardArgs, place: &Place) -> Result<(), Failure> {
    let Some(queue) = begin(&args.chosen, place, "discard").await? else { return Ok(()) };
    let filter = args.chosen.filter.filter();
    let path = args.to.clone().unwrap_or_else(|| amqp::discard_file(place.topology.dead()).into());
    let bar = progress(&queue);
    let seen = || {
        bar.inc(1);
        ControlFlow::Continue(())
    };
    let discarded = amqp::discard(queue, &filter, &path, seen).await.map_err(|error| match error {
        DiscardError::Before(error) => error.into(),
        DiscardError::Midway { .. } => Failure::Broker(error.to_string()),
        DiscardError::File { .. } | DiscardError::Stopped => Failure::Running(error.to_string()),
    })?;
    bar.finish_and_clear();
    output::print(&format!("discarded {discarded} events, written to {}\n", path.display()))
}

/// The open queue if the change is to be made; else says how many it would concern.
async fn begin(chosen: &Chosen, place: &Place, verb: &str) -> Result<Option<DeadQueue>, Failure> {
    let filter = chosen.filter.filter();
    if filter.is_all() && !chosen.all {
        return Err(Failure::Usage(format!("give a filter, or --all to {verb} every dead event")));
    }
    let mut queue = place.open().await?;
    if chosen.yes {
        return Ok(Some(queue));
    }
    let count = amqp::count(&mut queue, &filter).await?;
    queue.close().await;
    output::print(&format!("would {verb} {count} events; --yes does it\n"))?;
    Ok(None)
}

fn progress(queue: &DeadQueue) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} events, {per_sec}, {eta}");
    ProgressBar::new(queue.left().into()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn create(path: &Path) -> Result<File, Failure> {
    amqp::create(path).map_err(|error| Failure::Running(format!("cannot write {}: {error}", path.display())))
}
