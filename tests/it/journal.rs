//! The journal on both of its stores: what was written is found, what is missing is said, and delivery never waits.

use crate::support::{
    SOON,
    freeze::Freezer,
    store::{Journal, Store},
    until,
};
use hookbro::{
    event::{Attempt, EventId, EventType, ProjectId},
    operate::{
        audit::{Actor, Audit as _, AuditQuery, Change, Ending, Identity, Unwritten},
        sanitize::Plain,
        timeline::{EventPage, EventQuery, Timeline as _, Unread},
    },
    pipeline::journal::Entry,
    store::{AuditLog, Reader},
};
use jiff::Timestamp;
use std::time::Duration;

fn entry(project: &str, id: &str, kind: &str, attempt: u8, outcome: &'static str) -> Entry {
    Entry {
        at: Timestamp::now(),
        project: Some(ProjectId::try_new(project.to_owned()).unwrap()),
        event: Some(EventId::try_new(id.to_owned()).unwrap()),
        kind: Some(EventType::try_new(kind.to_owned()).unwrap()),
        queue: "q".into(),
        routing_key: None,
        attempt: Attempt::from_rung(attempt - 1),
        outcome,
        reason: (outcome == "dead").then_some("refused"),
        status: Some(if outcome == "delivered" { 202 } else { 503 }),
        latency: Some(Duration::from_millis(20)),
        calls: 1,
        processing: Duration::from_millis(21),
        message: (outcome == "delivered").then(|| "msg_1".into()),
        detail: (outcome != "delivered").then(|| "Svix answered 503".to_owned()),
        next_after: (outcome == "retried").then_some(Duration::from_secs(5)),
    }
}

async fn written(journal: &Journal, entries: u64) {
    until("it is written", SOON, async || (journal.metrics.journal_entries.get() == entries).then_some(())).await;
}

fn ids(page: &EventPage) -> Vec<&str> {
    page.events.iter().filter_map(|line| line.id.as_ref().map(Plain::as_str)).collect()
}

fn change(project: Option<&str>, target: &str) -> Change {
    Change {
        actor: Actor::new(Identity::Token("0123456789ab".into())).claiming("anna").unwrap(),
        action: "test.change",
        project: project.map(str::to_owned),
        target: Some(target.to_owned()),
        detail: Some("asked\nfor".to_owned()),
    }
}

