//! `parked list`.

use super::operations::{failed, reading};
use crate::{
    cli::{
        exit::Failure,
        output::{self, Output},
        project::project,
    },
    config::Settings,
    event::ProjectId,
    operate::parked::Lot,
};

/// What a list calls the projects that share a queue.
const SEVERAL: &str = "(several)";

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only this project. Repeatable.
    #[arg(long, value_name = "PROJECT", value_parser = project)]
    project: Vec<ProjectId>,
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn list(args: &ListArgs, settings: &Settings) -> Result<(), Failure> {
    let mut lots = reading(settings).lots().await.map_err(|error| failed(&error))?;
    lots.retain(|lot| args.project.is_empty() || lot.project.as_ref().is_some_and(|of| args.project.contains(of)));
    match args.output {
        Output::Json => {
            let records: Vec<_> = lots.iter().map(Lot::record).collect();
            let json = serde_json::to_string_pretty(&records);
            let json =
                json.map_err(|error| Failure::Running(format!("the list cannot be written as JSON: {error}")))?;
            output::print(&format!("{json}\n"))
        }
        Output::Table => {
            let header = ["EVENTS", "PARKED_SINCE", "REASON", "PROJECT"].map(str::to_owned);
            output::print(&output::table(header, lots.iter().map(cells)))
        }
    }
}

/// What a list shows of a destination; `-` for what is not known.
fn cells(lot: &Lot) -> [String; 4] {
    let unknown = || "-".to_owned();
    [
        lot.events.to_string(),
        lot.since.map_or_else(unknown, |since| since.to_string()),
        lot.reason.map_or_else(unknown, |reason| reason.as_str().to_owned()),
        lot.project.as_ref().map_or_else(|| SEVERAL.to_owned(), ToString::to_string),
    ]
}
