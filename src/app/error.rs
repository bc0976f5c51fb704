//! How the service can fail to start, or end unasked.

use crate::{http::ListenError, sources::rabbitmq::DeclareError};

/// What went wrong; the command line picks an exit code by it.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting makes no sense together with this machine.
    #[error("{0}")]
    Configuration(String),
    /// Objects exist on the broker that cannot be used as they are.
    #[error(transparent)]
    Broker(#[from] DeclareError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("{0}")]
    Running(String),
}
