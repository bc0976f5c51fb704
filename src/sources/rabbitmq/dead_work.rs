//! What is done with a look into the dead queue, from the command line and over HTTP alike: replaying and discarding.

use super::{
    dead_queue::{DeadQueue, DeadQueueError},
    replay::{Replay, Replayed},
};
use crate::operate::dead_letters::{DeadLetterFilter, whole};
use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    ops::ControlFlow,
    path::{Path, PathBuf},
};
use tokio::time::Interval;

/// Why a discard did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DiscardError {
    #[error("{} cannot be written: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Nothing was taken out.
    #[error(transparent)]
    Before(DeadQueueError),
    #[error("{source}; {} holds all of them, those that still lie in the queue too", path.display())]
    Midway { path: PathBuf, source: DeadQueueError },
    #[error("it was stopped")]
    Stopped,
}

/// Replays what `filter` means, no faster than `pace`. `seen` is told how many are through at each event that is looked at,
/// and may end it there.
pub async fn replay(
    mut replay: Replay,
    filter: &DeadLetterFilter,
    mut pace: Option<Interval>,
    mut seen: impl FnMut(u64) -> ControlFlow<()>,
) -> Replayed {
    while let Some(in_hand) = replay.next().await {
        if seen(replay.replayed()).is_break() {
            break;
        }
        if !filter.matches(&in_hand.event) {
            continue;
        }
        if let Some(pace) = &mut pace {
            pace.tick().await;
        }
        replay.send(in_hand);
    }
    replay.finish().await
}

/// What a file of discarded events is called where nobody says.
pub fn discard_file(queue: &str) -> String {
    let queue = queue.replace(['/', '\\', '\0'], "_");
    format!("{queue}-discarded-{}.ndjson", jiff::Timestamp::now().as_second())
}

/// Writes what `filter` means to a new file, whole, and deletes it then. `seen` may end it before anything is deleted.
pub async fn discard(
    mut queue: DeadQueue,
    filter: &DeadLetterFilter,
    path: &Path,
    mut seen: impl FnMut() -> ControlFlow<()>,
) -> Result<u64, DiscardError> {
    let unwritten = |source| DiscardError::File { path: path.to_owned(), source };
    let mut file = BufWriter::new(create(path).map_err(unwritten)?);
    let mut claims = Vec::new();
    while let Some(in_hand) = queue.next().await.map_err(DiscardError::Before)? {
        if seen().is_break() {
            // What it holds lies in the queue as before.
            let _ = std::fs::remove_file(path);
            return Err(DiscardError::Stopped);
        }
        if filter.matches(&in_hand.event) {
            let written = serde_json::to_writer(&mut file, &whole(&in_hand.event));
            written.map_err(io::Error::from).and_then(|()| writeln!(file)).map_err(unwritten)?;
            claims.push(in_hand.claim);
        }
    }
    let file = file.into_inner().map_err(|error| unwritten(error.into_error()))?;
    // On disk under its name before the first is gone.
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

/// A new file for whole bodies, which are nobody else's business.
pub fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
