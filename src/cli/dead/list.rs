//! `dead list` and `dead show`.

use super::{Place, filter::FilterArgs, record};
use crate::{
    cli::{
        exit::Failure,
        output::{self, Output},
    },
    domain::{DeadEvent, DeadFilter},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Count by this property instead of listing.
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
}

impl Group {
    fn of(self, event: &DeadEvent) -> Option<String> {
        match self {
            Self::Reason => Some(event.reason.as_str().to_owned()),
            Self::Project => event.project.clone(),
            Self::Type => event.kind.clone(),
            Self::Status => event.status.map(|status| status.to_string()),
        }
    }
}

pub(super) async fn list(args: &ListArgs, place: &Place) -> Result<(), Failure> {
    let filter = args.filter.filter();
    if let Some(group) = args.group_by {
        let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
        browse(place, &filter, usize::MAX, |event| *counts.entry(group.of(event)).or_default() += 1).await?;
        return output::print(&grouped(&counts, args.output));
    }
    let mut listed = Vec::new();
    let most = if args.limit == 0 { usize::MAX } else { args.limit };
    let more = browse(place, &filter, most, |event| listed.push(record::head(event))).await?;
    output::print(&match args.output {
        Output::Json => format!("{:#}\n", Value::Array(listed)),
        Output::Table => {
            let text = |value: &Value| match value {
                Value::Null => "-".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let keys = ["failed_at", "reason", "status", "attempts", "project", "type", "id", "detail"];
            let rows = listed.iter().map(|record| keys.map(|key| text(&record[key])));
            output::table(keys.map(|key| key.to_uppercase()), rows)
        }
    })?;
    if more {
        eprintln!("hookbro: only the first {most} are shown; see --limit");
    }
    Ok(())
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
    /// Show the body too, which may hold personal data.
    #[arg(long)]
    body: bool,
}

pub(super) async fn show(args: &ShowArgs, place: &Place) -> Result<(), Failure> {
    let filter = DeadFilter { ids: vec![args.id.clone()], ..DeadFilter::default() };
    let mut found = Vec::new();
    let show = if args.body { record::whole } else { record::head };
    browse(place, &filter, usize::MAX, |event| found.push(show(event))).await?;
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
    mut see: impl FnMut(&DeadEvent),
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
        see(&in_hand.event);
        seen += 1;
    }
    queue.close().await;
    Ok(false)
}
