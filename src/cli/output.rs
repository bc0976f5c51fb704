//! Results on standard output: a table for people, JSON for programs. A reader that goes away is no failure.

use super::exit::Failure;
use comfy_table::{Table, presets::NOTHING};
use std::io::{ErrorKind, Write as _};

/// The form of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Output {
    Table,
    Json,
}

/// Writes `text` as it is.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
}

/// A table without lines, as ps and kubectl print them.
pub(super) fn table<const N: usize>(header: [String; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    format!("{table}\n").lines().map(|line| format!("{}\n", line.trim())).collect()
}
