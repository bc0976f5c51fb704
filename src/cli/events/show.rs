//! `events show`.

use super::{
    api::{Api, ApiError},
    find::json,
    query::event_id,
};
use crate::{
    cli::project::project,
    cli::{
        exit::Failure,
        output::{self, Output},
    },
    event::{EventId, ProjectId},
    operate::{api_types::Story, describe, sanitize as plain},
};

/// Projects whose events are shown, if many use one id; the others are counted.
const MOST: usize = 20;

#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// The event's id.
    #[arg(value_parser = event_id)]
    id: EventId,
    /// Show this project's event only; if not given, those of all projects that use the id.
    #[arg(long, value_name = "PROJECT", value_parser = project)]
    project: Option<ProjectId>,
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

pub(super) async fn show(args: &ShowArgs, api: &Api) -> Result<(), Failure> {
    let first = ask(args, api, args.project.as_ref().map(ProjectId::as_str)).await?;
    let others = first.other_projects.iter().flatten().filter(|_| args.project.is_none());
    let others: Vec<String> = others.map(|project| project.as_written().to_owned()).collect();
    let mut stories = vec![first];
    for other in others.iter().take(MOST) {
        stories.push(ask(args, api, Some(other)).await?);
    }
    output::print(&match args.output {
        Output::Json => {
            let lines = stories.iter().map(|story| Ok(format!("  {}", json(story)?)));
            format!("[\n{}\n]\n", lines.collect::<Result<Vec<_>, Failure>>()?.join(",\n"))
        }
        Output::Table => stories.iter().map(describe::story).collect::<Vec<_>>().join("\n"),
    })?;
    if others.len() > MOST {
        eprintln!("hookbro: {} more projects use this id; see --project", others.len() - MOST);
    }
    Ok(())
}

async fn ask(args: &ShowArgs, api: &Api, project: Option<&str>) -> Result<Story, Failure> {
    let query: Vec<_> = project.map(|project| ("project", project.to_owned())).into_iter().collect();
    match api.get(&["events", args.id.as_str()], &query).await {
        Ok(answered) => Ok(answered.value),
        Err(ApiError::NotFound { address, .. }) => {
            let of = project.map_or_else(String::new, |project| format!(" of the project {}", plain::plain(project)));
            Err(Failure::Running(format!(
                "hookbro at {address} knows no event {}{of}: it has not arrived yet, it is older than the journal \
                 (journal.retention), or the id is wrong",
                args.id
            )))
        }
        Err(error) => Err(error.into()),
    }
}
