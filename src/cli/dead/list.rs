//! `dead list`, `dead show` and `dead export`: the commands that change nothing.

use super::{
    filter::FilterArgs,
    operations::{Operations, failure},
};
use crate::{
    cli::{
        exit::Failure,
        output::{self, Output, Stdout},
    },
    operate::dead_letters::{self as record, Browsed, DeadLetter, DeadLetterFilter},
    sources::rabbitmq as amqp,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{self, BufWriter, ErrorKind, Write},
    ops::ControlFlow,
    path::PathBuf,
};

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Count by this property instead of listing. Hour and day are when events were given up, in UTC.
    #[arg(long, value_enum)]
    group_by: Option<Group>,
    /// Show at most this many; `0` for all.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    Reason,
    Project,
    Type,
    Status,
    Hour,
    Day,
}

impl Group {
    fn of(self, event: &DeadLetter) -> Option<String> {
        match self {
            Self::Reason => Some(event.reason.as_str().to_owned()),
            Self::Project => event.project.clone(),
            Self::Type => event.kind.clone(),
            Self::Status => event.status.map(|status| status.to_string()),
            Self::Hour => event.failed_at.map(|at| at.strftime("%Y-%m-%dT%H:00Z").to_string()),
            Self::Day => event.failed_at.map(|at| at.strftime("%Y-%m-%d").to_string()),
        }
    }
}

pub(super) async fn list(args: &ListArgs, operations: &Operations) -> Result<(), Failure> {
    let filter = args.filter.filter()?;
    if let Some(group) = args.group_by {
        let counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
        let (counts, _) = browse(operations, filter, usize::MAX, counts, move |counts, browsed| {
            *counts.entry(group.of(browsed.letter)).or_default() += 1;
            Ok(())
        })
        .await?;
        return output::print(&grouped(&counts, args.output));
    }
    let most = if args.limit == 0 { usize::MAX } else { args.limit };
    let more = match args.output {
        Output::Json => list_json(operations, filter, most).await?,
        Output::Table => list_table(operations, filter, most).await?,
    };
    if more {
        eprintln!("hookbro: only the first {most} are shown; see --limit");
    }
    Ok(())
}

/// One array, written as it is read: a long list takes no more memory than a short one.
async fn list_json(operations: &Operations, filter: DeadLetterFilter, most: usize) -> Result<bool, Failure> {
    let begun = (Stdout::new(), "[");
    let ((mut out, before), more) = browse(operations, filter, most, begun, |(out, before), browsed| {
        out.write(&format!(
            "{before}\n  {}",
            serde_json::to_string(&record::head(browsed.letter)).map_err(unwritten)?
        ))?;
        *before = ",";
        Ok(())
    })
    .await?;
    out.write(if before == "[" { "[]\n" } else { "\n]\n" })?;
    out.flush()?;
    Ok(more)
}

async fn list_table(operations: &Operations, filter: DeadLetterFilter, most: usize) -> Result<bool, Failure> {
    let header = ["FAILED_AT", "REASON", "STATUS", "ATTEMPTS", "PROJECT", "TYPE", "ID", "DETAIL"];
    let (rows, more) = browse(operations, filter, most, Vec::new(), |rows, browsed| {
        rows.push(cells(browsed.letter));
        Ok(())
    })
    .await?;
    output::print(&output::table(header.map(str::to_owned), rows))?;
    Ok(more)
}

/// What a list shows of a dead letter; `-` for what it does not have.
fn cells(letter: &DeadLetter) -> [String; 8] {
    fn cell(value: Option<impl ToString>) -> String {
        value.map_or_else(|| "-".to_owned(), |value| value.to_string())
    }
    let DeadLetter { id, project, kind, reason, detail, attempts, status, failed_at, .. } = letter;
    [
        cell(*failed_at),
        reason.as_str().to_owned(),
        cell(*status),
        cell(*attempts),
        cell(project.as_deref()),
        cell(kind.as_deref()),
        cell(id.as_deref()),
        cell(detail.as_deref()),
    ]
}

/// A record that has no form as JSON, which none is without.
fn unwritten(error: serde_json::Error) -> Failure {
    Failure::Running(format!("a dead letter cannot be written as JSON: {error}"))
}

