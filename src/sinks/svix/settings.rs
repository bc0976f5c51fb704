//! What this adapter must know: `svix.*`.

use crate::process::secret::Secret;
use std::time::Duration;

#[derive(Debug, Clone)]
pub struct Settings {
    /// Base URL; empty: chosen from the token's region suffix, as Svix's own clients do.
    pub url: String,
    /// Organisation token, sent as bearer.
    pub token: Secret,
    /// Authorities in PEM that are trusted beside those of the machine; empty for none.
    pub authorities: Secret,
    /// Longest wait for one answer, from connecting to the last byte.
    pub timeout: Duration,
}
