//! The README is held to what it says: every command in it is run, here or by `make test` and CI.

use crate::support::{events::documented, hookbro::command, world::World};

/// Run by `scripts/check`, by CI, or by the tests named beside them.
const RUN_ELSEWHERE: [&str; 12] = [
    // `.ci/run`
    "make test",
    // `scripts/check-demo`, which is what `make run` executes
    "make run",
    "make run ARGS=--once",
    // by hand: half an hour, and the parts of it are tests of their own
    "make soak MINUTES=30",
    // `scripts/check-compose` validates what an engine would start; none is asked for
    "docker compose up",
    "docker compose --profile sandbox up",
    // `tests/it/deliver.rs` and nearly all others
    "hookbro run",
    // `tests/it/sandbox.rs`
    "hookbro sandbox --listen 127.0.0.1:8071",
    // `tests/it/commands.rs`
    "hookbro completions bash",
    // `tests/it/events.rs`
    "hookbro events find --project gigs --outcome dead --since 2h",
    "hookbro events show evt_0HWsUydCT6PtBC68B27GZvim5rmx",
    "hookbro events tail --project gigs",
];

fn commands() -> Vec<String> {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let mut commands = Vec::new();
    let mut inside = false;
    for line in readme.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            command if inside => commands.push(command.to_owned()),
            _ => {}
        }
    }
    commands
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_readme_works() {
    let world = World::new("readme").await;
    let commands = commands();
    assert!(commands.len() >= RUN_ELSEWHERE.len());
    for elsewhere in RUN_ELSEWHERE {
        assert!(commands.iter().any(|command| command == elsewhere), "{elsewhere} has left the README");
    }
    let mut ran = 0;
    for line in commands.iter().filter(|line| !RUN_ELSEWHERE.contains(&line.as_str())) {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("hookbro"), "nothing runs `{line}`");
        let args: Vec<&str> = words.collect();
        let output = command(&args, world.settings()).output().unwrap();
        assert!(output.status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&output.stderr));
        ran += 1;
    }
    assert!(ran >= 4, "only {ran} commands were run");
    let queued = world.broker.ready(&world.broker.queue).await;
    assert_eq!(queued, Some(documented("readme").len() as u32), "`hookbro publish` published the samples");
    world.end().await;
}

#[test]
fn the_readme_names_every_metric_and_the_metrics_every_name() {
    let readme = std::fs::read_to_string("README.md").unwrap();
    let metrics = hookbro::observe::metrics::Metrics::new().unwrap();
    let text = metrics.text().unwrap();
    let shown: std::collections::BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next())
        .filter(|name| name.starts_with("hookbro_"))
        .collect();
    assert!(shown.len() > 12);
    for name in shown {
        assert!(readme.contains(name), "{name} is missing in the README");
    }
}
