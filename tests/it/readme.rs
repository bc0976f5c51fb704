//! README and docs are held to what they say: every command in them is run, here or by `make test` and CI, and every piece of
//! configuration is taken.

use crate::{
    docs::{fences, pages},
    support::{events::documented, hookbro::command, tls::Authority, world::World},
};
use std::process::Stdio;

/// Run by `scripts/check`, by CI, or by the tests named beside them.
const RUN_ELSEWHERE: [&str; 14] = [
    // `scripts/check-demo`, which is what `make run` executes
    "make run",
    // `scripts/reproducible` and the scripts that run the release binary
    "make build",
    // by hand: half an hour, and the parts of it are tests of their own
    "make soak MINUTES=30",
    // `scripts/check-compose` validates what an engine would start and build; none is asked for
    "docker build -t hookbro .",
    "docker compose up",
    "docker compose --profile sandbox up",
    // `tests/it/deliver.rs` and nearly all others
    "hookbro run",
    "hookbro --config hookbro.toml run",
    // `tests/it/sandbox.rs`
    "hookbro sandbox --listen 127.0.0.1:8071",
    // `tests/it/commands.rs`
    "hookbro completions bash",
    // `tests/it/events.rs`
    "hookbro events find --project gigs --outcome dead --since 2h",
    "hookbro events show evt_0HWsUydCT6PtBC68B27GZvim5rmx",
    "hookbro --config hookbro.toml events show evt_0HWsUydCT6PtBC68B27GZvim5rmx",
    "hookbro events tail --project gigs",
];
/// The file that the quick start has readers write.
const READERS_FILE: [&str; 2] = ["--config", "hookbro.toml"];

/// What stands in fences of this language, bench apart: its commands take minutes and are its own.
fn shown(language: &str) -> Vec<String> {
    let pages = pages().into_iter().filter(|(path, _)| !path.starts_with("bench"));
    pages.flat_map(|(_, page)| fences(&page, language)).collect()
}

fn commands() -> Vec<String> {
    shown("sh").iter().flat_map(|fence| fence.lines()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_docs_works() {
    let world = World::new("readme").await;
    let commands = commands();
    assert!(commands.len() >= RUN_ELSEWHERE.len());
    for elsewhere in RUN_ELSEWHERE {
        assert!(commands.iter().any(|command| command == elsewhere), "{elsewhere} has left the docs");
    }
    // As a `hookbro run` in another terminal does.
    assert!(command(&["topology", "declare"], world.settings()).status().unwrap().success());
    let mut ran = 0;
    for line in commands.iter().filter(|line| !RUN_ELSEWHERE.contains(&line.as_str())) {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("hookbro"), "nothing runs `{line}`");
        // The world's settings take the place of the reader's file.
        let args: Vec<&str> = words.filter(|word| !READERS_FILE.contains(word)).collect();
        let output = command(&args, world.settings()).output().unwrap();
        assert!(output.status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&output.stderr));
        ran += 1;
    }
    assert!(ran >= 10, "only {ran} commands were run");
    let published = documented("readme").len() + 1;
    let queued = world.broker.ready(&world.broker.queue).await;
    assert_eq!(queued, Some(published as u32), "`hookbro publish` published the samples, and one of them twice");
    world.end().await;
}

#[test]
fn every_configuration_of_the_docs_is_taken() {
    let pieces = shown("toml");
    assert!(pieces.len() >= 3, "only {} pieces of configuration were found", pieces.len());
    for text in pieces {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hookbro.toml"), &text).unwrap();
        let identity = Authority::new().certificate("client", &[]);
        for (key, name) in text.lines().filter_map(|line| line.split_once("_file = \"")) {
            let contents = match key {
                "tls_ca" | "tls_cert" => &identity.certificate,
                "tls_key" => &identity.key,
                _ => "a-token",
            };
            std::fs::write(folder.path().join(name.split('"').next().unwrap()), contents).unwrap();
        }
        let mut show = command(&["--config", "hookbro.toml", "topology", "show"], &[]);
        let output = show.current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
