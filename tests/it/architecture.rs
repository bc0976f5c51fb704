//! House rules as tests: rooms import downwards only, and neighbours do not know each other.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The rooms of the house, lowest first. A module imports from its own room and from lower ones; rooms on one line do not
/// know each other. A new room must be given its place here.
const ROOMS: [&[&str]; 9] = [
    &["event"],
    &["process"],
    &["observe"],
    &["pipeline"],
    &["operate"],
    &["http", "sinks", "sources", "store"],
    &["config"],
    &["app"],
    &["cli"],
];

fn floor(module: &str) -> usize {
    let floor = ROOMS.iter().position(|rooms| rooms.contains(&module));
    floor.unwrap_or_else(|| panic!("room `{module}` has no place"))
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
fn rooms_import_downwards_only_and_neighbours_do_not_know_each_other() {
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
            assert!(own == other || floor(&other) < floor(own), "{} imports `{other}`, a neighbour", inside.display());
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
fn every_module_says_what_it_is_for() {
    for path in all("src") {
        let source = fs::read_to_string(&path).unwrap();
        let test_part = path.file_name().unwrap().to_string_lossy().ends_with("_tests.rs");
        assert!(test_part || source.starts_with("//!"), "{} begins without a purpose", path.display());
    }
}
