//! Which events were published, and what became of each.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use comfy_table::{CellAlignment, Table, presets};
use serde::Deserialize;

use crate::Error;
use crate::log::Settled;

#[derive(Deserialize)]
struct Head {
    id: String,
    project: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Delivered,
    Dead,
}

#[derive(Default)]
struct Progress {
    retried: usize,
    end: Option<End>,
}

/// Keyed by project and event id.
pub(crate) struct Tally(BTreeMap<(String, String), Progress>);

#[derive(Default)]
struct Row {
    published: usize,
    delivered: usize,
    retried: usize,
    dead: usize,
}

impl Tally {
    /// Reads the events that `hookbro publish FOLDER` will publish.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self, Error> {
        let failed = |path: &Path, error: &dyn fmt::Display| format!("failed to read {}: {error}", path.display());
        let mut events = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let bytes = std::fs::read(&path).map_err(|error| failed(&path, &error))?;
                let head: Head = serde_json::from_slice(&bytes).map_err(|error| failed(&path, &error))?;
                events.insert((head.project, head.id), Progress::default());
            }
        }
        if events.is_empty() {
            return Err(format!("no *.json in {}", folder.display()).into());
        }
        Ok(Self(events))
    }

    pub(crate) fn published(&self) -> usize {
        self.0.len()
    }

    /// Counts one line; false for events of others, such as those that were waiting before.
    pub(crate) fn count(&mut self, settled: &Settled) -> bool {
        let Some(progress) = self.0.get_mut(&(settled.project.clone(), settled.event.clone())) else {
            return false;
        };
        match settled.outcome.as_str() {
            "delivered" | "duplicate" => progress.end = Some(End::Delivered),
            "dead" => progress.end = Some(End::Dead),
            "retried" => progress.retried += 1,
            // Given back: the broker delivers it again.
            _ => {}
        }
        true
    }

    pub(crate) fn complete(&self) -> bool {
        self.0.values().all(|progress| progress.end.is_some())
    }

    /// An error that names each event not delivered.
    pub(crate) fn verdict(&self) -> Result<(), Error> {
        let failed = self.0.iter().filter_map(|((project, id), progress)| {
            let what = match progress.end {
                Some(End::Delivered) => return None,
                Some(End::Dead) => "dead",
                None => "missing",
            };
            Some(format!("\n  {what}: project {project}, event {id}"))
        });
        let failed: Vec<String> = failed.collect();
        if failed.is_empty() {
            return Ok(());
        }
        Err(format!("{} of {} events were not delivered:{}", failed.len(), self.0.len(), failed.concat()).into())
    }

    fn rows(&self) -> BTreeMap<&str, Row> {
        let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
        for ((project, _), progress) in &self.0 {
            let row = rows.entry(project).or_default();
            row.published += 1;
            row.retried += progress.retried;
            row.delivered += usize::from(progress.end == Some(End::Delivered));
            row.dead += usize::from(progress.end == Some(End::Dead));
        }
        rows
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["project", "published", "delivered", "retried", "dead"]);
        let mut total = Row::default();
        for (project, row) in self.rows() {
            table.add_row(row.cells(project));
            total.published += row.published;
            total.delivered += row.delivered;
            total.retried += row.retried;
            total.dead += row.dead;
        }
        table.add_row(total.cells("total"));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")
    }
}

impl Row {
    fn cells(&self, name: &str) -> [String; 5] {
        let Self { published, delivered, retried, dead } = self;
        [name.to_owned(), published.to_string(), delivered.to_string(), retried.to_string(), dead.to_string()]
    }
}
