//! What the command line changes is audited like any other change, and not made where it cannot be, unless that is wanted.

use crate::support::{
    SOON,
    events::generated,
    hookbro::{Hookbro, command},
    until,
    world::World,
};
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

fn output(args: &[&str], settings: &[(String, String)]) -> Output {
    command(args, settings).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Who runs these tests, as coreutils tell it.
fn me() -> String {
    let id = Command::new("id").arg("-un").output().unwrap();
    format!("cli:{}", String::from_utf8(id.stdout).unwrap().trim())
}

async fn changes(hookbro: &Hookbro) -> Vec<Value> {
    let (status, audit) = hookbro.api("/audit?limit=200", None).await;
    assert_eq!(status, 200, "{audit}");
    audit["changes"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_audited_beside_a_hookbro_that_writes_its_journal() {
    let world = World::new("auditcli").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated("ac", &["again", "gone"], 20);
    world.all_too_large(&samples).await;
    let planned = output(&["dead", "replay", "--project", "again"], world.settings());
    assert!(planned.status.success(), "{}", stderr(&planned));
    assert!(changes(&hookbro).await.is_empty(), "what is only said is no change");

    let replayed = output(&["dead", "replay", "--project", "again", "--yes"], world.settings());
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gone.ndjson");
    let mut discard = command(&["dead", "discard", "--project", "gone", "--yes", "--to"], world.settings());
    let discarded = discard.arg(&file).env("SUDO_USER", "anna").output().unwrap();
    assert!(discarded.status.success(), "{}", stderr(&discarded));
    let failed = command(&["dead", "discard", "--all", "--yes", "--to"], world.settings()).arg(&file).output().unwrap();
    assert_eq!(failed.status.code(), Some(1), "never overwritten");
    let replayed: Vec<_> = samples.iter().filter(|one| one.project == "again").cloned().collect();
    world.arrive(&replayed).await;

    let all = changes(&hookbro).await;
    let written: Vec<_> =
        all.iter().rev().map(|one| (&one["action"], &one["outcome"], &one["project"], &one["detail"])).collect();
    let expected = [
        ("dead.replay", "done", json!("again"), "project again"),
        ("dead.discard", "done", json!("gone"), "project gone"),
        ("dead.discard", "failed", Value::Null, "all"),
    ];
    let expected =
        expected.map(|(action, outcome, project, detail)| (json!(action), json!(outcome), project, json!(detail)));
    assert_eq!(written, expected.each_ref().map(|(a, b, c, d)| (a, b, c, d)));
    assert_eq!(all[2]["who"], json!({"identity": me(), "claimed": null}));
    assert_eq!(all[1]["who"], json!({"identity": me(), "claimed": "anna"}));
    assert_eq!(all[2]["outcome_detail"], "replayed 10 events");
    assert!(all[1]["outcome_detail"].as_str().unwrap().contains("gone.ndjson"), "{all:?}");
    let (status, page) = hookbro.page("/audit").await;
    assert!(status == 200 && page.contains(&me()) && page.contains("dead.replay"), "{page}");

    // The journal goes on beside it.
    until("the journal has what was replayed", SOON, async || {
        let (_, page) = hookbro.api("/events?project=again&outcome=delivered", None).await;
        (page["events"].as_array().map(Vec::len) == Some(10)).then_some(())
    })
    .await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_a_command_changes_nothing_unless_told_so() {
    let world = World::new("auditno").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    world.all_too_large(&generated("an", &["gigs"], 3)).await;
    let folder = tempfile::tempdir().unwrap();
    let replay = ["dead", "replay", "--all", "--yes"];
    for (url, says) in [
        ("postgres://u:hunter2@127.0.0.1:1/j", "postgres://127.0.0.1:1/j"),
        ("sqlite:/proc/nowhere/journal.sqlite3", "/proc/nowhere/journal.sqlite3"),
        // The default place: elsewhere than where hookbro runs, nobody would look into such a file.
        ("", "hookbro-journal/journal.sqlite3: it does not exist"),
        ("off", "journal.url = \"off\""),
    ] {
        let mut settings = world.settings().to_vec();
        settings.retain(|(key, _)| key != "journal.url");
        settings.push(("journal.url".to_owned(), url.to_owned()));
        let run = |args: &[&str]| {
            command(args, &settings).current_dir(folder.path()).env_remove("STATE_DIRECTORY").output().unwrap()
        };
        let refused = run(&replay);
        let text = stderr(&refused);
        assert_eq!(refused.status.code(), Some(1), "{url}: {text}");
        assert!(text.starts_with("hookbro: nothing was changed") && text.contains("--no-audit"), "{url}: {text}");
        assert!(text.contains(says) && text.lines().count() == 1, "{url}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert_eq!(world.broker.ready_dead().await, 3);
        let listed = run(&["dead", "list", "--output", "json"]);
        assert!(listed.status.success(), "{}", stderr(&listed));
        for other in [["apps", "provision", "x"].as_slice(), &["apps", "portal", "x"]] {
            let refused = run(other);
            assert_eq!(refused.status.code(), Some(1), "{other:?}: {}", stderr(&refused));
            assert!(stderr(&refused).contains("--no-audit"), "{other:?}: {}", stderr(&refused));
        }
        assert!(world.svix.sandbox.applications().is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file is left behind");
    }
    let made = output(&[&replay[..], &["--no-audit"]].concat(), world.settings());
    assert!(made.status.success(), "{}", stderr(&made));
    assert!(stderr(&made).contains("--no-audit: this change is not audited"), "{}", stderr(&made));
    assert_eq!(world.broker.ready_dead().await, 0);
    assert!(changes(&hookbro).await.is_empty());
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_replay_says_how_many_went_and_so_does_the_audit() {
    let world = World::new("auditstop").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated("as", &["a"], 40);
    world.all_too_large(&samples).await;
    // Two events a second: it is in the middle for many seconds.
    let mut slow = command(&["dead", "replay", "--all", "--yes", "--rate", "2"], world.settings());
    let slow = slow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("some are replayed", SOON, async || (world.svix.sandbox.message_count() > 1).then_some(())).await;
    assert!(Command::new("kill").args(["-INT", &slow.id().to_string()]).status().unwrap().success());
    let ended = slow.wait_with_output().unwrap();
    let text = stderr(&ended);
    assert_eq!(ended.status.code(), Some(1), "{text}");
    let left = u64::from(world.broker.ready_dead().await);
    let went = 40 - left;
    assert!(text.contains(&format!("{went} events were replayed before that")), "{went}: {text}");
    let all = changes(&hookbro).await;
    assert_eq!((&all[0]["action"], &all[0]["outcome"]), (&json!("dead.replay"), &json!("failed")));
    assert!(all[0]["outcome_detail"].as_str().unwrap().contains(&format!("{went} events were replayed")), "{all:?}");
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_made_and_deleted_at_svix_is_audited_without_secrets() {
    let world = World::new("auditapps").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    let url = "https://example.com/hunter2?key=hunter2";
    let provision = ["apps", "provision", "gigs", "--endpoint", url, "--event-types", "com.gigs.sim.updated"];
    for args in [provision.as_slice(), &["apps", "portal", "gigs"], &["apps", "delete", "gigs", "--yes"]] {
        let made = output(args, world.settings());
        assert!(made.status.success(), "{args:?}: {}", stderr(&made));
    }
    let all = changes(&hookbro).await;
    let written: Vec<_> =
        all.iter().rev().map(|one| (&one["action"], &one["target"], &one["outcome_detail"])).collect();
    let created = all[2]["outcome_detail"].clone();
    assert!(created.as_str().unwrap().starts_with("created ep_"), "{created}");
    let expected = [
        ("event_type.register", json!("com.gigs.sim.updated"), json!("registered")),
        ("app.provision", json!("gigs"), json!("created")),
        ("endpoint.create", json!("https://example.com"), created),
        ("portal.link", Value::Null, json!("a link was given")),
        ("app.delete", json!("gigs"), json!("deleted")),
    ];
    assert_eq!(written.len(), expected.len(), "{all:?}");
    for ((action, target, detail), (expected, its, ended)) in written.iter().zip(&expected) {
        assert_eq!((*action, *target, *detail), (&json!(expected), its, ended));
    }
    assert!(all.iter().all(|one| one["outcome"] == "done" && one["who"]["identity"] == me().as_str()), "{all:?}");
    assert!(!json!(all).to_string().contains("hunter2"));
    hookbro.stop().await;
    world.end().await;
}
