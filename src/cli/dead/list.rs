//! `dead list` and `dead show`.

use super::{Place, filter::FilterArgs};
use crate::{
    cli::{
        exit::Failure,
        output::{self, Output, Stdout},
    },
    operate::{
        dead as record,
        dead_event::{DeadEvent, DeadFilter},
    },
    sources::rabbitmq::InHand,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Count by this property instead of listing; hour and day are those of giving up, in UTC.
    #[arg(long, value_enum)]
    group_by: Option<Group>,
    /// Show so many at most; `0` for all.
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
    fn of(self, event: &DeadEvent) -> Option<String> {
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

pub(super) async fn list(args: &ListArgs, place: &Place) -> Result<(), Failure> {
    let filter = args.filter.filter();
    if let Some(group) = args.group_by {
        let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
        browse(place, &filter, usize::MAX, |event| {
            *counts.entry(group.of(&event.event)).or_default() += 1;
            Ok(())
        })
        .await?;
        return output::print(&grouped(&counts, args.output));
    }
    let most = if args.limit == 0 { usize::MAX } else { args.limit };
    let more = match args.output {
        Output::Json => list_json(place, &filter, most).await?,
        Output::Table => list_table(place, &filter, most).await?,
    };
    if more {
        eprintln!("hookbro: only the first {most} are shown; see --limit");
    }
    Ok(())
}

/// One array, written as it is read: a long list takes no more memory than a short one.
async fn list_json(place: &Place, filter: &DeadFilter, most: usize) -> Result<bool, Failure> {
    let mut out = Stdout::new();
    let mut before = "[";
    let more = browse(place, filter, most, |event| {
        out.write(&format!("{before}\n  {}", record::head(&event.event)))?;
        before = ",";
        Ok(())
    })
    .await?;
    out.write(if before == "[" { "[]\n" } else { "\n]\n" })?;
    out.flush()?;
    Ok(more)
}

async fn list_table(place: &Place, filter: &DeadFilter, most: usize) -> Result<bool, Failure> {
    let keys = ["failed_at", "reason", "status", "attempts", "project", "type", "id", "detail"];
    let mut rows = Vec::new();
    let more = browse(place, filter, most, |event| {
        let record = record::head(&event.event);
        rows.push(keys.map(|key| match &record[key] {
            Value::Null => "-".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }));
        Ok(())
    })
    .await?;
    output::print(&output::table(keys.map(|key| key.to_uppercase()), rows))?;
    Ok(more)
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
    id: String,
    /// Show the body whole, personal data included; without this, what `redact.fields` names is hidden.
    #[arg(long)]
    body: bool,
}

pub(super) async fn show(args: &ShowArgs, place: &Place) -> Result<(), Failure> {
    let filter = DeadFilter { ids: vec![args.id.clone()], ..DeadFilter::default() };
    let mut found = Vec::new();
    let redaction = &place.settings.redaction;
    browse(place, &filter, usize::MAX, |in_hand| {
        let (event, mut properties) = (&in_hand.event, in_hand.properties());
        let mut record = if args.body {
            record::whole(event)
        } else {
            // A publisher may have put the same into headers.
            redaction.value(&mut properties);
            record::redacted(event, redaction)
        };
        record["properties"] = properties;
        found.push(record);
        Ok(())
    })
    .await?;
    if found.is_empty() {
        return Err(Failure::Running(format!("no dead event has the id {}", args.id)));
    }
    output::print(&format!("{:#}\n", Value::Array(found)))
}

/// Shows matching events to `see`, at most `most` of them; says whether there were more. All of them stay.
async fn browse(
    place: &Place,
    filter: &DeadFilter,
    most: usize,
    mut see: impl FnMut(&InHand) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    let mut queue = place.open().await?;
    let mut seen = 0;
    while let Some(in_hand) = queue.next().await? {
        if !filter.matches(&in_hand.event) {
            continue;
        }
        if seen == most {
            queue.close().await;
            return Ok(true);
        }
        see(&in_hand)?;
        seen += 1;
    }
    queue.close().await;
    Ok(false)
}
