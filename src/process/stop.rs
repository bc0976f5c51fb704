//! How the process ends, in steps that everything long-lived can await.

use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long calls in flight may take once the end is hurried: nearly every one is answered by then, and whoever gave two signals
/// waits no longer.
pub const LAST_CALLS: Duration = Duration::from_secs(5);

/// The signal to stop. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Take nothing new, wait for nothing; what is in a call may finish.
    pub requested: CancellationToken,
    /// What is in a call has [`LAST_CALLS`] left.
    pub hurried: CancellationToken,
    /// The grace is over: drop what is still in a call.
    pub cut: CancellationToken,
}
