//! Discarding: dead letters are written to a file, and deleted once the file is on disk.

use super::queue::{QueueReader, ReadError};
use crate::{
    operate::dead_letters::{DeadLetterFilter, whole},
    sources::rabbitmq::transfer::Reader as _,
};
use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

/// Why a discard did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DiscardError {
    #[error("{} cannot be written: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Nothing was taken out.
    #[error(transparent)]
    Before(ReadError),
    #[error("{source}; {} holds all of them, those that are still in the queue too", path.display())]
    Midway { path: PathBuf, source: ReadError },
    #[error("the discard was stopped before it deleted anything")]
    Stopped,
}

/// The name of a file of discarded letters where the operator gives none.
pub fn file_name(queue: &str) -> String {
    let queue = queue.replace(['/', '\\', '\0'], "_");
    format!("{queue}-discarded-{}.ndjson", jiff::Timestamp::now().as_second())
}

/// Writes what `filter` selects to a new file, whole, and deletes it then. `seen` may end it before anything is deleted.
pub async fn run(
    mut queue: QueueReader,
    filter: &DeadLetterFilter,
    path: &Path,
    mut seen: impl FnMut() -> ControlFlow<()>,
) -> Result<u64, DiscardError> {
    let unwritten = |source| DiscardError::File { path: path.to_owned(), source };
    let mut file = BufWriter::new(create(path).map_err(unwritten)?);
    let mut claims = Vec::new();
    while let Some(unsettled) = queue.next().await.map_err(DiscardError::Before)? {
        if seen().is_break() {
            // The queue still holds all that is in the file.
            let _ = std::fs::remove_file(path);
            return Err(DiscardError::Stopped);
        }
        if filter.matches(&unsettled.letter) {
            let written = serde_json::to_writer(&mut file, &whole(&unsettled.letter));
            written.map_err(io::Error::from).and_then(|()| writeln!(file)).map_err(unwritten)?;
            claims.push(unsettled.claim);
        }
    }
    let file = file.into_inner().map_err(|error| unwritten(error.into_error()))?;
    // On disk under its name before the first letter is gone.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let synced = tokio::task::spawn_blocking(move || file.sync_all().and_then(|()| File::open(folder)?.sync_all()));
    synced.await.map_err(io::Error::other).and_then(|synced| synced).map_err(unwritten)?;
    let discarded = claims.len() as u64;
    let midway = |source| DiscardError::Midway { path: path.to_owned(), source };
    for claim in claims {
        queue.remove(claim).await.map_err(midway)?;
    }
    queue.close_after_removing().await.map_err(midway)?;
    Ok(discarded)
}

/// A new file for whole bodies, which only its owner may read.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
