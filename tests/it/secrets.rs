//! Planted secrets appear in nothing that the program says, whatever goes wrong.

use crate::support::{
    SOON,
    events::generated,
    hookbro::{Hookbro, command},
    until,
    world::World,
};
use hookbro::sandbox::Fault;

const PASSWORD: &str = "planted-password-1";
const TOKEN: &str = "planted-token-2";
const BODY: &str = "planted-body-3";

#[track_caller]
fn check(said: &str) {
    for secret in [PASSWORD, TOKEN, BODY] {
        assert!(!said.contains(secret), "{secret} stands in:\n{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_body_stands_in_log_metrics_status_or_dead_headers() {
    // Everything at its loudest.
    let world = World::new("secrets").await.with("log.level", "trace,lapin=trace,hyper=debug");
    let hookbro = Hookbro::ready(world.settings()).await;
    let sample = generated("planted", &["gigs"], 1).remove(0);
    let body = String::from_utf8(sample.body.to_vec()).unwrap().replace("\"big\"", &format!("\"{BODY}\""));
    for (n, status) in [500, 503, 401, 302].into_iter().enumerate() {
        let fault = Fault { status: Some(status), times: Some(1), body: Some("{}".into()), ..Fault::default() };
        world.svix.sandbox.add_fault(fault);
        let body = body.replace(&sample.id, &format!("{}-{n}", sample.id));
        world.broker.publish(&sample.routing_key(), Default::default(), body.as_bytes()).await;
    }
    world.broker.publish("k", Default::default(), format!("{{\"id\":\"x\",\"{BODY}").as_bytes()).await;
    until("four arrive and one is dead", SOON, async || {
        (world.svix.sandbox.messages().len() == 4 && world.broker.ready_dead().await == 1).then_some(())
    })
    .await;
    let (metrics, status) = (hookbro.page("/metrics").await.1, hookbro.page("/status").await.1);
    let dead = format!("{:?}", world.broker.drain_dead().await.remove(0).properties);
    let log = hookbro.whole_log();
    assert!(log.len() > 1_000, "nothing was logged");
    for said in [&metrics, &status, &dead, &log] {
        check(said);
        assert!(!said.contains("testsk_"), "the real token stands in:\n{said}");
    }
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_in_what_is_said_of_a_broker_or_svix_that_refuses() {
    let world = World::new("refusals").await.with("svix.token", TOKEN).with("log.level", "trace");
    let stranger = world.broker.url.replace("guest:guest", &format!("guest:{PASSWORD}"));
    assert_ne!(stranger, world.broker.url);
    let urls =
        [stranger, format!("amqp://u:{PASSWORD}@127.0.0.1:1"), format!("amqps://u:{PASSWORD}@no.such.host.invalid")];
    for url in urls {
        let world_settings: Vec<_> = world.settings().iter().filter(|(key, _)| key != "broker.url").cloned().collect();
        let settings = [world_settings, vec![("broker.url".into(), url)]].concat();
        let hookbro = Hookbro::start(&settings).await;
        until("it was refused", SOON, async || (!hookbro.logged("not consuming yet").is_empty()).then_some(())).await;
        check(&hookbro.whole_log());
        check(&hookbro.page("/status").await.1);
        hookbro.stop().await;
        let output = command(&["check"], &settings).output().unwrap();
        assert_eq!(output.status.code(), Some(4));
        check(&String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
    }
}
