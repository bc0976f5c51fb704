//! House rules as tests: floors import downwards only, adapters do not know each other, files stay short.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longest file, in lines. Beyond it a file does two things.
const MAX_LINES: usize = 400;
const ADAPTERS: [&str; 5] = ["amqp", "http", "journal", "sandbox", "svix"];

/// The floor that a module stands on; a new one must be given its place here.
fn floor(module: &str) -> u8 {
    match module {
        "domain" => 0,
        "ports" => 1,
        _ if ADAPTERS.contains(&module) => 2,
        "service" => 3,
        "cli" | "config" | "telemetry" => 4,
        other => panic!("module `{other}` has no floor"),
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    assert!(!found.is_empty());
    found
}

/// The modules named in `crate::…` paths, including each of `use crate::{a::…, b::…}`.
fn imports(source: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut modules = Vec::new();
    for (at, _) in source.match_indices("crate::") {
        let rest = &source[at + "crate::".len()..];
        let Some(group) = rest.strip_prefix('{') else {
            modules.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => start = true,
                c if start && c.is_alphabetic() => {
                    modules.push(word(&group[at..]));
                    start = false;
                }
                _ => {}
            }
        }
    }
    modules.retain(|module| module.chars().next().is_some_and(char::is_lowercase));
    modules
}

#[test]
fn floors_import_downwards_only_and_adapters_do_not_know_each_other() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut checked = 0;
    for path in all("src") {
        let inside = path.strip_prefix(&src).unwrap();
        let own = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ["main", "lib"].contains(&own) {
            continue;
        }
        for other in imports(&fs::read_to_string(&path).unwrap()) {
            assert!(floor(&other) <= floor(own), "{} imports `{other}`, from a floor above", inside.display());
            let both = ADAPTERS.contains(&own) && ADAPTERS.contains(&other.as_str());
            assert!(!both || own == other, "{} imports `{other}`, another adapter", inside.display());
            checked += 1;
        }
    }
    assert!(checked > 50, "only {checked} imports were found: does this test still read them?");
}

#[test]
fn the_reader_of_imports_sees_groups_and_paths() {
    let source = "use crate::{\n    amqp::{self, X},\n    domain::Y,\n};\nlet x = crate::svix::Z; crate::Result";
    assert_eq!(imports(source), ["amqp", "domain", "svix"]);
}

#[test]
fn no_file_is_longer_than_a_reader_has_patience() {
    for folder in ["src", "tests", "examples"] {
        for path in all(folder) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= MAX_LINES, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn every_module_says_what_it_is_for() {
    for path in all("src") {
        let source = fs::read_to_string(&path).unwrap();
        let test_part = path.file_name().unwrap().to_string_lossy().ends_with("_tests.rs");
        assert!(test_part || source.starts_with("//!"), "{} begins without a purpose", path.display());
    }
}
