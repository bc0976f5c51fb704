//! The filters that every `hookbro dead` command takes: flags in front of the parser that the other front ends use.

use crate::{
    cli::exit::Failure,
    event::DeadReason,
    operate::dead_letters::{DeadLetterFilter, FilterError},
};
use clap::builder::PossibleValuesParser;

#[derive(Debug, clap::Args)]
pub(super) struct FilterArgs {
    /// Events with this id. Repeatable, like the four below.
    #[arg(long, value_name = "ID", value_parser = checked("id"))]
    id: Vec<String>,
    /// Events of this project.
    #[arg(long, value_name = "PROJECT", value_parser = checked("project"))]
    project: Vec<String>,
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE", value_parser = checked("type"))]
    kind: Vec<String>,
    /// Events given up for this reason.
    #[arg(long, value_parser = PossibleValuesParser::new(DeadReason::ALL.map(DeadReason::as_str)))]
    reason: Vec<String>,
    /// Events whose last answer had this HTTP status.
    #[arg(long, value_name = "CODE", value_parser = checked("status"))]
    status: Vec<String>,
    /// Given up at this time or later: RFC 3339, or an age such as `2h`.
    #[arg(long, value_name = "TIME", value_parser = checked("since"))]
    since: Option<String>,
    /// Given up before this time.
    #[arg(long, value_name = "TIME", value_parser = checked("until"))]
    until: Option<String>,
}

/// A value that the filter takes for `key`, so that clap can name the flag where it does not.
fn checked(key: &'static str) -> impl Fn(&str) -> Result<String, String> + Clone + Send + Sync + 'static {
    move |value| match DeadLetterFilter::parse([(key, value)]) {
        Ok(_) => Ok(value.to_owned()),
        Err(FilterError { why, .. }) => Err(why),
    }
}

impl FilterArgs {
    /// `--since 2h` is counted from now on, so a command asks once.
    pub(super) fn filter(&self) -> Result<DeadLetterFilter, Failure> {
        let all = |key, values: &[String]| values.iter().map(|value| (key, value.clone())).collect::<Vec<_>>();
        let one = |key, value: &Option<String>| all(key, value.as_slice());
        let pairs = [
            all("id", &self.id),
            all("project", &self.project),
            all("type", &self.kind),
            all("reason", &self.reason),
            all("status", &self.status),
            one("since", &self.since),
            one("until", &self.until),
        ];
        DeadLetterFilter::parse(pairs.into_iter().flatten()).map_err(|error| Failure::Usage(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        filter: FilterArgs,
    }

    #[test]
    fn flags_are_read_by_the_parser_of_every_front_end() {
        let given = [("id", "evt_1"), ("project", "gigs"), ("type", "t"), ("reason", "refused"), ("status", "422")];
        let times = [("since", "2026-08-03T06:00:00Z"), ("until", "2026-08-04T06:00:00Z")];
        let given: Vec<_> = given.into_iter().chain(times).collect();
        assert!(given.iter().map(|(key, _)| *key).eq(DeadLetterFilter::KEYS), "a flag for each key");
        let flags = given.iter().flat_map(|(key, value)| [format!("--{key}"), (*value).to_owned()]);
        let command = Command::parse_from(["dead".to_owned()].into_iter().chain(flags));
        assert_eq!(command.filter.filter().unwrap(), DeadLetterFilter::parse(given).unwrap());
        for wrong in [["--status", "99"], ["--reason", "Refused"], ["--since", "yesterday"], ["--id", ""]] {
            assert!(Command::try_parse_from(["dead", wrong[0], wrong[1]]).is_err(), "{wrong:?}");
        }
    }
}
