//! Why nothing is sent to Svix for a while.

use std::fmt;

/// The reasons under which `hookbro_paused` is shown. Closed list: it is a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HaltReason {
    /// The token is missing, wrong, expired or without rights (401, 403, 400 `bad_token`).
    Auth,
    /// No connection: refused, no such name, TLS failed.
    Unreachable,
    /// Something answers that is not Svix's API: a wrong URL, a proxy, a redirect, a plan that ended (402).
    NotSvix,
    /// 429, or 503 with `Retry-After`.
    RateLimited,
    /// Too many failures in a row, or a last attempt failed while nothing at all was accepted.
    Failing,
    /// Too many events refused in a row, of several applications, and none accepted among them.
    Refusing,
    /// More unknown applications than is plausible: perhaps another organisation's token.
    Provisioning,
}

impl HaltReason {
    pub const ALL: [Self; 7] = [
        Self::Auth,
        Self::Unreachable,
        Self::NotSvix,
        Self::RateLimited,
        Self::Failing,
        Self::Refusing,
        Self::Provisioning,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Unreachable => "unreachable",
            Self::NotSvix => "not_svix",
            Self::RateLimited => "rate_limited",
            Self::Failing => "failing",
            Self::Refusing => "refusing",
            Self::Provisioning => "provisioning",
        }
    }
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
