//! `apps list`.

use super::organisation::{CALLS, Organisation, OriginArg, Row};
use crate::{
    cli::{
        exit::Failure,
        output::{self, Output},
    },
    sinks::svix::{AdminError, Endpoint},
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Only applications of this origin. Repeatable.
    #[arg(long, value_enum)]
    origin: Vec<OriginArg>,
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn list(args: &ListArgs, organisation: &Organisation) -> Result<(), Failure> {
    let all = organisation.svix.applications().await?.into_iter().map(|application| organisation.row(application));
    let rows: Vec<Row> = all.filter(|row| OriginArg::admits(&args.origin, row.origin)).collect();
    let bar = ProgressBar::new(rows.len() as u64);
    let endpoints: Vec<Vec<Endpoint>> = stream::iter(&rows)
        .map(|row| organisation.svix.endpoints(&row.application.id))
        .buffered(CALLS)
        .inspect(|_| bar.inc(1))
        .try_collect()
        .await
        .map_err(|error: AdminError| Failure::from(error))?;
    bar.finish_and_clear();
    let listed = rows.iter().zip(&endpoints);
    output::print(&match args.output {
        Output::Json => format!("{:#}\n", listed.map(|(row, endpoints)| record(row, endpoints)).collect::<Value>()),
        Output::Table => {
            let lines = listed.map(|(row, endpoints)| {
                let urls: Vec<_> = endpoints.iter().map(address).collect();
                let urls = if urls.is_empty() { "-".to_owned() } else { urls.join(" ") };
                [row.projects(), row.name().to_owned(), row.origin.as_str().to_owned(), urls]
            });
            output::table(["PROJECT", "APP", "ORIGIN", "ENDPOINTS"].map(str::to_owned), lines)
        }
    })?;
    missing(organisation, &rows, args)
}

fn address(endpoint: &Endpoint) -> String {
    let disabled = if endpoint.disabled { " (disabled)" } else { "" };
    format!("{}{disabled}", endpoint.url)
}

fn record(row: &Row, endpoints: &[Endpoint]) -> Value {
    let endpoint = |endpoint: &Endpoint| {
        let Endpoint { id, url, disabled, filter_types } = endpoint;
        json!({"id": id, "url": url, "disabled": disabled, "event_types": filter_types})
    };
    json!({
        "projects": row.projects.iter().map(|project| project.as_str()).collect::<Vec<_>>(),
        "app": row.name(),
        "id": row.application.id.as_str(),
        "name": row.application.name,
        "origin": row.origin.as_str(),
        "created_at": row.application.created_at,
        "endpoints": endpoints.iter().map(endpoint).collect::<Vec<_>>(),
    })
}

/// Says which entries of `routing.apps` lead nowhere: their events are given up.
fn missing(organisation: &Organisation, rows: &[Row], args: &ListArgs) -> Result<(), Failure> {
    if !args.origin.is_empty() {
        return Ok(());
    }
    let mut lost: Vec<_> = organisation
        .routes
        .mapped()
        .filter(|(project, _)| !rows.iter().any(|row| row.projects.contains(project)))
        .collect();
    lost.sort();
    for (project, app) in lost {
        eprintln!(
            "hookbro: routing.apps sends {project} to {app}, which does not exist in this Svix organisation: create it there, or remove \
             the entry"
        );
    }
    Ok(())
}
