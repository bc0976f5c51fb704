//! What every program here needs: the hookbro that is built beside it, and word of its own end.

use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;

/// The hookbro binary: the one `given`, or the one that cargo built with this example, in the folder above its own.
pub(crate) fn find_hookbro(given: Option<&Path>) -> Result<PathBuf, Error> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => {
            let own = std::env::current_exe()?;
            let folder = own.parent().and_then(Path::parent);
            folder.ok_or("this program has no folder above its own")?.join("hookbro")
        }
    };
    if !path.is_file() {
        let path = path.display();
        return Err(
            format!("{path} does not exist: build it with `cargo build --bin hookbro`, as this program was").into()
        );
    }
    Ok(path)
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) async fn asked_to_stop() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end this process, as they would any.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
