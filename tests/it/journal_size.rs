//! A journal of two weeks still answers while somebody waits. Small in the suite; its real size by
//! `HOOKBRO_TEST_JOURNAL_ATTEMPTS=5000000`, in a release build.

use crate::support::{SOON, store::Store, until};
use hookbro::{
    event::{Attempt, EventId, EventType, ProjectId},
    operate::timeline::{EventQuery, Timeline as _},
    pipeline::journal::Entry,
};
use jiff::Timestamp;
use std::time::{Duration, Instant};

const ATTEMPTS: &str = "HOOKBRO_TEST_JOURNAL_ATTEMPTS";
const SMALL: u64 = 10_000;
const PROJECTS: u64 = 300;
const TWO_WEEKS: Duration = Duration::from_secs(14 * 86_400);
/// Entries under way to the store, below what the journal has room for.
const UNDER_WAY: u64 = 12_000;
/// Reads of which the fastest counts: others burden the machine too, but what takes this long is never faster.
const READS: usize = 9;
const TIMELINE: Duration = Duration::from_millis(50);
const PAGE: Duration = Duration::from_millis(200);

/// The n-th of `all`: every eighth is retried, and comes again as the one after.
fn entry(n: u64, at: Timestamp) -> Entry {
    let (retried, again) = (n % 8 == 3, n % 8 == 4);
    let event = n - u64::from(again);
    Entry {
        at,
        project: ProjectId::try_new(format!("project-{}", event % PROJECTS)).ok(),
        event: EventId::try_new(format!("evt_{event:024}")).ok(),
        kind: EventType::try_new(format!("com.gigs.kind{}.updated", event % 40)).ok(),
        queue: "hookbro.events".into(),
        routing_key: None,
        attempt: Attempt::from_rung(u8::from(again)),
        outcome: if retried { "retried" } else { "delivered" },
        reason: None,
        status: Some(if retried { 503 } else { 202 }),
        latency: Some(Duration::from_micros(2_000 + n * 7919 % 300_000)),
        calls: 1,
        processing: Duration::from_millis(20),
        message: (!retried).then(|| format!("msg_{n:027}").into()),
        detail: retried.then(|| "Svix answered 503 Service Unavailable".to_owned()),
        next_after: retried.then_some(Duration::from_secs(5)),
    }
}

async fn fastest(what: &str, at_most: Duration, mut read: impl AsyncFnMut()) {
    let mut took = Vec::new();
    for _ in 0..READS {
        let began = Instant::now();
        read().await;
        took.push(began.elapsed());
    }
    took.sort();
    eprintln!("{what}: fastest {:?}, median {:?}, longest {:?}", took[0], took[READS / 2], took[READS - 1]);
    assert!(took[0] <= at_most, "{what}: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_of_two_weeks_answers_while_somebody_waits() {
    let all = std::env::var(ATTEMPTS).map_or(SMALL, |text| text.parse().unwrap());
    let store = Store::file();
    let journal = store.open_keeping(TWO_WEEKS * 2);
    let (begun, now) = (Instant::now(), Timestamp::now());
    let step = TWO_WEEKS.as_micros() as u64 / all;
    for n in 0..all {
        while n - journal.metrics.journal_entries.get() >= UNDER_WAY {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        journal.recorder.record(|| entry(n, now - Duration::from_micros((all - n) * step)));
    }
    until("it is written", SOON, async || (journal.metrics.journal_entries.get() == all).then_some(())).await;
    assert_eq!(journal.metrics.journal_lost.get(), 0);
    eprintln!("{all} attempts written in {:?}, {} bytes", begun.elapsed(), store.path().metadata().unwrap().len());

    let reader = &journal.reader;
    let mut n = 3;
    fastest("timeline", TIMELINE, async || {
        // Another one each time, all over the file.
        let stories = reader.stories(&format!("evt_{n:024}"), None).await.unwrap();
        assert_eq!(stories[0].attempts.len(), 2);
        n = (n + all / READS as u64 / 8 * 8) % (all / 8 * 8);
    })
    .await;
    for (what, since) in [("projects of a day", TWO_WEEKS / 14), ("projects of two weeks", TWO_WEEKS)] {
        fastest(what, PAGE, async || {
            let page = reader.projects(None, now - since, None, 50).await.unwrap();
            assert_eq!(page.projects.len(), 50);
            assert!(page.projects.iter().all(|line| all < SMALL * 2 || line.delivered > 0));
        })
        .await;
    }
    let query = EventQuery { limit: 50, ..EventQuery::default() };
    for (what, query) in [
        ("newest events", query.clone()),
        ("events of a project", EventQuery { project: Some("project-7".into()), ..query.clone() }),
        ("events of a type", EventQuery { kind: Some("com.gigs.kind7.updated".into()), ..query.clone() }),
        ("dead letters, of which there are none", EventQuery { outcome: Some("dead"), ..query.clone() }),
    ] {
        fastest(what, PAGE, async || {
            reader.events(&query).await.unwrap();
        })
        .await;
    }
    journal.end().await;
}
