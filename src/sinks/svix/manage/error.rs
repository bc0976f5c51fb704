//! How a management call fails; no variant holds a token, a body or a link.

use reqwest::StatusCode;

/// Why Svix did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum ManageError {
    /// The settings give no way in; Svix was not asked.
    #[error("{0}")]
    Access(String),
    #[error("cannot {doing}: {detail}{}", remedy(*status))]
    Refused { doing: &'static str, status: StatusCode, detail: String },
    #[error("cannot {doing}: {detail}")]
    NoAnswer {
        doing: &'static str,
        detail: String,
        /// Whether Svix may have got the call.
        sent: bool,
    },
    #[error("cannot {doing}: what answered {status} is not Svix, or not a version that is known; check svix.url")]
    Foreign { doing: &'static str, status: StatusCode },
    #[error("cannot {doing}: Svix says that there is more and does not give it")]
    Endless { doing: &'static str },
}

impl ManageError {
    pub(super) fn outcome_is_unknown(&self) -> bool {
        match self {
            Self::Refused { status, .. } => status.is_server_error() || *status == StatusCode::REQUEST_TIMEOUT,
            Self::NoAnswer { sent, .. } => *sent,
            Self::Access(_) | Self::Foreign { .. } | Self::Endless { .. } => false,
        }
    }
}

fn remedy(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "; check svix.token",
        403 => "; svix.token must be an organisation's, not an application's",
        404 | 405 => "; check svix.url, which stands without /api/v1",
        _ => "",
    }
}