/// What operators change, of several processes, beside a journal that is being written.
async fn changes_are_kept(store: &Store) {
    let [one, other] = [store.open(), store.open()];
    for journal in [&one, &other] {
        until("it is open", SOON, async || (journal.metrics.journal_open.get() == 1).then_some(())).await;
    }
    let begun = Timestamp::now();
    let logs = [AuditLog::beside(&one.reader), AuditLog::beside(&other.reader)];
    for n in 0..4 {
        one.recorder.record(|| entry("audit", &format!("evt_{n}"), "t", 1, "delivered"));
        let project = (n != 3).then_some("audit");
        let noted = logs[n % 2].begin(&change(project, &n.to_string())).await.unwrap();
        let ending = if n == 0 { Ending::Failed } else { Ending::Done };
        if n != 2 {
            logs[n % 2].end(noted, ending, &"x".repeat(1_000)).await.unwrap();
        }
    }
    let query = AuditQuery { limit: 3, ..AuditQuery::default() };
    let page = logs[0].changes(&query).await.unwrap();
    let brief = |page: &hookbro::operate::audit::AuditPage| {
        let ending = |end: &hookbro::operate::audit::AuditEnd| end.outcome.clone();
        let line =
            |line: &hookbro::operate::audit::AuditLine| (line.target.clone().unwrap(), line.ended.as_ref().map(ending));
        page.changes.iter().map(line).collect::<Vec<_>>()
    };
    let expected = |rows: &[(&str, Option<&str>)]| {
        rows.iter().map(|(target, end)| ((*target).to_owned(), end.map(str::to_owned))).collect::<Vec<_>>()
    };
    assert_eq!(brief(&page), expected(&[("3", Some("done")), ("2", None), ("1", Some("done"))]));
    let rest = logs[1].changes(&AuditQuery { before: page.next, ..query.clone() }).await.unwrap();
    assert_eq!((brief(&rest), rest.next), (expected(&[("0", Some("failed"))]), None));
    let of = logs[1].changes(&AuditQuery { project: Some("audit".into()), ..query.clone() }).await.unwrap();
    assert_eq!(brief(&of), expected(&[("2", None), ("1", Some("done")), ("0", Some("failed"))]));
    let first = &rest.changes[0];
    assert_eq!((first.identity.as_str(), first.claimed.as_deref()), ("token:0123456789ab", Some("anna")));
    assert_eq!((first.action.as_str(), first.detail.as_deref()), ("test.change", Some("asked for")));
    let ended = first.ended.as_ref().unwrap();
    assert!(begun <= first.at && first.at <= ended.at && ended.at <= Timestamp::now());
    assert_eq!(ended.detail.as_deref().map(str::len), Some(500));
    written(&one, 4).await;
    let reader = one.end().await;
    other.end().await;
    // Without a store nothing may be changed, and the words say what helps.
    let away = AuditLog::beside(&reader).begin(&change(None, "x")).await.unwrap_err();
    assert_eq!(away, Unwritten::Away);
    assert!(away.to_string().contains("nothing was changed"), "{away}");
    assert_eq!(AuditLog::beside(&Reader::off()).begin(&change(None, "x")).await.unwrap_err(), Unwritten::Off);
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_kept_in_a_file() {
    changes_are_kept(&Store::file()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_kept_in_postgres() {
    let Some(store) = Store::server() else { return };
    changes_are_kept(&store).await;
}

/// One suite for every store.
async fn what_is_written_is_found(store: &Store) {
    let journal = store.open();
    let events = [
        entry("a", "evt_1", "t.one", 1, "retried"),
        entry("a", "evt_2", "t.two", 1, "delivered"),
        entry("b", "evt_1", "t.one", 1, "delivered"),
        entry("a", "evt_1", "t.one", 2, "delivered"),
        entry("a", "evt_3", "t.one", 1, "dead"),
        Entry { project: None, event: None, kind: None, ..entry("a", "x", "t", 1, "dead") },
    ];
    let all = events.len() as u64;
    for event in events {
        journal.recorder.record(|| event);
    }
    written(&journal, all).await;
    let reader = &journal.reader;
    let query = EventQuery { limit: 10, ..EventQuery::default() };
    let page = reader.events(&query).await.unwrap();
    assert_eq!(page.events.len(), 5, "each event once, by its latest delivery: {page:?}");
    assert_eq!(page.next, None);
    let project = |name: &str| Some(name.to_owned());
    for (query, expected) in [
        (EventQuery { project: project("a"), ..query.clone() }, vec!["evt_3", "evt_1", "evt_2"]),
        (EventQuery { id: Some("evt_1".into()), ..query.clone() }, vec!["evt_1", "evt_1"]),
        (EventQuery { kind: Some("t.two".into()), ..query.clone() }, vec!["evt_2"]),
        (EventQuery { project: project("a"), kind: Some("t.one".into()), ..query.clone() }, vec!["evt_3", "evt_1"]),
        (EventQuery { outcome: Some("dead"), project: project("a"), ..query.clone() }, vec!["evt_3"]),
        (EventQuery { outcome: Some("retried"), ..query.clone() }, vec![]),
        (EventQuery { since: Some(Timestamp::now()), ..query.clone() }, vec![]),
        (EventQuery { until: Some(Timestamp::now()), project: project("b"), ..query.clone() }, vec!["evt_1"]),
    ] {
        assert_eq!(ids(&reader.events(&query).await.unwrap()), expected, "{query:?}");
    }
    // Page by page every event comes once.
    let (mut seen, mut before) = (0, None);
    loop {
        let page = reader.events(&EventQuery { limit: 2, before, ..query.clone() }).await.unwrap();
        seen += page.events.len();
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen, 5);
    let stories = reader.stories("evt_1", None).await.unwrap();
    assert_eq!(stories.len(), 2, "two projects may use one id");
    let story = &reader.stories("evt_1", Some("a")).await.unwrap()[0];
    let outcomes: Vec<_> = story.attempts.iter().map(|one| (one.attempt, one.outcome.as_str())).collect();
    assert_eq!(outcomes, [(1, "retried"), (2, "delivered")]);
    assert_eq!(story.attempts[0].next_at.unwrap(), story.attempts[0].at + Duration::from_secs(5));
    assert_eq!(story.attempts[1].message_id, Some("msg_1".into()));
    assert!(reader.stories("evt_none", None).await.unwrap().is_empty());
    let since = Timestamp::now() - Duration::from_secs(3600);
    let projects = reader.projects(None, since, None, 2).await.unwrap();
    let names: Vec<_> = projects.projects.iter().map(|line| line.project.as_ref().map(Plain::as_str)).collect();
    assert_eq!(names, [None, Some("a")]);
    let rest = reader.projects(None, since, projects.next.as_deref(), 2).await.unwrap();
    assert_eq!((rest.projects.len(), rest.next), (1, None));
    let a = &projects.projects[1];
    assert_eq!((a.delivered, a.retried, a.dead), (2, 1, 1));
    assert!((a.success_rate.unwrap() - 2.0 / 3.0).abs() < 1e-9);
    assert!(a.p50_ms.unwrap() >= 20.0 && a.p99_ms.unwrap() < 24.0);
    assert_eq!(a.last_error.as_ref().unwrap().id, Some("evt_3".into()));
    assert!(reader.gaps(since, Timestamp::now()).await.unwrap().is_empty());
    let reader = journal.end().await;
    assert_eq!(reader.stories("evt_1", None).await.unwrap_err(), Unread::Away);

    // The next process finds it, keeps it no longer than it should, and knows of no gap, since the last one ended well.
    let journal = store.open_keeping(Duration::from_millis(1));
    until("old entries are forgotten", SOON, async || {
        journal.reader.events(&query).await.is_ok_and(|page| page.events.is_empty()).then_some(())
    })
    .await;
    assert!(journal.reader.gaps(since, Timestamp::now()).await.unwrap().is_empty());
    journal.end().await;
}

/// More than may be kept: the newest stay, and what they take is within the bound.
async fn only_the_latest_are_kept(store: &Store) {
    const MOST: u64 = 2 << 20;
    const PORTION: u64 = 2_000;
    let journal = store.open_with(Duration::from_secs(86_400), MOST);
    let query = EventQuery { limit: 10, ..EventQuery::default() };
    let mut entries = 0;
    let first = |reader: Reader| async move { reader.stories("evt_0", None).await.is_ok_and(|found| found.is_empty()) };
    // PostgreSQL counts its rows a second later.
    until("the oldest are forgotten", SOON, async || {
        for n in entries..entries + PORTION {
            journal.recorder.record(|| entry("full", &format!("evt_{n}"), "t", 1, "delivered"));
        }
        entries += PORTION;
        written(&journal, entries).await;
        first(journal.reader.clone()).await.then_some(())
    })
    .await;
    until("they fit", SOON, async || (journal.metrics.journal_bytes.get() <= MOST as i64).then_some(())).await;
    assert!(journal.metrics.journal_bytes.get() > MOST as i64 / 2, "{}", journal.metrics.journal_bytes.get());
    let page = journal.reader.events(&query).await.unwrap();
    let latest: Vec<_> = (entries - 10..entries).rev().map(|n| format!("evt_{n}")).collect();
    assert_eq!(ids(&page), latest);
    assert_eq!(journal.metrics.journal_lost.get(), 0);
    journal.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_keeps_the_latest_entries_that_fit() {
    only_the_latest_are_kept(&Store::file()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_latest_entries_that_fit() {
    let Some(store) = Store::server() else { return };
    only_the_latest_are_kept(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_found_in_a_file() {
    what_is_written_is_found(&Store::file()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_is_found_in_postgres_which_may_go_away() {
    let Some(mut store) = Store::server() else { return };
    what_is_written_is_found(&store).await;
    let [one, other] = [store.open(), store.open()];
    for (n, journal) in [&one, &other].into_iter().enumerate() {
        journal.recorder.record(|| entry("replicas", &format!("evt_r{n}"), "t", 1, "delivered"));
        written(journal, 1).await;
    }
    store.stop();
    one.recorder.record(|| entry("replicas", "evt_away", "t", 1, "delivered"));
    until("it is away", SOON, async || (one.metrics.journal_open.get() == 0).then_some(())).await;
    assert!(store.start());
    written(&one, 2).await;
    let query = EventQuery { project: Some("replicas".into()), limit: 10, ..EventQuery::default() };
    let page = until("it can be read", SOON, async || one.reader.events(&query).await.ok()).await;
    assert_eq!(ids(&page), ["evt_away", "evt_r1", "evt_r0"], "nothing was lost, and nothing is there twice");
    assert_eq!(one.metrics.journal_lost.get(), 0);
    for journal in [one, other] {
        journal.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_falls_silent_is_away_and_opened_anew() {
    let Some(mut store) = Store::server() else { return };
    let freezer = Freezer::before(&store.url).await;
    store.url.clone_from(&freezer.url);
    let journal = store.open();
    journal.recorder.record(|| entry("a", "evt_before", "t", 1, "delivered"));
    written(&journal, 1).await;
    // With nothing to write: forgetting and the sign of life find it out.
    freezer.freeze();
    until("it is away", SOON, async || (journal.metrics.journal_open.get() == 0).then_some(())).await;
    journal.recorder.record(|| entry("a", "evt_silent", "t", 1, "delivered"));
    freezer.thaw();
    written(&journal, 2).await;
    let query = EventQuery { limit: 10, ..EventQuery::default() };
    let page = until("it can be read", SOON, async || journal.reader.events(&query).await.ok()).await;
    assert_eq!(ids(&page), ["evt_silent", "evt_before"]);
    assert_eq!(journal.metrics.journal_lost.get(), 0);
    journal.end().await;
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_may_read_the_file_or_what_lies_beside_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let store = Store::file();
    let journal = store.open();
    journal.recorder.record(|| entry("a", "evt_1", "t", 1, "delivered"));
    written(&journal, 1).await;
    let folder = store.path().parent().unwrap().to_owned();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 3, "the file, its WAL and its index: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    journal.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_died_leaves_a_gap_that_is_told() {
    let store = Store::file();
    let dying = store.open();
    dying.recorder.record(|| entry("a", "evt_1", "t", 1, "delivered"));
    written(&dying, 1).await;
    let begun = Timestamp::now() - Duration::from_secs(60);
    // A batch may be under way: what is known is that its row among the writers was left.
    dying.writing.abort();
    let journal = store.open();
    journal.recorder.record(|| entry("a", "evt_2", "t", 1, "delivered"));
    written(&journal, 1).await;
    let gaps = journal.reader.gaps(begun, Timestamp::now()).await.unwrap();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert_eq!(gaps[0].lost, None, "how many is not known");
    journal.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_a_gap_once_the_store_is_there() {
    // The place is a folder, until it is moved out of the way.
    let store = Store::file();
    std::fs::create_dir_all(store.path()).unwrap();
    let journal = store.open();
    let all = 40_000;
    for n in 0..all {
        journal.recorder.record(|| entry("a", &format!("evt_{n}"), "t", 1, "delivered"));
    }
    let lost = journal.metrics.journal_lost.get();
    assert!(lost > 0);
    std::fs::remove_dir(store.path()).unwrap();
    written(&journal, all - lost).await;
    let since = Timestamp::now() - Duration::from_secs(3600);
    let gaps = journal.reader.gaps(since, Timestamp::now()).await.unwrap();
    assert_eq!(gaps.iter().map(|gap| gap.lost).collect::<Vec<_>>(), [Some(lost)]);
    journal.end().await;
}
