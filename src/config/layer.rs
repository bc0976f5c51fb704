//! The layers, weakest first: who gave which known key. An unknown key is a mistake, whatever layer it is in.

use super::{
    error::{Mistake, shown},
    keys::{ENV_PREFIX, KEYS, Slot},
    secret_file::read_bounded,
    text::Read,
};
use config::{ConfigError as Unparsed, File, FileFormat, Map, Source as _, Value, ValueKind};
use std::{collections::BTreeMap, ffi::OsString, path::Path};

/// Every key with its default and what it means, as TOML.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");
/// The section of lanes.
pub(super) const SECTION: &str = "lanes";
/// The keys of a lane.
const FIELDS: [&str; 3] = ["keys", "prefetch", "delays"];
/// Longest name, in bytes: a queue's name may have 255, of which `broker.queue` takes up to 200.
const MAX_LANE_NAME: usize = 32;
/// Largest configuration file, in bytes. Thousands of routes fit; a device or a log given by mistake does not.
const MAX_FILE: u64 = 1024 * 1024;

/// What the strongest layer says about each field of each lane.
#[derive(Default)]
pub(super) struct GivenLanes(pub(super) BTreeMap<String, BTreeMap<&'static str, Value>>);

impl GivenLanes {
    /// Lays one field over the weaker layers' one. `Err` completes the line "`lanes.NAME.field`: …".
    pub(super) fn give(&mut self, lane: &str, field: &str, kind: ValueKind, origin: &str) -> Read<()> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if lane.is_empty() || lane.len() > MAX_LANE_NAME || !lane.chars().all(good) {
            return Err(format!("a lane's name has 1 to {MAX_LANE_NAME} of a-z 0-9 - _"));
        }
        let Some(field) = FIELDS.into_iter().find(|known| *known == field) else {
            let likeness = |known: &&str| strsim::jaro(known, field);
            let nearest = FIELDS.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default();
            return Err(format!("unknown key; did you mean {SECTION}.{lane}.{nearest}?"));
        };
        let value = Value::new(Some(&origin.to_owned()), kind);
        self.0.entry(lane.to_owned()).or_default().insert(field, value);
        Ok(())
    }
}

/// What the strongest layer that names a key says about it.
/// Holds secrets as they were given: no `Debug`, here and up to the reader of keys.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) slot: Slot,
    /// Carries its origin.
    pub(super) value: Value,
}

impl Given {
    pub(super) fn origin(&self) -> String {
        self.value.origin().unwrap_or_default().to_owned()
    }
}

/// All layers laid over each other.
#[derive(Default)]
pub(super) struct Layers {
    pub(super) given: BTreeMap<&'static str, Given>,
    pub(super) lanes: GivenLanes,
    pub(super) mistakes: Vec<Mistake>,
}

impl Layers {
    pub(super) fn collect(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        sets: &[String],
    ) -> Self {
        let mut layers = Self::default();
        layers.toml("built-in default", Ok(DEFAULTS.to_owned()));
        if let Some(path) = file {
            layers.toml(&format!("file {}", path.display()), read_bounded(path, MAX_FILE).map(|read| read.text));
        }
        layers.environment(variables);
        layers.flags(sets);
        layers
    }

    fn toml(&mut self, origin: &str, text: Result<String, String>) {
        let parsed =
            text.and_then(|text| File::from_str(&text, FileFormat::Toml).collect().map_err(|e| without_source(&e)));
        match parsed {
            Ok(tables) => self.sections(origin, tables),
            Err(problem) => self.mistakes.push(Mistake::Layer { layer: origin.to_owned(), problem }),
        }
    }

    fn sections(&mut self, origin: &str, tables: Map<String, Value>) {
        let mut layer = Layer::new(self);
        // Sorted, so that the same file always says the same.
        for (section, value) in tables.into_iter().collect::<BTreeMap<_, _>>() {
            if section == SECTION {
                layer.lane_tables(value.kind, origin);
                continue;
            }
            let known = KEYS.iter().any(|key| key.split('.').next() == Some(&section));
            match value.kind {
                ValueKind::Table(keys) if !keys.is_empty() => {
                    for (key, value) in keys.into_iter().collect::<BTreeMap<_, _>>() {
                        let name = format!("{section}.{key}");
                        layer.give(&name, Slot::of_name(&name), value.kind, origin, Slot::name);
                    }
                }
                ValueKind::Table(_) if known => {}
                kind if known => layer.refuse(&section, shown(&kind), origin, "expected a section".to_owned()),
                _ => layer.unknown(&section, origin, Slot::name),
            }
        }
    }

    fn environment(&mut self, variables: impl IntoIterator<Item = (OsString, OsString)>) {
        let mut layer = Layer::new(self);
        let ours = variables.into_iter().filter_map(|(variable, value)| {
            let variable = variable.to_string_lossy().into_owned();
            let name = variable.strip_prefix(ENV_PREFIX)?.to_lowercase().replacen("__", ".", 1);
            Some((variable, (name, value)))
        });
        for (variable, (name, value)) in ours.collect::<BTreeMap<_, _>>() {
            let origin = format!("environment {variable}");
            match value.into_string() {
                Ok(text) => {
                    let kind = ValueKind::String(text);
                    if let Some(path) = of_lanes(&name) {
                        layer.lane(&path.replacen("__", ".", 1), kind, &origin);
                        continue;
                    }
                    layer.give(&name, Slot::of_variable(&variable), kind, &origin, Slot::variable);
                }
                Err(_) => layer.refuse(&name, String::new(), &origin, "expected UTF-8".to_owned()),
            }
        }
    }

