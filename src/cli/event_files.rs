//! Where `hookbro publish` gets its events: files, folders, standard input; one at a time, so that memory stays bounded.

use bytes::Bytes;
use serde_json::value::RawValue;
use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

/// Names that a folder's event files end in; other files in it are left alone.
const EVENT_FILES: [&str; 3] = ["json", "ndjson", "jsonl"];

/// One JSON value and where it was read.
#[derive(Debug)]
pub(super) struct Item {
    pub body: Bytes,
    pub place: String,
}

/// What cannot be read, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub(super) struct EventFileError {
    place: String,
    problem: String,
}

/// The files that `paths` name; a folder names the event files in it, sorted.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, EventFileError> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let failed = |error: std::io::Error| EventFileError {
                place: path.display().to_string(),
                problem: error.to_string(),
            };
            let (mut inside, mut skipped) = (Vec::new(), 0);
            for entry in std::fs::read_dir(path).map_err(failed)? {
                let entry = entry.map_err(failed)?.path();
                if is_event_file(&entry) {
                    inside.push(entry);
                } else {
                    skipped += 1;
                }
            }
            inside.sort();
            if skipped > 0 {
                let place = path.display();
                eprintln!("hookbro: {place}: skipped {skipped} entries that are not .json, .ndjson or .jsonl files");
            }
            files.extend(inside);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Hidden files are what editors and version control leave behind.
fn is_event_file(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let event = path.extension().and_then(|e| e.to_str()).is_some_and(|e| EVENT_FILES.contains(&e));
    event && !hidden && path.is_file()
}

/// The events of one file, `-` being standard input: JSON values one after another, as NDJSON or pretty-printed; an
/// array stands for its elements.
pub(super) fn items(path: &Path) -> Result<Box<dyn Iterator<Item = Result<Item, EventFileError>>>, EventFileError> {
    let place = path.display().to_string();
    let reader: Box<dyn Read> = if place == "-" {
        Box::new(std::io::stdin())
    } else {
        let opened = File::open(path);
        Box::new(opened.map_err(|error| EventFileError { place: place.clone(), problem: error.to_string() })?)
    };
    let values = serde_json::Deserializer::from_reader(BufReader::new(reader)).into_iter::<Box<RawValue>>();
    Ok(Box::new(values.enumerate().flat_map(move |(index, value)| unpack(&place, index, value))))
}

fn unpack(place: &str, index: usize, value: serde_json::Result<Box<RawValue>>) -> Vec<Result<Item, EventFileError>> {
    let place = format!("{place}, value {}", index + 1);
    let unpacked = value.and_then(|value| {
        if !value.get().starts_with('[') {
            return Ok(vec![Item { body: own(&value), place: place.clone() }]);
        }
        let elements: Vec<&RawValue> = serde_json::from_str(value.get())?;
        let item = |(n, element)| Item { body: own(element), place: format!("{place}, element {}", n + 1) };
        Ok(elements.into_iter().enumerate().map(item).collect())
    });
    match unpacked {
        Ok(items) => items.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(EventFileError { place, problem: error.to_string() })],
    }
}

fn own(value: &RawValue) -> Bytes {
    Bytes::copy_from_slice(value.get().as_bytes())
}
