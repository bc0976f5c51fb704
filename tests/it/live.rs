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
use serde_json::Value;

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
        let held = live.payload(sample).await.unwrap_or_else(|| panic!("{} of {} is lost", sample.id, sample.project));
        // Svix's answer is its own writing of the payload: keys sorted, numbers as it reads them.
        assert_eq!(held["id"], sample.id.as_str());
        assert_eq!(held["project"], sample.project.as_str());
    }
    hookbro.stop().await;
    assert_eq!(world.broker.ready_dead().await, 0);
    let apps: std::collections::BTreeSet<_> = samples.iter().map(|sample| sample.project.as_str()).collect();
    for app in apps {
        live.delete(app).await;
    }
    world.end().await;
}
