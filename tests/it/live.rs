//! End to end against a Svix that is only known by its address: a real one with `HOOKBRO_TEST_SVIX_URL` and
//! `HOOKBRO_TEST_SVIX_TOKEN`, else the sandbox, looked at through Svix's own API alone.

use crate::support::{
    SOON,
    events::{Sample, documented, generated},
    hookbro::Hookbro,
    svix::TOKEN,
    until,
    world::World,
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use svix_sandbox::Fault;

/// A real server needs the ladder's last rungs, some two minutes, for what a kill left.
const PATIENCE: Duration = Duration::from_secs(240);

struct Live {
    url: String,
    token: String,
    client: Client,
}

impl Live {
    fn of(world: &World) -> Self {
        let set = |name: &str| std::env::var(name).ok();
        let url = set("HOOKBRO_TEST_SVIX_URL").unwrap_or_else(|| world.svix.url());
        let token = set("HOOKBRO_TEST_SVIX_TOKEN").unwrap_or_else(|| TOKEN.into());
        Self { url: url.trim_end_matches('/').into(), token, client: Client::new() }
    }

    /// The payload that Svix holds for an event; none if it does not know it.
    async fn payload(&self, sample: &Sample) -> Option<Value> {
        let url = format!("{}/api/v1/app/{}/msg/{}", self.url, sample.project, sample.id);
        let answer = self.client.get(url).bearer_auth(&self.token).send().await.unwrap();
        if answer.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert_eq!(answer.status(), StatusCode::OK);
        let message: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert_eq!(message["eventType"], sample.kind.as_str());
        Some(message["payload"].clone())
    }

    /// How often Svix has called an endpoint for an event; 0 if it does not know it.
    async fn attempts(&self, app: &str, event: &str) -> usize {
        let url = format!("{}/api/v1/app/{app}/attempt/msg/{event}", self.url);
        let answer = self.client.get(url).bearer_auth(&self.token).send().await.unwrap();
        let list: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        list["data"].as_array().map_or(0, Vec::len)
    }

    async fn post(&self, path: &str, body: Value) {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        let request = request.header("content-type", "application/json").body(body.to_string());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }

    async fn delete(&self, app: &str) {
        let url = format!("{}/api/v1/app/{app}", self.url);
        let answer = self.client.delete(url).bearer_auth(&self.token).send().await.unwrap();
        assert!(answer.status().is_success(), "{app}: {}", answer.status());
    }
}

/// The same events in projects of this run's own, so that a real organisation's are left alone.
fn in_own_projects(samples: Vec<Sample>, run: &str) -> Vec<Sample> {
    let own = |sample: Sample| {
        let project = format!("hbt-{run}-{}", sample.project);
        let (old, new) = (format!("\"project\":\"{}\"", sample.project), format!("\"project\":\"{project}\""));
        let spaced = (old.replace("\":", "\": "), new.replace("\":", "\": "));
        let body = String::from_utf8(sample.body.to_vec()).unwrap().replace(&old, &new).replace(&spaced.0, &spaced.1);
        Sample { project, body: body.into(), ..sample }
    };
    samples.into_iter().map(own).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_can_be_read_back_from_svix_by_its_id() {
    let world = World::new("live").await;
    let live = Live::of(&world);
    let (url, token) = (live.url.clone(), live.token.clone());
    let world = world.with("svix.url", &url).with("svix.token", &token);
    let hookbro = Hookbro::ready(world.settings()).await;
    let run = format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_second());
    let mut samples = documented(&run);
    samples.extend(generated(&run, &["gigs", "dev"], 100));
    let samples = in_own_projects(samples, &run);
    world.publish(&samples).await;
    // Twice, as after a crash: the repeats must be refused by their ids.
    world.publish(&samples).await;
    until("all are settled", SOON, async || {
        let delivered = hookbro.metric("hookbro_events_settled_total{outcome=\"delivered\"}").await;
        let repeated = hookbro.metric("hookbro_events_settled_total{outcome=\"duplicate\"}").await;
        (delivered == samples.len() as f64 && repeated == samples.len() as f64).then_some(())
    })
    .await;
    for sample in &samples {
        let stored =
            live.payload(sample).await.unwrap_or_else(|| panic!("{} of {} is lost", sample.id, sample.project));
        // Svix's answer is its own writing of the payload: keys sorted, numbers as it reads them.
        assert_eq!(stored["id"], sample.id.as_str());
        assert_eq!(stored["project"], sample.project.as_str());
    }
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    let apps: std::collections::BTreeSet<_> = samples.iter().map(|sample| sample.project.as_str()).collect();
    for app in apps {
        live.delete(app).await;
    }
    world.end().await;
}

/// Counts the calls for each event: where Svix delivers, as a real one does.
struct Receiver {
    url: String,
    calls: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let calls = Arc::new(Mutex::new(BTreeMap::new()));
        let count = Arc::clone(&calls);
        let router = axum::Router::new().fallback(move |body: bytes::Bytes| {
            let event: Value = serde_json::from_slice(&body).unwrap();
            *count.lock().unwrap().entry(event["id"].as_str().unwrap().to_owned()).or_default() += 1;
            async {}
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, calls }
    }
}

/// Against a real server every event is counted at a receiver of this test's own (`HOOKBRO_TEST_SVIX_URL` must be let to call
/// loopback addresses). The sandbox sends nothing, so its attempts are counted, and a call of its is for a while between commit
/// and queue, as a real one's is.
#[tokio::test(flavor = "multi_thread")]
async fn hookbro_killed_three_times_under_load_leaves_no_event_that_nobody_is_called_for() {
    let world = World::new("livekill").await;
    let live = Live::of(&world);
    let is_sandbox = live.url == world.svix.url();
    let (url, token) = (live.url.clone(), live.token.clone());
    // The last two rungs come when a message is old enough for a real server to be done with it.
    let delays = if is_sandbox { "200ms,200ms,300ms,300ms,400ms" } else { "5s,30s,40s,60s" };
    let world = world.with("svix.url", &url).with("svix.token", &token).with("retry.delays", delays);
    let gap = Fault { after_commit: true, undispatched: true, delay: Duration::from_millis(50), ..Fault::default() };
    world.svix.sandbox.add_fault(gap);
    let receiver = Receiver::start().await;
    let run = format!("{}-{}", std::process::id(), jiff::Timestamp::now().as_second());
    let samples = in_own_projects(generated(&run, &["kill"], if is_sandbox { 1_000 } else { 4_000 }), &run);
    let app = samples[0].project.clone();
    live.post("/api/v1/app", json!({"name": app, "uid": app})).await;
    live.post(&format!("/api/v1/app/{app}/endpoint"), json!({"url": receiver.url})).await;
    let mut hookbro = Hookbro::ready(world.settings()).await;
    let publishing = world.publish(&samples);
    let killing = async {
        for _ in 0..3 {
            until("it is under load", SOON, async || {
                let delivered = hookbro.metric("hookbro_events_settled_total{outcome=\"delivered\"}").await;
                (delivered >= 100.0).then_some(())
            })
            .await;
            hookbro.kill();
            hookbro = Hookbro::ready(world.settings()).await;
        }
        hookbro
    };
    let ((), hookbro) = tokio::join!(publishing, killing);
    let called = async |sample: &Sample| match is_sandbox {
        true => live.attempts(&app, &sample.id).await > 0,
        false => receiver.calls.lock().unwrap().contains_key(&sample.id),
    };
    for sample in &samples {
        until(&sample.id, PATIENCE, async || called(sample).await.then_some(())).await;
    }
    until("all is settled", PATIENCE, async || {
        let idle = hookbro.metric("hookbro_events_in_flight").await == 0.0;
        (idle && world.broker.ready(&world.broker.queue).await == Some(0)).then_some(())
    })
    .await;
    assert_eq!(world.broker.ready_dead().await, 0);
    hookbro.stop().await;
    live.delete(&app).await;
    world.end().await;
}