fn grouped(counts: &BTreeMap<Option<String>, u64>, output: Output) -> String {
    match output {
        Output::Json => {
            let rows = counts.iter().map(|(value, count)| json!({"value": value, "count": count}));
            format!("{:#}\n", rows.collect::<Value>())
        }
        Output::Table => {
            let rows = counts.iter().map(|(value, count)| [count.to_string(), value.clone().unwrap_or("-".into())]);
            output::table(["COUNT".to_owned(), "VALUE".to_owned()], rows)
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The event's id.
    id: String,
    /// Show the whole body, personal data included. Without this, the fields that `redact.fields` names are hidden.
    #[arg(long)]
    body: bool,
}

pub(super) async fn show(args: ShowArgs, operations: &Operations) -> Result<(), Failure> {
    let ShowArgs { id, body } = args;
    let filter = DeadLetterFilter { ids: vec![id.clone()], ..DeadLetterFilter::default() };
    let redaction = operations.redaction().clone();
    let (found, _) = browse(operations, filter, usize::MAX, Vec::new(), move |found, browsed| {
        let mut properties = browsed.properties();
        let mut record = if body {
            record::whole(browsed.letter)
        } else {
            // A publisher may have put the same into headers.
            redaction.value(&mut properties);
            record::redacted(browsed.letter, &redaction)
        };
        record.properties = Some(properties);
        found.push(record.into_owned());
        Ok(())
    })
    .await?;
    if found.is_empty() {
        return Err(Failure::Running(format!(
            "no dead letter has the event id {id}; `hookbro dead list` shows those that there are"
        )));
    }
    output::print(&format!("{}\n", serde_json::to_string_pretty(&found).map_err(unwritten)?))
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// The file to write; standard output if not given.
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Hide the fields that `redact.fields` names. Such an export is for reading: it cannot be published again.
    #[arg(long)]
    redact: bool,
}

pub(super) async fn export(args: &ExportArgs, operations: &Operations) -> Result<(), Failure> {
    let filter = args.filter.filter()?;
    let to: Box<dyn Write + Send> = match &args.to {
        Some(path) => {
            let unwritten = |error| Failure::Running(format!("cannot write {}: {error}", path.display()));
            Box::new(BufWriter::new(amqp::create(path).map_err(unwritten)?))
        }
        None => Box::new(BufWriter::new(io::stdout())),
    };
    let redaction = args.redact.then(|| operations.redaction().clone());
    let begun = (to, Ok(()));
    let exported = operations.browse(filter, begun, move |(to, written): &mut (_, io::Result<()>), browsed| {
        let record = match &redaction {
            Some(redaction) => record::redacted(browsed.letter, redaction),
            None => record::whole(browsed.letter),
        };
        *written = serde_json::to_writer(&mut *to, &record).map_err(io::Error::from).and_then(|()| writeln!(to));
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    let (mut to, written) = exported.await.map_err(failure)?;
    match written.and_then(|()| to.flush()) {
        // As with every list: the reader has seen enough.
        Err(error) if args.to.is_none() && error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// Shows `see` at most `most` of what `filter` selects; gives back what it gathers in, and whether there were more.
async fn browse<S: Send + 'static>(
    operations: &Operations,
    filter: DeadLetterFilter,
    most: usize,
    state: S,
    mut see: impl FnMut(&mut S, &Browsed<'_>) -> Result<(), Failure> + Send + 'static,
) -> Result<(S, bool), Failure> {
    struct Seen<S> {
        state: S,
        seen: usize,
        more: bool,
        failed: Option<Failure>,
    }
    let begun = Seen { state, seen: 0, more: false, failed: None };
    let browsed = operations.browse(filter, begun, move |all, browsed| {
        if all.seen == most {
            all.more = true;
            return ControlFlow::Break(());
        }
        all.seen += 1;
        all.failed = see(&mut all.state, &browsed).err();
        if all.failed.is_none() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match browsed.await.map_err(failure)? {
        Seen { failed: Some(failure), .. } => Err(failure),
        Seen { state, more, .. } => Ok((state, more)),
    }
}
