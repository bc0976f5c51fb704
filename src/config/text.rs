//! The text forms: what a TOML value, an environment variable or a flag may look like for each kind of value.
//!
//! An `Err` completes the line "`key` = `value`: …".

use config::ValueKind;
use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

pub(super) type Read<T> = Result<T, String>;

pub(super) fn text(kind: &ValueKind) -> Read<String> {
    match kind {
        ValueKind::String(text) => Ok(text.trim().to_owned()),
        _ => Err("expected text in quotes".to_owned()),
    }
}

/// An array of texts, or one text with commas. Empty text is the empty list.
pub(super) fn list(kind: &ValueKind) -> Read<Vec<String>> {
    let items = match kind {
        ValueKind::Array(items) => items.iter().map(|item| text(&item.kind)).collect::<Read<Vec<_>>>(),
        ValueKind::String(text) if text.trim().is_empty() => Ok(Vec::new()),
        ValueKind::String(text) => Ok(text.split(',').map(|item| item.trim().to_owned()).collect()),
        _ => Err(String::new()),
    };
    let items = items.map_err(|_| "expected a list of texts, such as [\"a\", \"b\"] or \"a,b\"".to_owned())?;
    match items.iter().position(String::is_empty) {
        Some(n) => Err(format!("element {} is empty", n + 1)),
        None => Ok(items),
    }
}

/// A table of texts, or one text `a=b,c=d`. A key that comes twice is refused: one of the two would go unheard.
pub(super) fn map(kind: &ValueKind) -> Read<Vec<(String, String)>> {
    let mut pairs = match kind {
        ValueKind::Table(table) => {
            let pair = |(key, value): (&String, &config::Value)| match &value.kind {
                ValueKind::String(text) => Ok((key.clone(), text.trim().to_owned())),
                ValueKind::Table(_) => Err(format!("{key} is a table; put keys with dots in quotes: \"{key}.…\" = …")),
                _ => Err(format!("{key}: expected text in quotes")),
            };
            table.iter().map(pair).collect::<Read<Vec<_>>>()?
        }
        _ => {
            let wrong = || "expected pairs, such as {\"a\" = \"b\"} or \"a=b,c=d\"".to_owned();
            let split = |item: String| {
                let (key, value) = item.split_once('=')?;
                Some((key.trim().to_owned(), value.trim().to_owned()))
            };
            list(kind)
                .map_err(|_| wrong())?
                .into_iter()
                .map(|item| split(item).ok_or_else(wrong))
                .collect::<Read<_>>()?
        }
    };
    pairs.sort();
    match pairs.windows(2).find(|two| two[0].0 == two[1].0) {
        Some(twice) => Err(format!("{} is given twice", twice[0].0)),
        None => Ok(pairs),
    }
}

/// A whole number in `range`, in digits or as text.
pub(super) fn integer<T: TryFrom<u64>>(kind: &ValueKind, range: RangeInclusive<u64>) -> Read<T> {
    let number = match kind {
        ValueKind::I64(number) => u64::try_from(*number).ok(),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let fitting = number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
    fitting.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
}

/// A share from 0 to 1, in digits or as text.
pub(super) fn ratio(kind: &ValueKind) -> Read<f64> {
    let number = match kind {
        ValueKind::Float(number) => Some(*number),
        ValueKind::I64(0) => Some(0.0),
        ValueKind::I64(1) => Some(1.0),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| (0.0..=1.0).contains(number)).ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// A duration in `range`, which is given in text form so that the message can repeat it.
pub(super) fn duration(kind: &ValueKind, range: [&str; 2]) -> Read<Duration> {
    let bound = |text| parse_duration(text).unwrap_or_default();
    let wanted = bound(range[0])..=bound(range[1]);
    let given = text(kind).ok().and_then(|text| parse_duration(&text));
    given
        .filter(|given| wanted.contains(given))
        .ok_or_else(|| format!("expected a duration from {} to {}, such as 15s or 1m30s", range[0], range[1]))
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// `300ms`, `5s`, `1m30s`: whole numbers with units, each unit at most once, longest first. `None` for anything else.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut units = UNITS.iter();
    let mut rest = text;
    let mut milliseconds = 0_u64;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        milliseconds = number.parse::<u64>().ok()?.checked_mul(*factor)?.checked_add(milliseconds)?;
        rest = after;
    }
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

/// A number of bytes in `range`, which is given in text form so that the message can repeat it.
pub(super) fn bytes(kind: &ValueKind, range: [&str; 2]) -> Read<usize> {
    let bound = |text| parse_bytes(text).unwrap_or_default();
    let wanted = bound(range[0])..=bound(range[1]);
    let given = text(kind).ok().and_then(|text| parse_bytes(&text));
    given
        .filter(|given| wanted.contains(given))
        .ok_or_else(|| format!("expected a size from {} to {}, such as 128MiB", range[0], range[1]))
}

const SIZES: [(&str, usize); 3] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// `64KiB`, `128 MiB`, `1GiB`: a whole number with its unit. `None` for anything else.
fn parse_bytes(text: &str) -> Option<usize> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = SIZES.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<usize>().ok()?.checked_mul(*factor)
}

pub(super) fn address(kind: &ValueKind) -> Read<SocketAddr> {
    let address = text(kind).ok().and_then(|text| text.parse().ok());
    address.ok_or_else(|| "expected an IP address and port, such as 127.0.0.1:9464 or [::1]:9464".to_owned())
}

/// One of the `words`, by name.
pub(super) fn word<T: Copy>(kind: &ValueKind, words: &[(&str, T)]) -> Read<T> {
    let given = text(kind).unwrap_or_default();
    words.iter().find(|(word, _)| *word == given).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
        format!("expected {}", words.join(" or "))
    })
}
