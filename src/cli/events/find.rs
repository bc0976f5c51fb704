//! `events find`.

use super::{
    api::Api,
    query::{FilterArgs, Pages, time},
};
use crate::{
    cli::{
        exit::Failure,
        output::{self, Output, Stdout},
    },
    operate::{
        api_types::{Gap, Line},
        describe, sanitize as plain, time_argument,
    },
};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Debug, clap::Args)]
pub(super) struct FindArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Delivered last at this time or later: RFC 3339, or an age such as `2h`.
    #[arg(long, value_name = "TIME", value_parser = time_argument::parse)]
    since: Option<Timestamp>,
    /// Delivered last before this time.
    #[arg(long, value_name = "TIME", value_parser = time_argument::parse)]
    until: Option<Timestamp>,
    /// Show at most this many; `0` for all.
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

/// What a walk saw beside its events.
struct Seen {
    more: bool,
    gaps: BTreeMap<Timestamp, Gap>,
}

pub(super) async fn find(args: &FindArgs, api: &Api) -> Result<(), Failure> {
    let seen = match args.output {
        Output::Json => find_json(args, api).await?,
        Output::Table => find_table(args, api).await?,
    };
    if seen.more {
        eprintln!("hookbro: only the newest {} are shown; see --limit", args.limit);
    }
    for gap in seen.gaps.values() {
        eprintln!("hookbro: {}", describe::gap(gap));
    }
    Ok(())
}

/// One array, written as it is read: a long list takes no more memory than a short one.
async fn find_json(args: &FindArgs, api: &Api) -> Result<Seen, Failure> {
    let mut out = Stdout::new();
    let mut before = "[";
    let seen = walk(args, api, |event| {
        out.write(&format!("{before}\n  {}", json(&event)?))?;
        before = ",";
        Ok(())
    })
    .await?;
    out.write(if before == "[" { "[]\n" } else { "\n]\n" })?;
    out.flush()?;
    Ok(seen)
}

async fn find_table(args: &FindArgs, api: &Api) -> Result<Seen, Failure> {
    let mut rows = Vec::new();
    let seen = walk(args, api, |event| {
        rows.push(cells(&event));
        Ok(())
    })
    .await?;
    let header = ["AT", "OUTCOME", "ATTEMPT", "STATUS", "PROJECT", "TYPE", "ID", "WHY"];
    output::print(&output::table(header.map(str::to_owned), rows))?;
    Ok(seen)
}

/// Shows events to `see`, newest first.
async fn walk(args: &FindArgs, api: &Api, mut see: impl FnMut(Line) -> Result<(), Failure>) -> Result<Seen, Failure> {
    let mut query = args.filter.pairs();
    query.extend([time("since", args.since), time("until", args.until)].into_iter().flatten());
    let mut left = if args.limit == 0 { usize::MAX } else { args.limit };
    let mut pages = Pages::new(api, query);
    let mut gaps = BTreeMap::new();
    while let Some(answered) = pages.next(left.saturating_add(1)).await? {
        // Each page has those of its own stretch.
        gaps.extend(answered.value.gaps.into_iter().map(|gap| (gap.from, gap)));
        for event in answered.value.events {
            if left == 0 {
                return Ok(Seen { more: true, gaps });
            }
            see(event)?;
            left -= 1;
        }
    }
    Ok(Seen { more: false, gaps })
}

/// What was answered, as JSON on one line that is harmless on a terminal.
pub(super) fn json(answer: &impl Serialize) -> Result<String, Failure> {
    let value = serde_json::to_value(answer);
    Ok(plain::json(&value.map_err(|error| Failure::Running(format!("an answer cannot be written as JSON: {error}")))?))
}

/// What a list shows of an event; `-` for what it does not have.
pub(super) fn cells(line: &Line) -> [String; 8] {
    let last = &line.last;
    let text = |value: Option<&plain::Plain>| value.map_or_else(|| "-".to_owned(), ToString::to_string);
    [
        describe::time(last.at),
        last.outcome.to_string(),
        last.attempt.to_string(),
        last.status.map_or_else(|| "-".to_owned(), |status| status.to_string()),
        text(line.project.as_ref()),
        text(line.kind.as_ref()),
        text(line.id.as_ref()),
        describe::prospect(last).unwrap_or_else(|| "-".to_owned()),
    ]
}
