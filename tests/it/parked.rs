//! Projects that an operator has paused: their events are parked while all others go on, and go out once they are resumed,
//! through kills, restarts and replicas.

use crate::support::{
    SOON,
    events::{Sample, generated, one},
    hookbro::Hookbro,
    ledger,
    store::Store,
    until,
    world::World,
};
use serde_json::{Value, json};
use svix_sandbox::Fault;

fn lot(world: &World, project: &str) -> String {
    format!("{}.parked.{project}", world.broker.queue)
}

async fn order(hookbro: &Hookbro, project: &str, what: &str) -> (u16, Value) {
    let url = format!("{}/api/v1/projects/{project}/{what}", hookbro.url());
    let request =
        reqwest::Client::new().post(url).header("content-type", "application/json").header("x-hookbro-user", "anna");
    let response = request.body(json!({"reason": "asked by test"}).to_string()).send().await.unwrap();
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

async fn pause(hookbro: &Hookbro, project: &str) {
    let (status, answer) = order(hookbro, project, "pause").await;
    assert_eq!((status, &answer["project"]), (200, &project.into()), "{answer}");
}

async fn resume(hookbro: &Hookbro, project: &str) {
    let (status, answer) = order(hookbro, project, "resume").await;
    assert_eq!(status, 200, "{answer}");
}

async fn lying(world: &World, project: &str) -> u32 {
    world.broker.ready(&lot(world, project)).await.unwrap_or(0)
}

async fn parked(world: &World, project: &str, count: usize) {
    let what = format!("{count} events of {project} are parked");
    until(&what, SOON, async || (lying(world, project).await == count as u32).then_some(())).await;
}

fn of(samples: &[Sample], project: &str) -> Vec<Sample> {
    samples.iter().filter(|sample| sample.project == project).cloned().collect()
}

/// Ids in the order of their calls. The first one is called for again once its application is made.
fn called(world: &World) -> Vec<String> {
    let mut ids: Vec<_> = world.svix.calls().into_iter().filter_map(|call| call.event_id).collect();
    ids.dedup();
    ids
}

fn ids(samples: &[Sample]) -> Vec<String> {
    samples.iter().map(|sample| sample.id.clone()).collect()
}

/// Takes out what is parked.
#[track_caller]
fn keep_their_order<'w>(world: &'w World, project: &'w str, expected: &'w [Sample]) -> impl Future<Output = ()> + 'w {
    let place = std::panic::Location::caller();
    async move {
        let lying = world.broker.drain(&lot(world, project)).await;
        let nth = |body: &[u8]| expected.iter().position(|sample| sample.body == body);
        let order: Vec<_> = lying.iter().map(|lying| nth(&lying.body)).collect();
        let first = order.iter().enumerate().find(|(at, nth)| **nth != Some(*at));
        assert_eq!((first, order.len()), (None, expected.len()), "{place}: the order is another from there on");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_paused_project_wait_while_others_flow_and_go_out_once_when_it_is_resumed() {
    let world = World::new("hold").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    pause(&hookbro, "gigs").await;
    let samples = generated("hold", &["gigs", "dev"], 600);
    let (gigs, dev) = (of(&samples, "gigs"), of(&samples, "dev"));
    world.publish(&samples).await;
    world.arrive(&dev).await;
    parked(&world, "gigs", gigs.len()).await;
    assert_eq!(ledger::missing(&world.svix, &gigs), gigs.len(), "none of them was sent");
    assert_eq!(hookbro.metric("hookbro_projects_paused").await, 1.0);
    assert_eq!(hookbro.metric("hookbro_events_settled_total{outcome=\"released\"}").await, gigs.len() as f64);
    let story = until("the journal tells why", SOON, async || {
        let (status, story) = hookbro.api(&format!("/events/{}", gigs[0].id), None).await;
        (status == 200).then_some(story)
    })
    .await;
    let attempt = &story["attempts"][0];
    assert_eq!((&attempt["outcome"], &attempt["reason"]), (&"released".into(), &"paused".into()), "{story}");
    let (_, page) = hookbro.api("/projects?project=gigs", None).await;
    assert_eq!(page["projects"][0]["paused"]["reason"], "asked by test", "{page}");
    resume(&hookbro, "gigs").await;
    let (_, page) = hookbro.api("/projects?project=gigs", None).await;
    assert_eq!(page["projects"][0]["paused"], Value::Null, "{page}");
    world.arrive(&gigs).await;
    ledger::check(&world.svix, &samples);
    assert_eq!(world.svix.answered(202), samples.len());
    assert_eq!(hookbro.metric("hookbro_events_settled_total{outcome=\"duplicate\"}").await, 0.0, "each was sent once");
    parked(&world, "gigs", 0).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_resumed_goes_out_in_its_order_and_what_is_not_keeps_its_own() {
    // One at a time, so that the order shows.
    let world = World::new("holdorder").await.with("broker.prefetch", "1").with("retry.delays", "");
    let hookbro = Hookbro::ready(world.settings()).await;
    pause(&hookbro, "gigs").await;
    pause(&hookbro, "dev").await;
    let samples = generated("order", &["gigs", "dev"], 60);
    for sample in &samples {
        world.publish_one(sample).await;
    }
    let (gigs, dev) = (of(&samples, "gigs"), of(&samples, "dev"));
    parked(&world, "gigs", gigs.len()).await;
    parked(&world, "dev", dev.len()).await;
    resume(&hookbro, "gigs").await;
    world.arrive(&gigs).await;
    assert_eq!(called(&world), ids(&gigs));
    parked(&world, "dev", dev.len()).await;
    hookbro.stop().await;
    keep_their_order(&world, "dev", &dev).await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_survives_kills_and_no_kill_loses_an_event() {
    const COUNT: usize = 3_000;
    let world = World::new("holdkill").await;
    let mut hookbro = Hookbro::ready(world.settings()).await;
    pause(&hookbro, "gigs").await;
    let samples = generated("kill", &["gigs"], COUNT);
    world.publish(&samples[..COUNT / 2]).await;
    let publishing = world.publish(&samples[COUNT / 2..]);
    let killing = async {
        until("many are parked", SOON, async || (lying(&world, "gigs").await > 500).then_some(())).await;
        hookbro.kill();
    };
    tokio::join!(publishing, killing);
    // What was confirmed and not acknowledged at that moment is parked twice.
    let mut hookbro = Hookbro::ready(world.settings()).await;
    until("all are parked", SOON, async || {
        let waiting = world.broker.ready(&world.broker.queue).await.unwrap_or(0);
        (waiting == 0 && lying(&world, "gigs").await >= COUNT as u32).then_some(())
    })
    .await;
    assert_eq!(ledger::missing(&world.svix, &samples), COUNT, "the pause was heeded from the first event on");
    resume(&hookbro, "gigs").await;
    until("many are under way", SOON, async || (lying(&world, "gigs").await < COUNT as u32 * 3 / 4).then_some(()))
        .await;
    hookbro.kill();
    let hookbro = Hookbro::ready(world.settings()).await;
    world.arrive(&samples).await;
    parked(&world, "gigs", 0).await;
    ledger::check(&world.svix, &samples);
    hookbro.stop().await;
    world.end().await;
}

async fn heeds(hookbro: &Hookbro, count: usize) {
    until("this replica knows the pauses", SOON, async || {
        (hookbro.metric("hookbro_projects_paused").await == count as f64).then_some(())
    })
    .await;
}

/// Two replicas, each with a journal of its own.
async fn replicas(world: &World, stores: &[Store; 2]) -> [Hookbro; 2] {
    let of = async |store: &Store| {
        let mut settings = world.settings().to_vec();
        settings.retain(|(key, _)| key != "journal.url");
        settings.push(("journal.url".to_owned(), store.url.clone()));
        Hookbro::ready(&settings).await
    };
    [of(&stores[0]).await, of(&stores[1]).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_a_pause_whatever_their_journals() {
    let (world, stores) = (World::new("holdboth").await, [Store::file(), Store::file()]);
    let [one, other] = replicas(&world, &stores).await;
    pause(&one, "gigs").await;
    heeds(&other, 1).await;
    let samples = generated("both", &["gigs", "dev"], 200);
    world.publish(&samples).await;
    let gigs = of(&samples, "gigs");
    parked(&world, "gigs", gigs.len()).await;
    let (_, page) = other.api("/paused", None).await;
    let found = &page["paused"][0];
    assert_eq!((&found["project"], &found["reason"]), (&"gigs".into(), &"asked by test".into()), "{page}");
    assert_eq!((&found["who"]["identity"], &found["who"]["claimed"]), (&"local".into(), &"anna".into()), "{page}");
    assert_eq!(ledger::missing(&world.svix, &gigs), gigs.len(), "neither of them sends what the other parks");
    resume(&other, "gigs").await;
    world.arrive(&samples).await;
    for (replica, action) in [(&one, "project.pause"), (&other, "project.resume")] {
        let (_, page) = replica.api("/audit?project=gigs", None).await;
        let said = (page["changes"][0]["action"].as_str(), page["changes"][0]["outcome"].as_str());
        assert_eq!(said, (Some(action), Some("done")), "{page}");
    }
    heeds(&one, 0).await;
    ledger::check(&world.svix, &samples);
    parked(&world, "gigs", 0).await;
    one.stop().await;
    other.stop().await;
    world.end().await;
}

/// More changes than there are versions of the record.
#[tokio::test(flavor = "multi_thread")]
async fn what_two_replicas_pause_at_once_is_all_paused_and_known_after_a_restart() {
    let (world, stores) = (World::new("holdmany").await, [Store::file(), Store::file()]);
    let [one, other] = replicas(&world, &stores).await;
    let names: Vec<_> = (0..24).map(|nth| format!("gigs{nth}")).collect();
    let (first, second) = names.split_at(12);
    let all = async |hookbro: &Hookbro, names: &[String]| {
        for name in names {
            pause(hookbro, name).await;
        }
    };
    tokio::join!(all(&one, first), all(&other, second));
    heeds(&one, names.len()).await;
    heeds(&other, names.len()).await;
    one.stop().await;
    other.stop().await;
    let [one, other] = replicas(&world, &stores).await;
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let samples = generated("many", &names, names.len());
    world.publish(&samples).await;
    for name in &names {
        parked(&world, name, 1).await;
    }
    assert_eq!(ledger::missing(&world.svix, &samples), samples.len(), "they were heeded from the first event on");
    for name in &names {
        resume(&one, name).await;
    }
    heeds(&other, 0).await;
    world.arrive(&samples).await;
    ledger::check(&world.svix, &samples);
    one.stop().await;
    other.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_pauses_that_another_wrote_changes_none_and_is_named() {
    let world = World::new("holdforeign").await;
    let hookbro = Hookbro::ready(world.settings()).await;
    pause(&hookbro, "gigs").await;
    let record = format!("{}.pauses", world.broker.queue);
    world.broker.put(&record, b"not ours").await;
    pause(&hookbro, "dev").await;
    // More than hookbro reads: its own record may be behind them.
    for _ in 0..33 {
        world.broker.put(&record, b"not ours").await;
    }
    let (status, problem) = order(&hookbro, "other", "pause").await;
    assert_eq!(status, 503, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(&record) && detail.contains("purge"), "{problem}");
    let (_, page) = hookbro.api("/audit?project=other", None).await;
    assert_eq!(page["changes"][0]["outcome"], "failed", "{page}");
    until("it is logged", SOON, async || {
        let logged = hookbro.logged("the pauses of projects cannot be read");
        (!logged.is_empty()).then_some(())
    })
    .await;
    heeds(&hookbro, 2).await;
    until("it is purged, which resumes all", SOON, async || {
        // What hookbro is reading just now comes back.
        world.broker.drain(&record).await;
        (hookbro.metric("hookbro_projects_paused").await == 0.0).then_some(())
    })
    .await;
    pause(&hookbro, "other").await;
    heeds(&hookbro, 1).await;
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_and_an_event_that_svix_keeps_waiting_are_parked_too_and_climb_the_ladder_of_their_lane() {
    let mut world = World::new("holdrungs").await.with("retry.delays", "2s").with("lanes.bulk.keys", "gigs.#");
    let hookbro = Hookbro::ready(world.settings()).await;
    let (sick, waiting) = (one("sick", "gigs"), one("waiting", "gigs"));
    world.svix.sandbox.add_fault(Fault {
        event_id: Some(sick.id.clone()),
        status: Some(503),
        times: Some(1),
        ..Fault::default()
    });
    world.publish_one(&sick).await;
    until("its first attempt failed", SOON, async || (world.svix.answered(503) == 1).then_some(())).await;
    pause(&hookbro, "gigs").await;
    parked(&world, "gigs", 1).await;
    resume(&hookbro, "gigs").await;
    world.arrive(std::slice::from_ref(&sick)).await;

    world.svix.go_away().await;
    world.publish_one(&waiting).await;
    until("it is held with everything else", SOON, async || {
        (hookbro.metric("hookbro_paused{reason=\"unreachable\"}").await == 1.0).then_some(())
    })
    .await;
    pause(&hookbro, "gigs").await;
    parked(&world, "gigs", 1).await;
    world.svix.come_back().await;
    resume(&hookbro, "gigs").await;
    world.arrive(std::slice::from_ref(&waiting)).await;
    let story = until("the journal has its whole story", SOON, async || {
        let (_, story) = hookbro.api(&format!("/events/{}", sick.id), None).await;
        (story["outcome"] == "delivered").then_some(story)
    })
    .await;
    let queue = |attempt: usize| story["attempts"][attempt]["queue"].as_str().unwrap_or_default().to_owned();
    let lane = format!("{}.lane.bulk", world.broker.queue);
    let expected = [lane.clone(), format!("{lane}.retry.1"), lot(&world, "gigs")];
    assert_eq!([queue(0), queue(1), queue(2)], expected, "{story}");
    ledger::check(&world.svix, &[sick, waiting]);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_been_parked_for_too_long_is_given_up_though_its_project_is_paused_and_the_rest_stays() {
    // One at a time, so that the order shows.
    let world = World::new("overdue").await.with("broker.prefetch", "1");
    let hookbro = Hookbro::ready(world.settings()).await;
    pause(&hookbro, "gigs").await;
    let samples = generated("overdue", &["gigs"], 5);
    for sample in &samples {
        world.publish_one(sample).await;
    }
    parked(&world, "gigs", samples.len()).await;
    hookbro.stop().await;
    let lying = world.broker.drain(&lot(&world, "gigs")).await;
    let since = |days: i64| (jiff::Timestamp::now() - jiff::SignedDuration::from_hours(days * 24)).to_string();
    let (long, short) = (since(15), since(10));
    for (nth, event) in lying.into_iter().enumerate() {
        let at = event.header("x-hookbro-parked-at").unwrap();
        assert!(at.parse::<jiff::Timestamp>().unwrap() > since(1).parse().unwrap(), "{at}");
        let event = event.with_header("x-hookbro-parked-at", if nth < 2 { &long } else { &short });
        world.broker.put_back(&lot(&world, "gigs"), &event).await;
    }

    let hookbro = Hookbro::ready(world.settings()).await;
    until("the overdue ones are given up", SOON, async || (world.broker.ready_dead().await == 2).then_some(())).await;
    let dead = world.broker.drain_dead().await;
    for (dead, sample) in dead.iter().zip(&samples) {
        assert_eq!((dead.reason().as_str(), &dead.body[..]), ("exhausted", &sample.body[..]));
        assert_eq!(dead.routing_key, sample.routing_key());
        let detail = dead.header("x-hookbro-detail").unwrap();
        assert_eq!(detail, format!("parked since {long}, longer than parking.max_age allows"));
    }
    parked(&world, "gigs", 3).await;
    let age = until("the age of the oldest is shown", SOON, async || {
        let age = hookbro.metric("hookbro_parked_oldest_age_seconds{reason=\"paused\"}").await;
        (age > 0.0).then_some(age)
    })
    .await;
    assert!((9.9..10.1).contains(&(age / 86_400.0)), "{age} s");
    assert_eq!(hookbro.metric("hookbro_parking_max_age_seconds").await, 14.0 * 86_400.0);
    assert_eq!(hookbro.metric("hookbro_events_dead_total{reason=\"exhausted\"}").await, 2.0);
    assert!(called(&world).is_empty(), "none of them was sent");
    let story = until("the journal says that it is given up", SOON, async || {
        let (_, story) = hookbro.api(&format!("/events/{}", samples[0].id), None).await;
        (story["outcome"] == "dead").then_some(story)
    })
    .await;
    assert_eq!(story["attempts"][1]["reason"], "exhausted", "{story}");
    resume(&hookbro, "gigs").await;
    world.arrive(&samples[2..]).await;
    assert_eq!(ledger::missing(&world.svix, &samples[..2]), 2);
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_nothing_can_be_paused_and_the_refusal_names_the_remedy() {
    let world = World::new("holdoff").await.with("journal.url", "off");
    let hookbro = Hookbro::ready(world.settings()).await;
    let (status, problem) = order(&hookbro, "gigs", "pause").await;
    assert_eq!(status, 503, "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("journal.url"), "{problem}");
    let (status, _) = order(&hookbro, "app_x", "pause").await;
    assert_eq!(status, 404);
    let sample = one("off", "gigs");
    world.publish_one(&sample).await;
    world.arrive(&[sample]).await;
    hookbro.stop().await;
    world.end().await;
}
