//! `docs/configuration.md` from `config/default.toml`: a heading for each section, and each key with its default and its comment.

use std::fmt::Write as _;

const BEFORE: &str = "\
# Configuration

hookbro starts without any configuration, against a broker on localhost. `hookbro config` prints what this page is made of.

This page is made from [config/default.toml](../config/default.toml) by `make docs`: change that file, not this one. Where the
text says \"this file\", it means that one.

";

/// A comment with the lines that follow it, up to the next blank one.
#[derive(Default)]
struct Block<'t> {
    comment: Vec<&'t str>,
    key: Option<(&'t str, String)>,
    /// `KEY_file = …`, as an example in a comment below the key.
    file: Option<&'t str>,
    section: Option<&'t str>,
}

/// The whole page.
pub fn page(defaults: &str) -> String {
    let mut page = BEFORE.to_owned();
    let mut section = None;
    for block in blocks(defaults) {
        if let Some(name) = block.section {
            section = Some(name);
            write!(page, "## {name}\n\n").unwrap();
        }
        match (&block.key, section) {
            (Some((key, default)), Some(section)) => {
                write!(page, "### {section}.{key}\n\n").unwrap();
                let file = block.file.map(|file| format!(", or `{section}.{file}`")).unwrap_or_default();
                write!(page, "Default: `{default}`{file}\n\n").unwrap();
            }
            // A topic without keys of its own names itself in its first word: "Lanes: a queue …".
            (None, Some(_)) => {
                let topic = block.comment.first().and_then(|line| line.split_once(": ")).map(|(topic, _)| topic);
                let topic = topic.filter(|topic| !topic.contains(' ') && block.section.is_none());
                topic.into_iter().for_each(|topic| write!(page, "## {}\n\n", topic.to_lowercase()).unwrap());
            }
            _ => {}
        }
        page += &text(&block.comment);
    }
    page.truncate(page.trim_end().len());
    page + "\n"
}

fn blocks(defaults: &str) -> Vec<Block<'_>> {
    let mut blocks = vec![Block::default()];
    // A key is over with its value; what belongs to it still follows in a comment.
    let mut value_open = false;
    for line in defaults.lines() {
        let block = blocks.last_mut().unwrap();
        if value_open {
            let (_, default) = block.key.as_mut().unwrap();
            default.push_str(line.trim());
            if !line.trim().ends_with(',') && !line.ends_with(']') {
                default.push(' ');
            }
            value_open = !line.starts_with(']');
        } else if line.is_empty() {
            blocks.push(Block::default());
        } else if let Some(name) = line.strip_prefix('[') {
            block.section = Some(name.trim_end_matches(']'));
        } else if let Some(comment) = line.strip_prefix('#') {
            match comment.trim_start().split_once(" = ") {
                Some((file, _)) if block.key.is_some() && file.ends_with("_file") => block.file = Some(file),
                _ => block.comment.push(comment.strip_prefix(' ').unwrap_or(comment)),
            }
        } else {
            let (key, default) = line.split_once(" = ").expect("a line is a comment, a section or a key");
            block.key = Some((key, default.to_owned()));
            value_open = default == "[";
        }
    }
    blocks
}

/// A comment as Markdown: its lines are paragraphs, what is indented stands as it is.
fn text(comment: &[&str]) -> String {
    let mut text = String::new();
    let mut fenced = false;
    for line in comment {
        let indented = line.starts_with("  ");
        if indented != fenced {
            text += match (indented, line.is_empty()) {
                (true, _) => "\n```text\n",
                (false, true) => "```\n",
                (false, false) => "```\n\n",
            };
            fenced = indented;
        }
        text += if indented { &line[2..] } else { line };
        text.push('\n');
    }
    if fenced {
        text += "```\n";
    }
    text.push('\n');
    text
}
