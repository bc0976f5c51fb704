//! `apps delete`.

use super::organisation::{Asked, CALLS, Changes, Organisation, OriginArg, Row};
use crate::{
    cli::{audit::AuditArgs, exit::Failure, output, project::project},
    event::ProjectId,
    sinks::svix::{Origin, SvixAdmin},
};
use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use std::{
    cell::Cell,
    collections::BTreeMap,
    future::ready,
    io::{BufRead, IsTerminal as _},
    sync::Arc,
};

#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    /// The projects whose applications are deleted.
    #[arg(value_name = "PROJECT", value_parser = project, required_unless_present = "all", conflicts_with = "all")]
    projects: Vec<ProjectId>,
    /// Every application of the organisation, whoever created it; see `--origin`.
    #[arg(long)]
    all: bool,
    /// Only applications of this origin. Repeatable.
    #[arg(long, value_enum)]
    origin: Vec<OriginArg>,
    /// Delete without asking. Without this, ask on a terminal, and elsewhere only say what would be deleted.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    audit: AuditArgs,
}

pub(super) async fn delete(args: &DeleteArgs, organisation: &Organisation) -> Result<(), Failure> {
    let rows = chosen(args, organisation).await?;
    if rows.is_empty() {
        return output::print("nothing to delete\n");
    }
    if !args.yes {
        let lines = rows.iter().map(|row| [row.projects(), row.name().to_owned(), row.origin.as_str().to_owned()]);
        output::print(&output::table(["PROJECT", "APP", "ORIGIN"].map(str::to_owned), lines))?;
        let what = format!("{} applications ({}) with their endpoints and messages", rows.len(), origins(&rows));
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return output::print(&format!("would delete {what}; add --yes to do it\n"));
        }
        let word = word(&rows);
        eprint!("This deletes {what}, and what Svix remembers of their events. Type `{word}` to go on: ");
        if !is_confirmed(&mut std::io::stdin().lock(), &word)? {
            return Err(Failure::Running("not confirmed: nothing was deleted".into()));
        }
    }
    let changes = organisation.changes(&args.audit).await?;
    let deleted = delete_all(&changes, &rows).await;
    changes.audit.close().await;
    output::print(&format!("deleted {} applications\n", deleted?))
}

/// Deletes until one fails; what is under way then ends first, and is counted.
async fn delete_all(changes: &Changes<'_>, rows: &[Row]) -> Result<u64, Failure> {
    let (bar, failed) = (ProgressBar::new(rows.len() as u64), Cell::new(false));
    let mut calls = stream::iter(rows)
        .take_while(|_| ready(!failed.get()))
        .map(|row| delete_one(changes, row))
        .buffer_unordered(CALLS);
    let (mut deleted, mut first) = (0_u64, None);
    while let Some(done) = calls.next().await {
        match done {
            // Somebody else may have deleted it meanwhile.
            Ok(was_there) => deleted += u64::from(was_there),
            // The first says most.
            Err(failure) => drop(first.get_or_insert(failure)),
        }
        failed.set(first.is_some());
        bar.inc(1);
    }
    bar.finish_and_clear();
    match first {
        None => Ok(deleted),
        Some(Failure::Svix(text)) => {
            Err(Failure::Svix(format!("{text}; {deleted} applications were deleted before that")))
        }
        Some(other) => Err(other),
    }
}

async fn delete_one(changes: &Changes<'_>, row: &Row) -> Result<bool, Failure> {
    let project = if let [only] = row.projects.as_slice() { Some(only.to_string()) } else { None };
    let detail = Some(format!("origin {}", row.origin.as_str()));
    let asked = Asked { action: "app.delete", project, target: row.name().to_owned(), detail };
    let id = row.application.id.clone();
    let make = |svix: Arc<SvixAdmin>| async move {
        let was_there = svix.delete_application(&id).await?;
        Ok((was_there, if was_there { "deleted" } else { "it did not exist any more" }.to_owned()))
    };
    changes.make(asked, make).await
}

async fn chosen(args: &DeleteArgs, organisation: &Organisation) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Vec::new();
    if args.all {
        rows.extend(
            organisation.svix.applications().await?.into_iter().map(|application| organisation.row(application)),
        );
    }
    for project in &args.projects {
        match organisation.find(project).await? {
            // Two projects may share one application.
            (_, Some(row)) if rows.iter().any(|known| known.application.id == row.application.id) => {}
            (_, Some(row)) => rows.push(row),
            (to, None) => eprintln!("hookbro: {project}: there is no application {}", to.app()),
        }
    }
    rows.retain(|row| OriginArg::admits(&args.origin, row.origin));
    Ok(rows)
}

/// How many of each origin, in words.
fn origins(rows: &[Row]) -> String {
    let mut counts: BTreeMap<Origin, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.origin).or_default() += 1;
    }
    counts.iter().map(|(origin, count)| format!("{count} {}", origin.as_str())).collect::<Vec<_>>().join(", ")
}

/// What has to be typed: the application's name, or how many there are.
fn word(rows: &[Row]) -> String {
    match rows {
        [only] => only.name().to_owned(),
        rows => format!("delete {}", rows.len()),
    }
}

fn is_confirmed(input: &mut impl BufRead, word: &str) -> Result<bool, Failure> {
    let mut typed = String::new();
    input.read_line(&mut typed)?;
    Ok(typed.trim() == word)
}

#[cfg(test)]
mod tests {
    use crate::cli::apps::delete::is_confirmed;

    #[test]
    fn only_the_very_word_confirms() {
        for (typed, confirmed) in
            [("delete 3\n", true), (" delete 3 \n", true), ("y\n", false), ("", false), ("delete 33\n", false)]
        {
            assert_eq!(is_confirmed(&mut typed.as_bytes(), "delete 3").unwrap(), confirmed, "{typed:?}");
        }
    }
}
