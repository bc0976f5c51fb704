//! The pages of `docs/` are held to what they say: links lead somewhere, metrics, alerts and settings are all there, and the
//! page of settings is the one that `config/default.toml` makes. None of these tests needs a broker.

use crate::support::settings_page;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Set, the page of settings is written instead of compared: `make docs`.
const WRITE: &str = "HOOKBRO_WRITE_DOCS";
/// The README is a page that is read to its end.
const README_LINES: usize = 150;

/// Every Markdown file that people are sent to, by its path from the repository's root.
pub fn pages() -> BTreeMap<PathBuf, String> {
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in [".", "bench", "docs", "docs/adr", "docs/runbooks"] {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.extend(entries.filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    let short = |path: PathBuf| path.strip_prefix("./").map(Path::to_owned).unwrap_or(path);
    let pages: BTreeMap<_, _> = files.into_iter().map(short).map(|path| (path.clone(), read(&path))).collect();
    assert!(pages.len() > 40, "only {} pages were found", pages.len());
    pages
}

/// What stands in fences of this language, one entry a fence.
pub fn fences(page: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<Option<String>> = None;
    for line in page.lines() {
        let line = line.trim_start();
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => open = Some((info == language).then(String::new)),
            (Some(_), Some(_)) => found.extend(open.take().flatten()),
            (Some(Some(text)), None) => *text += &format!("{line}\n"),
            _ => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    found
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A page without what its fences and code spans hold. A span may go over lines, and ends with its paragraph at the latest.
fn prose(page: &str) -> String {
    let mut prose = String::new();
    let (mut fenced, mut code) = (false, false);
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            code &= !line.is_empty();
            for c in line.chars().chain(['\n']) {
                match c {
                    '`' => code = !code,
                    c if !code => prose.push(c),
                    _ => {}
                }
            }
        }
    }
    prose
}

/// Where a page leads: `](…)` and `src="…"`.
fn links(page: &str) -> Vec<String> {
    let prose = prose(page);
    let mut links = Vec::new();
    for (begin, end) in [("](", ')'), ("src=\"", '"')] {
        let targets = prose.split(begin).skip(1).filter_map(|rest| rest.split_once(end));
        links.extend(targets.map(|(target, _)| target.to_owned()));
    }
    links
}

/// The anchors that GitHub gives a page's headings.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut anchors = BTreeSet::new();
    let mut fenced = false;
    for line in page.lines() {
        fenced ^= line.trim_start().starts_with("```");
        let heading = line.trim_start_matches('#');
        if fenced || heading.len() == line.len() || !heading.starts_with(' ') {
            continue;
        }
        let kept = heading.trim().to_lowercase().replace(' ', "-");
        let slug: String = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect();
        let taken = (1..).map(|n| format!("{slug}-{n}"));
        let free = std::iter::once(slug.clone()).chain(taken).find(|slug| !anchors.contains(slug));
        anchors.extend(free);
    }
    anchors
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let pages = pages();
    let mut checked = 0;
    for (path, page) in &pages {
        for link in links(page) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let to = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            assert!(to.exists(), "{} links to {link}, which is not there", path.display());
            let headings = || anchors(&read(&to));
            assert!(anchor.is_empty() || headings().contains(anchor), "{} links to {link}, no heading", path.display());
            checked += 1;
        }
    }
    assert!(checked > 120, "only {checked} links were found: does this test still read them?");
}

#[test]
fn the_reader_of_links_sees_links_pictures_and_headings() {
    let page =
        "# A `b.c` d!\n[x](y.md#z) ![p](q.png) `[no](no)`\n```sh\n[no](no)\n# no\n```\n<img src=\"i.png\">\n## A bc d";
    assert_eq!(links(page), ["y.md#z", "q.png", "i.png"]);
    assert_eq!(anchors(page), BTreeSet::from(["a-bc-d".to_owned(), "a-bc-d-1".to_owned()]));
    assert_eq!(fences(page, "sh"), ["[no](no)\n# no\n"]);
}

#[test]
fn every_page_can_be_reached_from_the_readme() {
    let pages = pages();
    let mut reached = BTreeSet::new();
    let mut next = vec![PathBuf::from("README.md")];
    while let Some(path) = next.pop() {
        let Some(page) = pages.get(&path).filter(|_| reached.insert(path.clone())) else { continue };
        for link in links(page) {
            let mut to = PathBuf::new();
            for part in path.parent().unwrap().join(link.split('#').next().unwrap()).components() {
                match part {
                    std::path::Component::ParentDir => assert!(to.pop(), "{link} leaves the repository"),
                    part => to.push(part),
                }
            }
            next.push(to);
        }
    }
    let lost: Vec<_> = pages.keys().filter(|path| !reached.contains(*path)).collect();
    assert!(lost.is_empty(), "no link leads to {lost:?}");
}

