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

/// The paths that a text names behind `super::` and `crate::`, groups spelled out, relative to `folder` (the segments of the
/// module that `super` stands for).
fn paths(source: &str, folder: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for root in ["super::", "crate::"] {
        for (at, _) in source.match_indices(root) {
            // Not the second half of a longer word.
            if source[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let base = if root == "crate::" { Vec::new() } else { folder.to_vec() };
            tree(&source[at + root.len()..], &base, &mut found);
        }
    }
    found
}

/// Reads one use tree, adds its paths to `found` and answers how many bytes it took.
fn tree(text: &str, base: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = base.to_vec();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        if rest.starts_with('{') {
            at += 1;
            loop {
                at += text[at..].find(|c: char| !c.is_whitespace() && c != ',').unwrap_or(text.len() - at);
                if text[at..].is_empty() || text[at..].starts_with('}') {
                    return (at + 1).min(text.len());
                }
                let taken = tree(&text[at..], &path, found);
                at += taken;
                // `as name`, or whatever else stands before the next part.
                at += text[at..].find([',', '}']).unwrap_or(text.len() - at);
            }
        }
        let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        at += word.len();
        match word.as_str() {
            "super" => drop(path.pop()),
            "self" | "" => {}
            _ => path.push(word),
        }
        if !text[at..].starts_with("::") {
            found.push(path);
            return at;
        }
        at += 2;
    }
}

/// A file as the segments of its module, and its text without what is compiled for tests only.
fn modules() -> Vec<(String, Vec<String>, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = Vec::new();
    for path in all("src") {
        let inside = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
        let source = fs::read_to_string(&path).unwrap();
        let text = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let only_exports = !code.iter().any(|line| {
            let line = line.trim_start_matches("pub ").trim_start_matches("async ");
            ["fn ", "struct ", "enum ", "trait ", "impl", "const ", "static ", "type "]
                .iter()
                .any(|k| line.starts_with(k))
        });
        let test = inside.contains("_tests.rs") || inside.contains("/tests/") || inside.ends_with("_properties.rs");
        if !inside.contains('/') || test || (inside.ends_with("/mod.rs") && only_exports) {
            continue;
        }
        let name = inside.trim_end_matches(".rs").trim_end_matches("/mod");
        modules.push((inside.clone(), name.split('/').map(str::to_owned).collect(), code.join("\n")));
    }
    modules
}

/// For each file the files of its room that it names.
fn imports_of_files(modules: &[(String, Vec<String>, String)]) -> Vec<Vec<usize>> {
    let owner = |path: &[String]| {
        let of = |n: &usize| path.starts_with(&modules[*n].1);
        (0..modules.len()).filter(of).max_by_key(|n| modules[*n].1.len())
    };
    let imports = modules.iter().enumerate().map(|(n, (file, own, text))| {
        let mut to: Vec<_> = paths(text, &own[..own.len() - 1]).iter().filter_map(|path| owner(path)).collect();
        if file.ends_with("/mod.rs") {
            // A folder's own file names its children without `super`, but for re-exports.
            let text: String = text.split_inclusive(';').filter(|part| !part.contains("pub use ")).collect();
            let child = |m: &usize| modules[*m].1.len() == own.len() + 1 && modules[*m].1.starts_with(own);
            let named = |m: &usize| text.contains(&format!("{}::", modules[*m].1.last().unwrap()));
            to.extend((0..modules.len()).filter(child).filter(named));
        }
        to.retain(|m| *m != n && modules[*m].1[0] == own[0]);
        to
    });
    imports.collect()
}

/// The files that reach themselves again.
fn circular(imports: &[Vec<usize>]) -> Vec<usize> {
    let reaches_itself = |start: &usize| {
        let mut seen = vec![false; imports.len()];
        let mut open = imports[*start].clone();
        while let Some(next) = open.pop() {
            if !std::mem::replace(&mut seen[next], true) {
                open.extend(&imports[next]);
            }
        }
        seen[*start]
    };
    (0..imports.len()).filter(reaches_itself).collect()
}

#[test]
fn files_of_a_room_import_each_other_one_way_only() {
    let modules = modules();
    let imports = imports_of_files(&modules);
    assert!(imports.iter().flatten().count() > 200, "hardly any imports were found: does this test still read them?");
    let mut found: Vec<_> = circular(&imports).into_iter().map(|n| modules[n].0.as_str()).collect();
    found.sort_unstable();
    assert!(found.is_empty(), "these files import each other in a circle: {found:#?}");
}

#[test]
fn the_reader_of_paths_spells_out_groups_and_circles_are_seen() {
    let folder = ["room".to_owned(), "part".to_owned()];
    let source = "use super::{a::{self, X}, b as c};\nuse super::super::d::Y;\nlet z = crate::room::e::Z; notsuper::f";
    let found: Vec<_> = paths(source, &folder).iter().map(|path| path.join("::")).collect();
    let expected = ["room::part::a", "room::part::a::X", "room::part::b", "room::d::Y", "room::e::Z"];
    assert_eq!(found, expected);
    assert_eq!(circular(&[vec![1], vec![2], vec![1], vec![0], vec![]]), [1, 2]);
}
