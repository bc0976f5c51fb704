//! What `journal.url` may say, and where the journal is when it says nothing.

use crate::process::state::state_folder;
use std::path::PathBuf;
use url::Url;

/// The folder of the default file, made for it alone: nobody else may read what is in it.
const FOLDER: &str = "hookbro-journal";
const FILE: &str = "journal.sqlite3";

/// The query parameters that sqlx-postgres 0.9 knows (its `options/parse.rs`), besides `options[NAME]`.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Where the journal is kept.
#[derive(Clone, PartialEq, Eq)]
pub enum Location {
    Off,
    File(PathBuf),
    /// With a password inside.
    Server(Url),
}

impl Location {
    /// Reads `journal.url`. A refusal completes the sentence "`journal.url` …" and repeats nothing of it.
    pub fn of(text: &str) -> Result<Self, String> {
        const FORMS: &str =
            "expected \"off\", sqlite:/path/to/file or postgres://user:password@host/database, or nothing";
        if text == "off" {
            return Ok(Self::Off);
        }
        if text.is_empty() {
            return Ok(Self::File(state_folder().join(FOLDER).join(FILE)));
        }
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" | ":memory:" => Err(format!("names no file; {FORMS}")),
                path if path.contains('\0') => Err("has a NUL in its path".to_owned()),
                path => Ok(Self::File(path.into())),
            };
        }
        let url = Url::parse(text).map_err(|error| format!("is not a URL ({error}); {FORMS}"))?;
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.host_str().is_none_or(str::is_empty) {
            return Err(format!("names no store that hookbro knows; {FORMS}"));
        }
        known_parameters(&url)?;
        Ok(Self::Server(url))
    }
}

/// Refuses what the driver would ignore, with a line in the log that quotes it: `pasword=…` is a password too.
fn known_parameters(url: &Url) -> Result<(), String> {
    let known =
        |key: &str| PARAMETERS.contains(&key) || key.strip_prefix("options[").is_some_and(|key| key.ends_with(']'));
    let Some((key, _)) = url.query_pairs().find(|(key, _)| !known(key)) else { return Ok(()) };
    // A password with a bare `?` inside ends the URL's first half early, and what follows is no name.
    let is_name = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-'));
    let surely = is_name && url.query().is_some_and(|all| !all.contains('@') && all.contains(&format!("{key}=")));
    Err(match surely {
        true => format!("has the unknown query parameter {key}; known are {}", PARAMETERS.join(", ")),
        false => "has a query that is not a list of name=value; a ? inside a password is written %3F".to_owned(),
    })
}

/// For a person: without password.
impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Server(url) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                write!(f, "postgres://{}{port}{}", url.host_str().unwrap_or_default(), url.path())
            }
        }
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Location({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_a_server_or_nothing() {
        let said = |text: &str| Location::of(text).map(|location| location.to_string());
        assert_eq!(said("off").as_deref(), Ok("off"));
        assert_eq!(said("sqlite:/var/lib/x.db").as_deref(), Ok("/var/lib/x.db"));
        assert_eq!(said("sqlite:///var/lib/x.db").as_deref(), Ok("/var/lib/x.db"));
        assert_eq!(said("sqlite:x.db").as_deref(), Ok("x.db"));
        assert_eq!(said("postgres://u:hunter2@db:5433/j?sslmode=require").as_deref(), Ok("postgres://db:5433/j"));
        for wrong in ["sqlite:", "sqlite::memory:", "mysql://u:hunter2@h/d", "hunter2", "postgres:hunter2"] {
            let refusal = said(wrong).unwrap_err();
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
        for known in ["sslmode=require&options[search_path]=x", "host=/run/postgresql&user=u&password=hunter2", ""] {
            assert_eq!(said(&format!("postgres://db/j?{known}")).as_deref(), Ok("postgres://db/j"), "{known}");
        }
        let unknown = said("postgres://u@db/j?sslmode=require&pasword=hunter2").unwrap_err();
        assert!(unknown.starts_with("has the unknown query parameter pasword; known are sslmode, "), "{unknown}");
        for wrong in ["u@db/j?pasword=hunter2", "u@db/j?hunter2", "u:12?hunter=2@db/j", "u@db/j?options[hunter2=1"] {
            let refusal = said(&format!("postgres://{wrong}")).unwrap_err();
            assert!(!refusal.contains("hunter"), "{refusal}");
        }
        let debug = format!("{:?}", Location::of("postgres://u:hunter2@db/j"));
        assert!(!debug.contains("hunter2"), "{debug}");
    }
}