#[test]
fn the_readme_is_one_page() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES, "README.md has {lines} lines");
}

#[test]
fn the_page_of_settings_is_the_one_that_the_defaults_make() {
    let path = "docs/configuration.md";
    let made = settings_page::page(&read("config/default.toml"));
    if std::env::var_os(WRITE).is_some() {
        fs::write(path, made).unwrap();
    } else {
        assert!(read(path) == made, "{path} is not what config/default.toml makes: run `make docs`");
    }
}

#[test]
fn every_alert_links_to_its_runbook_and_every_runbook_has_an_alert() {
    let after = |text: &str, key: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim_start().strip_prefix(key)).map(str::to_owned).collect()
    };
    for rules in ["deploy/prometheus/alerts.yml", "deploy/kubernetes/prometheusrule.yaml"] {
        let rules = read(rules);
        let alerts = after(&rules, "- alert: ");
        let pages: Vec<_> = alerts.iter().map(|alert| format!("docs/runbooks/{alert}.md")).collect();
        assert!(alerts.len() >= 11);
        assert_eq!(after(&rules, "runbook_url: "), pages);
        let index = read("docs/runbooks/README.md");
        for (alert, page) in alerts.iter().zip(&pages) {
            let page = read(page);
            assert!(page.starts_with(&format!("# {alert}\n")), "the runbook of {alert} has another heading");
            for part in ["**What it means.**", "**Look at**", "**Do", "**Wake "] {
                assert!(page.contains(part), "the runbook of {alert} lacks {part}");
            }
            assert!(index.contains(&format!("[{alert}]({alert}.md)")), "the index of runbooks lacks {alert}");
        }
        let files = fs::read_dir("docs/runbooks").unwrap().map(|entry| entry.unwrap().path());
        let found: BTreeSet<_> = files.filter(|path| !path.ends_with("README.md")).collect();
        assert_eq!(found, pages.iter().map(PathBuf::from).collect());
    }
}

#[test]
fn every_metric_and_every_label_of_a_fixed_list_is_on_the_page_of_metrics() {
    let page = read("docs/metrics.md");
    let text = hookbro::observe::metrics::Metrics::new().unwrap().text().unwrap();
    let ours = |line: &&str| line.starts_with("hookbro_");
    let names: BTreeSet<_> =
        text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).filter(ours).collect();
    assert!(names.len() > 12);
    for name in names {
        assert!(page.contains(&format!("`{name}")), "{name} is missing in docs/metrics.md");
    }
    // Series that exist from the start show every value of their label.
    let labels = text.lines().filter(ours).filter_map(|line| line.split_once("=\"")?.1.split_once('"'));
    for value in labels.map(|(value, _)| value).filter(|value| value.starts_with(char::is_alphabetic)) {
        assert!(page.contains(&format!("`{value}`")), "the label {value} is missing in docs/metrics.md");
    }
}

#[test]
fn every_reason_of_a_dead_letter_is_explained() {
    let page = read("docs/dead-letters.md");
    for reason in hookbro::event::DeadReason::ALL {
        assert!(page.contains(&format!("| `{}` |", reason.as_str())), "{} is missing", reason.as_str());
    }
}

#[test]
fn every_halt_is_explained_with_what_to_do() {
    for page in ["docs/delivery.md", "docs/runbooks/HookbroPaused.md"] {
        for reason in hookbro::event::HaltReason::ALL {
            assert!(read(page).contains(&format!("| `{reason}` |")), "{reason} is missing in {page}");
        }
    }
}

#[test]
fn every_decision_is_in_the_index_and_numbered_in_order() {
    let index = read("docs/adr/README.md");
    let files = fs::read_dir("docs/adr").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let decisions: BTreeSet<_> = files.filter(|name| name != "README.md").collect();
    for (nth, name) in (1..).zip(&decisions) {
        assert!(name.starts_with(&format!("{nth:04}-")), "{name} is decision {nth}");
        let page = read(Path::new("docs/adr").join(name));
        let title = page.lines().next().unwrap().trim_start_matches("# ");
        assert!(title.starts_with(&format!("{nth}. ")), "{name} has the title {title}");
        assert!(index.contains(&format!("- [{title}]({name})")), "the index lacks {name}");
    }
}

/// Words of ours that nobody else knows.
#[test]
fn no_private_idiom_is_left() {
    const IDIOMS: [&str; 12] = [
        "in hand",
        " anew",
        "twice is once",
        "once more",
        "kept aside",
        "put aside",
        "lies aside",
        "wants a look",
        "dead queue",
        "dead event",
        " is told",
        " heard",
    ];
    for (path, page) in
        pages().into_iter().filter(|(path, _)| !path.starts_with("bench") && *path != Path::new("CHANGELOG.md"))
    {
        let text = page.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        for idiom in IDIOMS {
            assert!(!text.contains(idiom), "{} says \"{idiom}\"", path.display());
        }
    }
}
