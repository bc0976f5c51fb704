//! Planted secrets appear in nothing that the program says, whatever goes wrong.

use crate::support::{
    SOON,
    events::generated,
    hookbro::{Hookbro, command},
    proxy, tls, until,
    world::World,
};
use hookbro::{
    app, config,
    observe::{metrics::Metrics, trace::Traces},
    sources::rabbitmq as amqp,
};
use std::{io::Write as _, process::Command, sync::Arc};
use svix_sandbox::Fault;

const PASSWORD: &str = "planted-password-1";
const TOKEN: &str = "planted-token-2";
const BODY: &str = "planted-body-3";

const ADMIN: &str = "planted-admin-token-5";
const INGEST: &str = "planted-ingest-token-6";
/// After `whsec_`.
const WEBHOOK: &str = "cGxhbnRlZC13ZWJob29rLXNlY3JldC03";

#[track_caller]
fn check(said: &str) {
    for secret in [PASSWORD, TOKEN, BODY, proxy::PASSWORD, ADMIN, INGEST, WEBHOOK] {
        assert!(!said.contains(secret), "{secret} is in:\n{said}");
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
        (world.svix.sandbox.message_count() == 4 && world.broker.ready_dead().await == 1).then_some(())
    })
    .await;
    let (metrics, status) = (hookbro.page("/metrics").await.1, hookbro.page("/status").await.1);
    let dead = format!("{:?}", world.broker.drain_dead().await.remove(0).properties);
    let log = hookbro.whole_log();
    assert!(log.len() > 1_000, "nothing was logged");
    for said in [&metrics, &status, &dead, &log] {
        check(said);
        assert!(!said.contains("testsk_"), "the real token is in:\n{said}");
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

/// A client certificate, its key, and a file for each command that wants one.
struct Planted {
    settings: Vec<(String, String)>,
    key: String,
    events: tempfile::NamedTempFile,
}

impl Planted {
    fn new(world: &World) -> Self {
        let authority = tls::Authority::new();
        let tls::Identity { certificate, key } = authority.certificate("hookbro", &[]);
        let mut settings = world.settings().to_vec();
        let planted = [
            ("svix.url", "https://svix.hookbro.invalid"),
            ("svix.token", TOKEN),
            ("admin.tokens", ADMIN),
            ("ingest.tokens", INGEST),
            ("ingest.webhook_secrets", &format!("whsec_{WEBHOOK}")),
            ("ingest.listen", "127.0.0.1:0"),
            ("broker.tls_ca", &authority.pem()),
            ("broker.tls_cert", &certificate),
            ("broker.tls_key", &key),
            ("log.level", "trace,lapin=trace,hyper=trace,reqwest=trace,rustls=trace"),
        ];
        settings.retain(|(key, _)| key != "broker.url" && planted.iter().all(|(other, _)| key != other));
        settings.extend(planted.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let mut events = tempfile::NamedTempFile::new().unwrap();
        events.write_all(format!("{{\"id\":\"x\",\"{BODY}").as_bytes()).unwrap();
        Self { settings, key, events }
    }

    #[track_caller]
    fn check(&self, said: &str) {
        check(said);
        for line in self.key.lines().filter(|line| !line.starts_with("-----")) {
            assert!(!said.contains(line), "the private key is in:\n{said}");
        }
    }

    fn command(&self, words: &str, url: &str, proxy: &str) -> Command {
        let settings = [self.settings.clone(), vec![("broker.url".into(), url.into())]].concat();
        let words = words.replace("EVENTS", self.events.path().to_str().unwrap());
        let mut command = command(&words.split(' ').collect::<Vec<_>>(), &settings);
        command.env("HTTPS_PROXY", proxy);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_command_says_a_secret_whatever_fails() {
    let world = World::new("outputs").await;
    let planted = Arc::new(Planted::new(&world));
    let identity = tls::Authority::new().certificate("broker", &["localhost"]);
    // Of an authority that nobody configured.
    let front = tls::Front::start(&identity, world.svix.address).await;
    let tunnel = proxy::Proxy::start(front.address).await;
    let right = tunnel.url(proxy::PASSWORD);
    let urls = [
        format!("amqps://u:{PASSWORD}@localhost:{}", front.address.port()),
        format!("amqps://u:{PASSWORD}@{}", world.svix.address),
        world
            .broker
            .url
            .replace("amqp://guest:guest", &format!("amqps://u:{PASSWORD}@127.0.0.1:1,amqp://u:{PASSWORD}")),
        format!("amqps://u:1/{PASSWORD}@localhost"),
    ];
    let mut ran = 0;
    for (n, url) in urls.iter().enumerate() {
        // Each refusal once by everything that connects would only be slow: all of them by one URL, the others by `check`.
        let commands = match n {
            0 => {
                "check,topology show,topology declare,topology migrate,publish EVENTS,dead list,dead export,dead replay,\
                  dead discard --all --yes,config"
            }
            _ => "check",
        };
        for words in commands.split(',') {
            let words = words.trim().to_owned();
            let (plan, url, right) = (Arc::clone(&planted), url.clone(), right.clone());
            let output = tokio::task::spawn_blocking(move || plan.command(&words, &url, &right).output().unwrap());
            let output = output.await.unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!said.is_empty());
            assert!(!said.contains("panicked"), "{said}");
            planted.check(&said);
            ran += 1;
        }
    }
    assert_eq!(ran, 13);
    // The service, until both sides have refused it.
    for url in &urls[..3] {
        let settings = [planted.settings.clone(), vec![("broker.url".into(), url.clone())]].concat();
        let hookbro = Hookbro::start_with(&settings, &[("HTTPS_PROXY", &right)]).await;
        until("both refuse", SOON, async || {
            let refused = [hookbro.logged("not consuming yet"), hookbro.logged("halted: nothing is sent")];
            refused.iter().all(|lines| !lines.is_empty()).then_some(())
        })
        .await;
        for said in [hookbro.whole_log(), hookbro.page("/status").await.1, hookbro.page("/metrics").await.1] {
            planted.check(&said);
        }
        assert_eq!(hookbro.status_of("/readyz").await, 503);
        hookbro.stop().await;
    }
    assert!(tunnel.tunnels() > 0, "the proxy was never asked");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_that_prints_all_there_is_prints_no_secret() {
    let world = World::new("panic").await;
    let planted = Planted::new(&world);
    let url = format!("broker.url=amqps://u:{PASSWORD}@localhost");
    let sets: Vec<_> = planted.settings.iter().map(|(key, value)| format!("{key}={value}")).chain([url]).collect();
    let settings = config::load(None, &sets).unwrap();
    let connector = amqp::Connector::new(settings.broker.access.clone());
    let publisher = amqp::Publisher::new(settings.broker.access.clone(), "hookbro test");
    let sink = app::svix_sink(&settings, &Arc::new(Metrics::new().unwrap()), Traces::default()).unwrap();
    let said = format!("{settings:?} {connector:?} {publisher:?} {sink:?}");
    assert!(said.contains("svix.hookbro.invalid") && said.contains("Connector"), "{said}");
    planted.check(&said);
    world.end().await;
}
