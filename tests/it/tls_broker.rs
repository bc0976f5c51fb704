//! TLS to the broker: authorities, client certificates, log-in by certificate, and what is said when it fails.

use crate::support::{
    SOON,
    broker::Broker,
    events::generated,
    hookbro::{Hookbro, command},
    node::Node,
    svix::TestSvix,
    tls::{Authority, Front, Identity},
    until,
    world::World,
};
use std::{net::SocketAddr, path::PathBuf};
use url::Url;

/// Where the shared broker listens without TLS, and its URL with TLS at another port of this machine.
async fn shared(world: &World) -> (SocketAddr, impl Fn(&str, u16) -> String + use<>) {
    let url = Url::parse(&world.broker.url).unwrap();
    let place = (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5672));
    let address = tokio::net::lookup_host(place).await.unwrap().next().unwrap();
    let at = move |host: &str, port| {
        let mut url = url.clone();
        url.set_scheme("amqps").and_then(|()| url.set_port(Some(port))).unwrap();
        url.set_host(Some(host)).unwrap();
        url.to_string()
    };
    (address, at)
}

async fn check(world: &World, changed: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut settings = world.settings().to_vec();
    settings.retain(|(key, _)| changed.iter().all(|(other, _)| key != other));
    settings.extend(changed.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let output = tokio::task::spawn_blocking(move || command(&["check"], &settings).output().unwrap()).await.unwrap();
    (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_is_wrong_with_tls_to_the_broker_and_how_long_a_good_certificate_lasts() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let world = World::new("amqps").await;
    let (behind, at) = shared(&world).await;
    let front = Front::start(&authority.certificate("broker", &["localhost"]), behind).await;
    let late = Front::start(&authority.expired(&["localhost"]), behind).await;
    let port = front.address.port();
    let (ca, wrong_ca) = (authority.pem(), stranger.pem());
    let without_tls = at("localhost", port).replace("amqps:", "amqp:");
    for (url, ca, code, said) in [
        (
            at("localhost", port),
            &ca,
            0,
            "the broker's certificate: CN=broker, from CN=hookbro test authority, until 2100-01-01T00:00:00Z",
        ),
        (
            at("localhost", port),
            &wrong_ca,
            4,
            "from an authority unknown here; give that authority's certificate as broker.tls_ca_file",
        ),
        (at("127.0.0.1", port), &ca, 4, "not for 127.0.0.1; use the certificate's name in broker.url"),
        (
            at("localhost", late.address.port()),
            &ca,
            4,
            "its certificate expired at 2020-01-01T00:00:00Z; renew it there",
        ),
        (at("localhost", behind.port()), &ca, 4, "it does not speak TLS there; check port and scheme in broker.url"),
        (format!("{},{without_tls}", at("localhost", 1)), &ca, 4, "cannot connect to the broker at localhost:"),
    ] {
        let (found, printed) = check(&world, &[("broker.url", &url), ("broker.tls_ca", ca)]).await;
        assert!(printed.contains(said), "{said} is not in:\n{printed}");
        assert_eq!(found, Some(code), "{printed}");
        assert!(printed.contains("broker.tls_ca: CN=hookbro test authority, until"), "{printed}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_waits_for_the_right_authority_and_the_right_password_and_needs_no_restart() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let world = World::new("rotate").await;
    let (behind, at) = shared(&world).await;
    let front = Front::start(&authority.certificate("broker", &["localhost"]), behind).await;
    let dir = tempfile::tempdir().unwrap();
    let (ca, url) = (dir.path().join("ca.pem"), dir.path().join("url"));
    let right = at("localhost", front.address.port());
    let wrong = right.replace("guest:guest", "guest:planted-old-password");
    assert_ne!(right, wrong);
    std::fs::write(&ca, stranger.pem()).unwrap();
    std::fs::write(&url, &wrong).unwrap();
    let world = world
        .without("broker.url")
        .with("broker.url_file", url.to_str().unwrap())
        .with("broker.tls_ca_file", ca.to_str().unwrap());
    let hookbro = Hookbro::start(world.settings()).await;
    let refused_with = async |words: &str| {
        until(words, SOON, async || {
            let refusals = hookbro.logged("not consuming yet");
            refusals.iter().any(|line| line["fields"]["error"].as_str().unwrap().contains(words)).then_some(())
        })
        .await;
        assert_eq!((hookbro.status_of("/readyz").await, hookbro.status_of("/livez").await), (503, 200));
    };
    refused_with("authority unknown here").await;
    std::fs::write(&ca, authority.pem()).unwrap();
    refused_with("ACCESS").await;
    std::fs::write(&url, &right).unwrap();
    until("it is ready", SOON, async || (hookbro.status_of("/readyz").await == 200).then_some(())).await;

    // A connection that is open is left alone by what comes into the files afterwards.
    std::fs::write(&url, &wrong).unwrap();
    until("it is noticed", SOON, async || (hookbro.logged("secret changed").len() >= 3).then_some(())).await;
    let samples = generated("rotate", &["gigs"], 20);
    world.publish(&samples).await;
    world.arrive(&samples).await;
    assert_eq!(hookbro.metric("hookbro_broker_reconnects_total").await, 0.0);
    assert!(!hookbro.whole_log().contains("planted-"));
    hookbro.stop().await;
    world.end().await;
}

/// One node for all that only RabbitMQ itself can say of client certificates.
#[tokio::test(flavor = "multi_thread")]
async fn client_certificates_and_log_in_by_certificate_work_and_are_rotated_without_a_restart() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let tls = Node::with_tls(&authority).await;
    let place = format!("localhost:{}/%2f", tls.port);
    let (by_password, by_certificate) =
        (format!("amqps://guest:guest@{place}"), format!("amqps://{place}?auth_mechanism=external"));
    let broker = Broker::private(tls.node.url.clone(), "mtls");
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let write = |identity: &Identity| {
        std::fs::write(path("cert.pem"), &identity.certificate).unwrap();
        std::fs::write(path("key.pem"), &identity.key).unwrap();
    };
    let world = World::of(broker, TestSvix::start().await).with("broker.tls_ca", &authority.pem());

    let (code, said) = check(&world, &[("broker.url", &by_password)]).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("client certificate") && said.contains("give broker.tls_cert_file and broker.tls_key_file"),
        "{said}"
    );

    let plain = by_password.replace("amqps:", "amqp:");
    let (code, said) = check(&world, &[("broker.url", &plain), ("broker.tls_ca", "")]).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("; if it speaks TLS there, write amqps:// in broker.url"), "{said}");

    let world = world
        .with("broker.tls_cert_file", path("cert.pem").to_str().unwrap())
        .with("broker.tls_key_file", path("key.pem").to_str().unwrap());
    let guest = authority.certificate("guest", &[]);
    write(&guest);
    let (code, said) = check(&world, &[("broker.url", &by_password)]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("broker.tls_cert: CN=guest, from CN=hookbro test authority, until 2100"), "{said}");

    // Not signed by whom the broker trusts, and a user that it does not know.
    write(&stranger.certificate("guest", &[]));
    let (code, said) = check(&world, &[("broker.url", &by_certificate)]).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("check broker.tls_cert_file and broker.tls_key_file: their dates"), "{said}");
    write(&authority.certificate("nobody", &[]));
    let world = world.with("broker.url", &by_certificate);
    let hookbro = Hookbro::start(world.settings()).await;
    until("it is refused", SOON, async || (!hookbro.logged("not consuming yet").is_empty()).then_some(())).await;
    assert!(hookbro.whole_log().contains("EXTERNAL"), "{}", hookbro.whole_log());

    // Half of the new pair: said, and waited for.
    std::fs::write(path("cert.pem"), &guest.certificate).unwrap();
    until("the halves do not fit", SOON, async || hookbro.whole_log().contains("do not fit").then_some(())).await;
    assert_eq!(hookbro.status_of("/readyz").await, 503);
    write(&guest);
    until("it is ready", SOON, async || (hookbro.status_of("/readyz").await == 200).then_some(())).await;
    let samples = generated("mtls", &["gigs"], 50);
    world.publish(&samples).await;
    world.arrive(&samples).await;
    let log = hookbro.whole_log();
    assert!(!guest.key.lines().any(|line| !line.contains("-----") && log.contains(line)), "the key is in the log");
    hookbro.stop().await;
    world.end().await;
}
