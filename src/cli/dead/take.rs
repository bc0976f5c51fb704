//! `dead export`, `dead replay` and `dead discard`.

use super::{Place, filter::FilterArgs, record};
use crate::{
    amqp::{DeadQueue, Publisher, Replay, Replayed},
    cli::{exit::Failure, output},
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs::{File, OpenOptions},
    io::{BufWriter, ErrorKind, Write},
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
    eprintln!(
        "hookbro: an event that Svix accepted before is refused there as a repeat while its eventId is remembered; such a \
         replay is counted as `duplicate`"
    );
    let filter = args.chosen.filter.filter();
    let mut pace = args.rate.map(|rate| {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
        // At most this rate: what a stall has missed is not made up for.
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        pace
    });
    let bar = progress(&queue);
    let publisher = Publisher::new(place.settings.broker.access.clone(), "hookbro replay");
    let mut replay = Replay::new(queue, publisher, &place.topology);
    while let Some(in_hand) = replay.next().await {
        bar.inc(1);
        if !filter.matches(&in_hand.event) {
            continue;
        }
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        replay.send(in_hand);
    }
    let Replayed { events, stopped_by } = replay.finish().await;
    bar.finish_and_clear();
    match stopped_by {
        None => output::print(&format!("replayed {events} events\n")),
        Some(error) => Err(Failure::Broker(format!(
            "{error}; {events} events were replayed before that, the others lie where they were: run it again for them"
        ))),
    }
}

pub(super) async fn discard(args: &DiscardArgs, place: &Place) -> Result<(), Failure> {
    let Some(mut queue) = begin(&args.chosen, place, "discard").await? else { return Ok(()) };
    let filter = args.chosen.filter.filter();
    let path = args.to.clone().unwrap_or_else(|| {
        let now = jiff::Timestamp::now().as_second();
        PathBuf::from(format!("{}-discarded-{now}.ndjson", place.topology.dead()))
    });
    let mut file = BufWriter::new(create(&path)?);
    let (bar, mut claims) = (progress(&queue), Vec::new());
    while let Some(in_hand) = queue.next().await? {
        bar.inc(1);
        if filter.matches(&in_hand.event) {
            writeln!(file, "{}", record::whole(&in_hand.event))?;
            claims.push(in_hand.claim);
        }
    }
    // On disk under its name before the first is gone.
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    let discarded = claims.len();
    for claim in claims {
        queue.remove(claim).await?;
    }
    queue.close_after_removing().await?;
    bar.finish_and_clear();
    output::print(&format!("discarded {discarded} events, written to {}\n", path.display()))
}

/// The open queue if the change is to be made; else says how many it would concern.
async fn begin(chosen: &Chosen, place: &Place, verb: &str) -> Result<Option<DeadQueue>, Failure> {
    if chosen.filter.is_empty() && !chosen.all {
        return Err(Failure::Usage(format!("give a filter, or --all to {verb} every dead event")));
    }
    let mut queue = place.open().await?;
    if chosen.yes {
        return Ok(Some(queue));
    }
    let (filter, mut count) = (chosen.filter.filter(), 0_u64);
    while let Some(in_hand) = queue.next().await? {
        count += u64::from(filter.matches(&in_hand.event));
    }
    queue.close().await;
    output::print(&format!("would {verb} {count} events; --yes does it\n"))?;
    Ok(None)
}

fn progress(queue: &DeadQueue) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} events, {per_sec}, {eta}");
    ProgressBar::new(queue.left().into()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn create(path: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // Whole bodies, which are nobody else's business.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| Failure::Running(format!("cannot write {}: {error}", path.display())))
}
