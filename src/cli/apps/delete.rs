//! `apps delete`.

use super::{CALLS, OriginArg, Place, Row, project};
use crate::{
    cli::{exit::Failure, output},
    event::ProjectId,
    sinks::svix::Origin,
};
use futures_util::{StreamExt as _, stream};
use indicatif::ProgressBar;
use std::{
    collections::BTreeMap,
    io::{BufRead, IsTerminal as _},
};

#[derive(Debug, clap::Args)]
pub(super) struct DeleteArgs {
    /// The projects whose applications go.
    #[arg(value_name = "PROJECT", value_parser = project, required_unless_present = "all", conflicts_with = "all")]
    projects: Vec<ProjectId>,
    /// Every application of the organisation, whoever made it; see `--origin`.
    #[arg(long)]
    all: bool,
    /// Only applications that came about in this way. Repeatable.
    #[arg(long, value_enum)]
    origin: Vec<OriginArg>,
    /// Do it without asking. Without this, ask on a terminal, and elsewhere only say what would be deleted.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn delete(args: &DeleteArgs, place: &Place) -> Result<(), Failure> {
    let rows = chosen(args, place).await?;
    if rows.is_empty() {
        return output::print("nothing to delete\n");
    }
    if !args.yes {
        let lines = rows.iter().map(|row| [row.projects(), row.name().to_owned(), row.origin.as_str().to_owned()]);
        output::print(&output::table(["PROJECT", "APP", "ORIGIN"].map(str::to_owned), lines))?;
        let what = format!("{} applications ({}) with their endpoints and messages", rows.len(), origins(&rows));
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return output::print(&format!("would delete {what}; --yes does it\n"));
        }
        let word = word(&rows);
        eprint!("This deletes {what}, and what Svix remembers of their events. Type `{word}` to go on: ");
        if !is_confirmed(&mut std::io::stdin().lock(), &word)? {
            return Err(Failure::Running("not confirmed: nothing was deleted".into()));
        }
    }
    let (bar, mut deleted) = (ProgressBar::new(rows.len() as u64), 0_u64);
    let mut calls =
        stream::iter(&rows).map(|row| place.svix.delete_application(&row.application.id)).buffer_unordered(CALLS);
    while let Some(done) = calls.next().await {
        // One that is gone by now was somebody else's doing.
        deleted += u64::from(done.map_err(|error| {
            let before = format!("{deleted} applications were deleted before that");
            match Failure::from(error) {
                Failure::Svix(text) => Failure::Svix(format!("{text}; {before}")),
                other => other,
            }
        })?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    output::print(&format!("deleted {deleted} applications\n"))
}

async fn chosen(args: &DeleteArgs, place: &Place) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Vec::new();
    if args.all {
        rows.extend(place.svix.applications().await?.into_iter().map(|application| place.row(application)));
    }
    for project in &args.projects {
        match place.find(project).await? {
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
