//! `hookbro run`: starts the log and the service, and waits for the end.

use super::{
    exit::{Failure, runtime},
    signals,
};
use crate::{app, config::Settings, observe};
use std::io::IsTerminal as _;

pub(super) fn run(settings: Settings) -> Result<(), Failure> {
    observe::init(settings.log.format, &settings.log.level, std::io::stderr().is_terminal())?;
    let runtime = runtime()?;
    // On a worker, not on this thread: the loop that begins deliveries would wake a worker for each of them.
    let serving = runtime.spawn(async move { Ok::<_, Failure>(app::serve(settings, signals::listen().await?).await?) });
    let ended = runtime.block_on(serving).unwrap_or_else(|broken| Err(Failure::Running(broken.to_string())));
    // A name look-up or a file on a hung mount may never return; the process does not wait for it.
    runtime.shutdown_background();
    ended
}
