//! Events to publish: the documented ones, hostile ones, and as many generated ones as a test wants.

use bytes::Bytes;
use std::path::{Path, PathBuf};

/// An event of a test and where it must arrive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sample {
    pub project: String,
    pub id: String,
    pub kind: String,
    pub body: Bytes,
}

impl Sample {
    pub fn routing_key(&self) -> String {
        format!("{}.{}", self.project, self.kind)
    }
}

/// The 50 documented events, each under an id of this test's own.
pub fn documented(tag: &str) -> Vec<Sample> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder("good")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 50);
    files
        .iter()
        .map(|path| {
            let body = std::fs::read_to_string(path).unwrap();
            let head: serde_json::Value = serde_json::from_str(&body).unwrap();
            let text = |key: &str| head[key].as_str().unwrap().to_owned();
            let id = format!("{}-{tag}", text("id"));
            let body = Bytes::from(body.replacen(&text("id"), &id, 1));
            Sample { project: text("project"), id, kind: text("type"), body }
        })
        .collect()
}

/// `count` events over `projects` in turn, of many sizes and odd values.
pub fn generated(tag: &str, projects: &[&str], count: usize) -> Vec<Sample> {
    (0..count)
        .map(|n| {
            let project = projects[n % projects.len()].to_owned();
            let (id, kind) = (format!("evt_{tag}_{n}"), "com.gigs.sim.updated".to_owned());
            let filler = "æ-\\u00e9 ".repeat(n % 97);
            let body = format!(
                r#"{{"object":"event", "id":"{id}","data":{{"n":{n},"z":1.10,"big":1234567890123456789{n},"text":"{filler}"}},"project":"{project}","specversion":"1.0","time":"{}","type":"{kind}"}}"#,
                jiff::Timestamp::now(),
            );
            Sample { project, id, kind, body: body.into() }
        })
        .collect()
}

/// One event, all its own.
pub fn one(tag: &str, project: &str) -> Sample {
    generated(tag, &[project], 1).remove(0)
}

/// A hostile body and the note that comes with it.
pub struct Hostile {
    pub name: String,
    pub body: Vec<u8>,
    pub note: String,
}

pub fn hostile() -> Vec<Hostile> {
    let mut all: Vec<Hostile> = std::fs::read_dir(folder("bad"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e != "txt"))
        .map(|path| Hostile {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            body: std::fs::read(&path).unwrap(),
            note: std::fs::read_to_string(path.with_extension("txt")).unwrap(),
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/events").join(name)
}
