//! The audit of what a command changes: in the configured store, as `who` the user of the shell.

use super::exit::Failure;
use crate::{
    app,
    operate::{
        audit::{Actor, Audit, AuditEntry, AuditPage, AuditQuery, Change, Ending, Identity, Unwritten},
        change::NotMade,
        timeline::Unread,
    },
    store::{self, AuditLog},
};
use std::sync::Arc;

/// Where user names are looked up. A user of a directory service is not listed there, and is named by number.
const USERS: &str = "/etc/passwd";

#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// Make the change without auditing it, for when the journal's store cannot be reached.
    #[arg(long)]
    no_audit: bool,
}

/// Where the changes of one command are audited.
#[derive(Debug)]
pub(super) enum CommandAudit {
    Log(AuditLog),
    /// Nowhere: the operator asked for that, or nothing is changed.
    Nowhere,
}

impl AuditArgs {
    /// Opens the audit before anything is changed; says so where there is none.
    pub(super) async fn open(&self, journal: &store::Settings) -> Result<Arc<CommandAudit>, Failure> {
        if self.no_audit {
            eprintln!("hookbro: --no-audit: this change is not audited");
            return Ok(Arc::new(CommandAudit::Nowhere));
        }
        match app::audit_log(journal).await {
            Ok(Some(log)) => Ok(Arc::new(CommandAudit::Log(log))),
            Ok(None) => Err(Failure::Running(
                "nothing was changed: changes are audited in the journal, and the journal is off (journal.url = \"off\"); \
                 set journal.url, or add --no-audit"
                    .to_owned(),
            )),
            Err((store, error)) => Err(Failure::Running(format!(
                "nothing was changed: the audit cannot be written to the journal {store}: {error}; repair that, or add \
                 --no-audit"
            ))),
        }
    }
}

impl CommandAudit {
    /// Closes the connections to the store.
    pub(super) async fn close(&self) {
        if let Self::Log(log) = self {
            log.close().await;
        }
    }
}

impl Audit for CommandAudit {
    async fn begin(&self, change: &Change) -> Result<AuditEntry, Unwritten> {
        match self {
            Self::Log(log) => log.begin(change).await,
            Self::Nowhere => Ok(AuditEntry(0)),
        }
    }

    async fn end(&self, entry: AuditEntry, ending: Ending, detail: &str) -> Result<(), Unwritten> {
        let Self::Log(log) = self else { return Ok(()) };
        let written = log.end(entry, ending, detail).await;
        if written.is_err() {
            let outcome = ending.as_str();
            eprintln!(
                "hookbro: the audit lacks the ending of this change ({outcome}: {detail}): its store cannot be reached"
            );
        }
        written
    }

    async fn changes(&self, query: &AuditQuery) -> Result<AuditPage, Unread> {
        match self {
            Self::Log(log) => log.changes(query).await,
            Self::Nowhere => Err(Unread::Off),
        }
    }
}

/// Why a command made no change, or not all of it; `failed` explains a failure.
pub(super) fn not_made<E>(not_made: NotMade<E>, failed: impl FnOnce(E) -> Failure) -> Failure {
    match not_made {
        NotMade::Failed(error) => failed(error),
        NotMade::Unwritten(why) => Failure::Running(format!("{why}; or add --no-audit")),
        NotMade::Broken => Failure::Running(
            "a defect of hookbro stopped the change midway: see what it has done before you repeat it".to_owned(),
        ),
    }
}

/// Who runs this command: the user of the process, and who became that user by sudo, which anybody may claim.
pub(super) fn actor() -> Actor {
    let number = rustix::process::getuid().as_raw();
    let users = std::fs::read_to_string(USERS).unwrap_or_default();
    let actor = Actor::new(Identity::CommandLine(user(&users, number)));
    let sudo = std::env::var("SUDO_USER").ok();
    sudo.and_then(|name| actor.clone().claiming(&name).ok()).unwrap_or(actor)
}

/// The name of the user with this number, as passwd(5) has it.
fn user(users: &str, number: u32) -> String {
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    });
    named.map_or_else(|| format!("uid {number}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_named_or_else_numbered() {
        let users = "root:x:0:0:root:/root:/bin/sh\n# a comment\nanna:x:1000:1000::/home/anna:/bin/sh\n";
        assert_eq!(user(users, 0), "root");
        assert_eq!(user(users, 1000), "anna");
        assert_eq!(user(users, 10), "uid 10");
        assert_eq!(user("", 65_532), "uid 65532");
    }
}
