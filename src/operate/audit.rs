//! What operators change: who, when, what, and how it ended. A change is written down before it is made, and whatever cannot
//! be written down is not made.

use crate::pipeline::journal::Unread;
use jiff::Timestamp;
use std::fmt;

/// Longest name that a caller may claim, in characters.
pub const MAX_CLAIMED: usize = 64;
/// Longest detail that is kept, in characters: one line.
pub const MAX_DETAIL: usize = 500;

/// What a caller has shown of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A program on this machine, where no token is asked for.
    Local,
    /// The holder of a token: its fingerprint, never the token.
    Token(String),
    /// Whoever runs the command line: the operating system's name of the user.
    CommandLine(String),
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Token(fingerprint) => write!(f, "token:{fingerprint}"),
            Self::CommandLine(user) => write!(f, "cli:{user}"),
        }
    }
}

/// Who acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub identity: Identity,
    /// The name that the caller gives itself. Nobody has checked it.
    claimed: Option<String>,
}

impl Actor {
    pub fn new(identity: Identity) -> Self {
        Self { identity, claimed: None }
    }

    /// With a name that the caller claims. A refusal completes the sentence "the name …".
    pub fn claiming(self, name: &str) -> Result<Self, &'static str> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_CLAIMED {
            return Err("must have 1 to 64 characters");
        }
        // Format characters turn lines round; they are as unprintable as control characters.
        let unprintable = |c: char| {
            c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        };
        if name.chars().any(unprintable) {
            return Err("has a character that cannot be printed");
        }
        Ok(Self { claimed: Some(name.to_owned()), ..self })
    }

    pub fn claimed(&self) -> Option<&str> {
        self.claimed.as_deref()
    }
}

/// What somebody is about to change. Holds no secret and no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub actor: Actor,
    /// A word for machines, as `dead.replay`.
    pub action: &'static str,
    pub project: Option<String>,
    /// What it is done to: an event, an endpoint, a queue.
    pub target: Option<String>,
    /// What was asked for, in one line.
    pub detail: Option<String>,
}

/// How a change ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Done,
    /// Wholly or in part; the detail says which.
    Failed,
}

impl Ending {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// A change that was written down and may now be made.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditEntry(pub i64);

/// A change as it is read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its row, for the cursor.
    pub row_id: i64,
    pub at: Timestamp,
    pub identity: String,
    pub claimed: Option<String>,
    pub action: String,
    pub project: Option<String>,
    pub target: Option<String>,
    pub detail: Option<String>,
    /// Not known while it is under way, and for ever if the process or the store ended before it.
    pub ended: Option<AuditEnd>,
}

/// How a change ended, as it is read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEnd {
    pub at: Timestamp,
    pub outcome: String,
    pub detail: Option<String>,
}

/// Which changes are asked for; what is not given excludes nothing.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    pub project: Option<String>,
    /// Only what lies before this row.
    pub before: Option<i64>,
    pub limit: usize,
}

/// A page of changes, newest first.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    pub changes: Vec<AuditLine>,
    /// Where to go on.
    pub next: Option<i64>,
}

/// Why a change cannot be written down, and therefore is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unwritten {
    #[error(
        "nothing was changed, since changes are written down in the journal and it is off (journal.url = \"off\"): give it a \
         place, or use the command line with --no-audit"
    )]
    Off,
    #[error(
        "nothing was changed, since changes are written down in the journal first and its store is away: try again once \
         /status shows the journal open"
    )]
    Away,
    #[error(
        "nothing was changed, since changes are written down in the journal first and its store took too long: try again, and \
         see the journal in /status"
    )]
    Slow,
}

/// Where changes are written down. Rows are only added.
pub trait Audit: Send + Sync + 'static {
    /// Writes down what is about to be changed. Bounded in time.
    fn begin(&self, change: &Change) -> impl Future<Output = Result<AuditEntry, Unwritten>> + Send;

    /// Writes down how it ended.
    fn end(
        &self,
        entry: AuditEntry,
        ending: Ending,
        detail: &str,
    ) -> impl Future<Output = Result<(), Unwritten>> + Send;

    /// What was changed, newest first.
    fn changes(&self, query: &AuditQuery) -> impl Future<Output = Result<AuditPage, Unread>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_name_is_short_and_printable() {
        let claim = |name: &str| Actor::new(Identity::Local).claiming(name);
        assert_eq!(claim(" Zoë of support ").unwrap().claimed(), Some("Zoë of support"));
        for wrong in ["", "  ", "a\nb", "a\u{202e}b", &"x".repeat(MAX_CLAIMED + 1)] {
            assert!(claim(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(Identity::Token("0123456789ab".into()).to_string(), "token:0123456789ab");
        assert_eq!(Identity::CommandLine("anna".into()).to_string(), "cli:anna");
    }
}
