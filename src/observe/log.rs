//! The log, on standard error: which lines are written, and how they look.

use std::{env, io, str::FromStr as _};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter,
    filter::{Directive, LevelFilter},
    fmt::MakeWriter,
};

/// Libraries that log every frame and connection. They stay at warn unless `log.level` names them.
const CHATTY: [&str; 7] = ["amq_protocol", "async_rs", "h2", "hyper", "hyper_util", "reqwest", "rustls"];
/// Logs as errors what it also returns and we expect, such as the 404 of an exchange that is about to be declared. What
/// matters of it is in our own lines. Silent unless `log.level` names it.
const ALARMIST: &str = "lapin";
/// The store's driver: what it warns of is in our own lines too. It stays at error unless `log.level` names it. All
/// its crates begin so.
const DRIVER: &str = "sqlx";
/// Print whole messages, bodies included; parameters of `journal.url` and lines of a `.pgpass`, passwords included. Never
/// written, whatever `log.level` says.
const INDISCREET: [&str; 3] =
    ["lapin::returned_messages", "sqlx_postgres::options::parse", "sqlx_postgres::options::pgpass"];

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One object a line, with `timestamp`, `level`, `target` and `fields`; of a traced event also `span`.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error(transparent)]
    Level(#[from] InvalidLevel),
    #[error("the log is set up already")]
    Twice(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// Why a text is no `log.level`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLevel {
    #[error("is empty")]
    Empty,
    #[error("has {0:?}, which is not a level; the levels are error, warn, info, debug, trace and off")]
    Word(String),
    #[error("is not a list of levels and target=level")]
    Directive,
}

/// Logs to standard error from now on. `format` `None`: text on a terminal, else JSON.
pub fn init(format: Option<Format>, level: &str, is_terminal: bool) -> Result<(), TelemetryError> {
    let format = format.unwrap_or(if is_terminal { Format::Text } else { Format::Json });
    let colours = is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = subscriber(format, filter(level)?, colours, io::stderr);
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn subscriber<W>(format: Format, filter: EnvFilter, colours: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // A log that cannot be written is lost: complaining on the same standard error would panic when its reader is gone.
    let base = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    match format {
        Format::Text => Box::new(base.with_ansi(colours).finish()),
        Format::Json => Box::new(base.json().with_ansi(false).with_span_list(false).finish()),
    }
}

/// The filter for a `log.level`: what tracing's own filter takes, except a bare word that is no level. There `inof`
/// would be a target of that name, and silence all others.
pub fn filter(level: &str) -> Result<EnvFilter, InvalidLevel> {
    let directives: Vec<_> = level.split(',').map(str::trim).collect();
    if level.trim().is_empty() {
        return Err(InvalidLevel::Empty);
    }
    if let Some(word) = directives.iter().find(|word| !word.contains(['=', '[']) && !is_level(word)) {
        return Err(InvalidLevel::Word((*word).to_owned()));
    }
    let filter = EnvFilter::builder().parse(directives.join(",")).map_err(|_| InvalidLevel::Directive)?;
    let named = |library: &str| directives.iter().any(|word| word.split(['=', '[']).next() == Some(library));
    let cap = |directive: String| Directive::from_str(&directive).map_err(|_| InvalidLevel::Directive);
    let filter = if named(ALARMIST) { filter } else { filter.add_directive(cap(format!("{ALARMIST}=off"))?) };
    let silent = INDISCREET.iter().map(|target| cap(format!("{target}=off")));
    let filter = silent.into_iter().try_fold(filter, |filter, cap| Ok(filter.add_directive(cap?)))?;
    let overall = directives.iter().rev().find_map(|word| LevelFilter::from_str(word).ok());
    // Capping below a quiet log would make it louder.
    let loud = overall.is_some_and(|overall| overall > LevelFilter::ERROR);
    let filter = if loud && !named(DRIVER) { filter.add_directive(cap(format!("{DRIVER}=error"))?) } else { filter };
    if overall.is_none_or(|overall| overall <= LevelFilter::WARN) {
        return Ok(filter);
    }
    let caps = CHATTY.iter().filter(|library| !named(library)).map(|library| cap(format!("{library}=warn")));
    caps.into_iter().try_fold(filter, |filter, cap| Ok(filter.add_directive(cap?)))
}

fn is_level(word: &str) -> bool {
    !word.is_empty() && LevelFilter::from_str(word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use tracing::{debug, error, info, warn};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is written at `level` when `speak` does.
    fn written(format: Format, level: &str, speak: impl FnOnce()) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(format, filter(level).unwrap(), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, speak);
        String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
    }

    fn chatter() {
        debug!("own debug");
        info!("own info");
        debug!(target: "lapin::channel", "lapin debug");
        info!(target: "hyper_util::client", "hyper info");
        warn!(target: "lapin::channel", "lapin warn");
        warn!(target: "hyper_util::client", "hyper warn");
        warn!(target: "lapin::returned_messages", "a body");
        warn!(target: "sqlx_core::pool", "sqlx warn");
        error!(target: "sqlx::postgres", "sqlx error");
        error!(target: "sqlx_postgres::options::parse", "a parameter");
        error!(target: "sqlx_postgres::options::pgpass", "a line of passwords");
    }

    #[test]
    fn libraries_stay_at_warn_unless_named() {
        for (level, messages) in [
            ("info", vec!["own info", "hyper warn", "sqlx error"]),
            ("DEBUG", vec!["own debug", "own info", "hyper warn", "sqlx error"]),
            ("info,lapin=debug", vec!["own info", "lapin debug", "lapin warn", "hyper warn", "sqlx error"]),
            ("info, hyper_util::client=info", vec!["own info", "hyper info", "hyper warn", "sqlx error"]),
            ("info,hookbro=debug", vec!["own debug", "own info", "hyper warn", "sqlx error"]),
            ("info,sqlx=warn", vec!["own info", "hyper warn", "sqlx warn", "sqlx error"]),
            ("off,sqlx_postgres::options::parse=trace", vec![]),
            ("warn", vec!["hyper warn", "sqlx error"]),
            ("error", vec!["sqlx error"]),
            ("off", vec![]),
            ("hookbro=info", vec!["own info"]),
        ] {
            let text = written(Format::Text, level, chatter);
            let said: Vec<_> = text.lines().map(|line| line.rsplit(": ").next().unwrap_or_default()).collect();
            assert_eq!(said, messages, "{level}");
        }
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = written(Format::Json, "info", || info!(event.id = "evt_1", attempts = 2, "delivered\nindeed"));
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let [line] = lines.as_slice() else { panic!("{text}") };
        assert_eq!(line["level"], "INFO");
        assert_eq!(line["target"], "hookbro::observe::log::tests");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'));
        let fields = serde_json::json!({"message": "delivered\nindeed", "event.id": "evt_1", "attempts": 2});
        assert_eq!(line["fields"], fields);
    }

    #[test]
    fn what_would_silence_the_log_by_mistake_is_no_level() {
        for (level, why) in [
            ("", InvalidLevel::Empty),
            ("inof", InvalidLevel::Word("inof".to_owned())),
            ("info,", InvalidLevel::Word(String::new())),
            ("hookbro", InvalidLevel::Word("hookbro".to_owned())),
            ("hookbro=loud", InvalidLevel::Directive),
        ] {
            assert_eq!(filter(level).map(|filter| filter.to_string()), Err(why), "{level}");
        }
        assert!(filter("info,hookbro[event{id=a}]=trace").is_ok());
    }
}
