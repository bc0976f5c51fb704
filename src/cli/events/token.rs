//! Which token is presented. Never an option's value: those stand in the list of processes.

use crate::{cli::exit::Failure, process::secret::SecretList};
use reqwest::header::HeaderValue;
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read},
    path::Path,
};

/// The variable that holds a token for this command alone.
const VARIABLE: &str = "HOOKBRO_API_TOKEN";
/// Longest first line that is read; a longer one is no file of tokens.
const MAX_LINE: u64 = 64 * 1024;

/// The header that opens the API; none where no token is given.
pub(super) fn token(file: Option<&Path>, configured: &SecretList) -> Result<Option<HeaderValue>, Failure> {
    let wrong = |place: &str, why: &str| Failure::Configuration(format!("{place} {why}"));
    let (place, token) = match (file, std::env::var_os(VARIABLE).filter(|value| !value.is_empty())) {
        (Some(path), _) => {
            let place = format!("--token-file {}", path.display());
            let line = first_line(path).map_err(|error| wrong(&place, &format!("cannot be read: {error}")))?;
            if line.is_empty() {
                return Err(wrong(&place, "has no token in its first line"));
            }
            (place, line)
        }
        (None, Some(value)) => {
            let value = value.into_string().map_err(|_| wrong(VARIABLE, "is no UTF-8 text"))?;
            (VARIABLE.to_owned(), value)
        }
        (None, None) => match configured.first() {
            Some(token) => ("admin.tokens".to_owned(), token),
            None => return Ok(None),
        },
    };
    let visible = token.bytes().all(|b| b.is_ascii_graphic());
    let header = HeaderValue::from_str(&format!("Bearer {token}")).ok().filter(|_| visible);
    let mut header = header.ok_or_else(|| wrong(&place, "has characters that no token has; expected visible ASCII"))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn first_line(path: &Path) -> std::io::Result<String> {
    let source: Box<dyn Read> =
        if path == Path::new("-") { Box::new(std::io::stdin()) } else { Box::new(File::open(path)?) };
    let mut line = String::new();
    BufReader::new(source.take(MAX_LINE)).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}