    fn flags(&mut self, sets: &[String]) {
        let mut layer = Layer::new(self);
        for set in sets {
            match set.split_once('=') {
                Some((name, text)) => {
                    let (name, kind) = (name.trim(), ValueKind::String(text.to_owned()));
                    let origin = format!("flag --set {name}");
                    match of_lanes(name) {
                        Some(path) => layer.lane(path, kind, &origin),
                        None => layer.give(name, Slot::of_name(name), kind, &origin, Slot::name),
                    }
                }
                // What was meant as a value stays unprinted: it may be a secret.
                None => layer.layers.mistakes.push(Mistake::Layer {
                    layer: "flag --set".to_owned(),
                    problem: "expected section.key=value, such as --set broker.prefetch=64".to_owned(),
                }),
            }
        }
    }
}

/// A TOML error without the line that it quotes, which may hold a secret: `at line 3, column 5: what is wrong`.
fn without_source(error: &Unparsed) -> String {
    let text = match error {
        Unparsed::FileParse { cause, .. } => cause.to_string(),
        _ => "cannot be understood".to_owned(),
    };
    let mut lines = text.lines().filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    match (first.strip_prefix("TOML parse error "), lines.next_back()) {
        (Some(place), Some(what)) => format!("is not TOML {place}: {what}"),
        _ => format!("is not TOML: {first}"),
    }
}

/// One layer while it is laid over the weaker ones.
struct Layer<'a> {
    layers: &'a mut Layers,
    /// What this very layer gave so far.
    own: BTreeMap<&'static str, Slot>,
}

impl<'a> Layer<'a> {
    fn new(layers: &'a mut Layers) -> Self {
        Self { layers, own: BTreeMap::new() }
    }

    fn give(&mut self, name: &str, slot: Option<Slot>, kind: ValueKind, origin: &str, spell: fn(Slot) -> String) {
        let Some(slot) = slot else {
            return self.unknown(name, origin, spell);
        };
        if self.own.insert(slot.key, slot).is_some_and(|other| other.by_file != slot.by_file) {
            let twin = Slot { by_file: !slot.by_file, ..slot };
            let problem = format!("{} is given too; give one of them", spell(twin));
            return self.refuse(&slot.name(), String::new(), origin, problem);
        }
        let value = Value::new(Some(&origin.to_owned()), kind);
        self.layers.given.insert(slot.key, Given { slot, value });
    }

    fn lane_tables(&mut self, kind: ValueKind, origin: &str) {
        let ValueKind::Table(tables) = kind else {
            return self.refuse(SECTION, shown(&kind), origin, "expected one section for each lane".to_owned());
        };
        for (lane, value) in tables.into_iter().collect::<BTreeMap<_, _>>() {
            match value.kind {
                ValueKind::Table(fields) => {
                    for (field, value) in fields.into_iter().collect::<BTreeMap<_, _>>() {
                        self.lane(&format!("{lane}.{field}"), value.kind, origin);
                    }
                }
                kind => self.lane(&lane, kind, origin),
            }
        }
    }

    /// `path` is what comes behind `lanes.`
    fn lane(&mut self, path: &str, kind: ValueKind, origin: &str) {
        let value = shown(&kind);
        let given = match path.split_once('.') {
            Some((lane, field)) => self.layers.lanes.give(lane, field, kind, origin),
            None => Err("expected a lane's name and its key, such as lanes.bulk.keys".to_owned()),
        };
        if let Err(problem) = given {
            self.refuse(&format!("{}.{path}", SECTION), value, origin, problem);
        }
    }

    fn unknown(&mut self, name: &str, origin: &str, spell: fn(Slot) -> String) {
        let remedy = match Slot::nearest(name) {
            Some(slot) => format!("did you mean {}?", spell(slot)),
            None => siblings(name),
        };
        self.refuse(name, String::new(), origin, format!("unknown key; {remedy}"));
    }

    fn refuse(&mut self, key: &str, value: String, origin: &str, problem: String) {
        let mistake = Mistake::Key { key: key.to_owned(), value, origin: origin.to_owned(), problem };
        self.layers.mistakes.push(mistake);
    }
}

/// What follows `lanes.`, if `name` is about lanes.
fn of_lanes(name: &str) -> Option<&str> {
    match name.strip_prefix(SECTION)? {
        "" => Some(""),
        rest => rest.strip_prefix('.'),
    }
}

/// What there is instead of a word that resembles no key.
fn siblings(name: &str) -> String {
    let section = name.split('.').next().unwrap_or(name);
    let keys: Vec<_> = KEYS.iter().filter_map(|key| key.strip_prefix(section)?.strip_prefix('.')).collect();
    if !keys.is_empty() {
        return format!("the keys of {section} are {}", keys.join(", "));
    }
    let mut sections: Vec<_> = KEYS.iter().filter_map(|key| key.split('.').next()).collect();
    sections.push(SECTION);
    sections.dedup();
    format!("the sections are {}", sections.join(", "))
}
