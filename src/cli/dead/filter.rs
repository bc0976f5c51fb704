//! The filters that every `hookbro dead` command takes.

use crate::{cli::moment::moment, event::DeadReason, operate::dead_event::DeadFilter};
use jiff::Timestamp;

#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// Events with this id. Repeatable, like the four below.
    #[arg(long, value_name = "ID")]
    id: Vec<String>,
    /// Events of this project.
    #[arg(long, value_name = "PROJECT")]
    project: Vec<String>,
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Vec<String>,
    /// Events given up for this reason.
    #[arg(long, value_enum)]
    reason: Vec<Reason>,
    /// Events whose last answer had this HTTP status.
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(100..=599))]
    status: Vec<u16>,
    /// Given up at this time or later: RFC 3339, or so long ago, as in `2h`.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Given up before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Reason {
    Malformed,
    Unroutable,
    Refused,
    TooLarge,
    Exhausted,
}

impl FilterArgs {
    pub(super) fn filter(&self) -> DeadFilter {
        let reason = |reason: &Reason| match reason {
            Reason::Malformed => DeadReason::Malformed,
            Reason::Unroutable => DeadReason::Unroutable,
            Reason::Refused => DeadReason::Refused,
            Reason::TooLarge => DeadReason::TooLarge,
            Reason::Exhausted => DeadReason::Exhausted,
        };
        DeadFilter {
            ids: self.id.clone(),
            projects: self.project.clone(),
            kinds: self.kind.clone(),
            reasons: self.reason.iter().map(reason).collect(),
            statuses: self.status.iter().copied().map(i64::from).collect(),
            since: self.since,
            until: self.until,
        }
    }
}
