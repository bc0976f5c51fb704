//! Results on standard output: a table for people, JSON for programs. A reader that goes away is no failure.

use super::exit::Failure;
use crate::operate::sanitize::plain;
use comfy_table::{Table, presets::NOTHING};
use std::io::{BufWriter, ErrorKind, Write as _};

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

/// Standard output for long lists: written in pieces. Once its reader has gone away, the rest goes nowhere.
pub(super) struct Stdout(Option<BufWriter<std::io::Stdout>>);

impl Stdout {
    pub(super) fn new() -> Self {
        Self(Some(BufWriter::new(std::io::stdout())))
    }

    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.pass(|out| out.write_all(text.as_bytes()))
    }

    pub(super) fn flush(mut self) -> Result<(), Failure> {
        self.hand_over().map(|_| ())
    }

    /// Hands what was written to the reader; says whether there is one still.
    pub(super) fn hand_over(&mut self) -> Result<bool, Failure> {
        self.pass(BufWriter::flush)?;
        Ok(self.0.is_some())
    }

    fn pass(
        &mut self,
        write: impl FnOnce(&mut BufWriter<std::io::Stdout>) -> std::io::Result<()>,
    ) -> Result<(), Failure> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        match write(out) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                // Its destructor would only try again.
                if let Some(out) = self.0.take() {
                    drop(out.into_parts());
                }
                Ok(())
            }
            done => Ok(done?),
        }
    }
}

/// A table without lines, as ps and kubectl print them. Cells may hold what strangers wrote: it is shown, not obeyed.
pub(super) fn table<const N: usize>(header: [String; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    let rows = rows.into_iter().map(|row| row.map(|cell| plain(&cell)));
    table.load_style(NOTHING).set_header(header).add_rows(rows);
    format!("{table}\n").lines().map(|line| format!("{}\n", line.trim())).collect()
}
