//! How the process ends, in two steps that everything long-lived can await.

use tokio_util::sync::CancellationToken;

/// Word of the end. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Take nothing new, wait for nothing; what is in a call may finish.
    pub requested: CancellationToken,
    /// The grace is over: drop what is still in a call.
    pub cut: CancellationToken,
}
