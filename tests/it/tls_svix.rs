//! HTTPS to Svix: own authorities, what is wrong with the far side's certificate, proxies of the environment.

use crate::support::{
    SOON,
    events::generated,
    hookbro::{Hookbro, command},
    proxy::{PASSWORD, Proxy},
    tls::{Authority, Front},
    until,
    world::World,
};

/// Reached through a proxy alone: nobody answers for this name.
const NAME: &str = "svix.hookbro.invalid";

/// Waits until Svix counts as unreachable, and it has been said why.
async fn paused(hookbro: &Hookbro) {
    until("it pauses", SOON, async || (!hookbro.logged("halted: nothing is sent").is_empty()).then_some(())).await;
    assert_eq!(hookbro.metric("hookbro_paused{reason=\"unreachable\"}").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_authority_pauses_until_its_certificate_is_written_to_the_file() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let world = World::new("svixca").await;
    let front = Front::start(&authority.certificate("svix", &["localhost"]), world.svix.address).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), stranger.pem()).unwrap();
    let world = world
        .with("svix.url", &format!("https://localhost:{}", front.address.port()))
        .with("svix.tls_ca_file", file.path().to_str().unwrap());
    let hookbro = Hookbro::ready(world.settings()).await;
    let samples = generated("svixca", &["gigs"], 20);
    world.publish(&samples).await;
    paused(&hookbro).await;
    let said = hookbro.whole_log();
    assert!(
        said.contains("from an authority unknown here; give that authority's certificate as svix.tls_ca_file"),
        "{said}"
    );
    assert_eq!(world.svix.calls().len(), 0);
    std::fs::write(file.path(), stranger.pem() + &authority.pem()).unwrap();
    world.arrive(&samples).await;
    assert_eq!(
        hookbro.metric("hookbro_events_settled_total{outcome=\"retried\"}").await,
        0.0,
        "a pause spends no attempt"
    );
    hookbro.stop().await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_names_what_is_wrong_with_the_certificate_of_svix_and_says_how_long_a_good_one_lasts() {
    let authority = Authority::new();
    let world = World::new("svixcert").await;
    let behind = world.svix.address;
    let good = Front::start(&authority.certificate("svix", &["localhost"]), behind).await;
    let late = Front::start(&authority.expired(&["localhost"]), behind).await;
    let other = Front::start(&authority.certificate("svix", &["elsewhere.example"]), behind).await;
    let world = world.with("svix.tls_ca", &authority.pem());
    for (port, code, said) in [
        (
            good.address.port(),
            0,
            "Svix's certificate: CN=svix, from CN=hookbro test authority, until 2100-01-01T00:00:00Z",
        ),
        (late.address.port(), 5, "its certificate expired at 2020-01-01T00:00:00Z; renew it there"),
        (other.address.port(), 5, "not for localhost; use the certificate's name in svix.url"),
        (behind.port(), 5, "it does not speak TLS there; check port and scheme in svix.url"),
    ] {
        let mut settings = world.settings().to_vec();
        settings.retain(|(key, _)| key != "svix.url");
        settings.push(("svix.url".into(), format!("https://localhost:{port}")));
        let output =
            tokio::task::spawn_blocking(move || command(&["check"], &settings).output().unwrap()).await.unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(printed.contains(said), "{said} is not in:\n{printed}");
        assert_eq!(output.status.code(), Some(code), "{printed}");
        assert!(printed.contains("svix.tls_ca: CN=hookbro test authority, until"), "{printed}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_proxy_of_the_environment_is_used_with_its_password_but_not_for_no_proxy_or_loopback() {
    let authority = Authority::new();
    let world = World::new("proxy").await;
    let plain = world.svix.url();
    let front = Front::start(&authority.certificate("svix", &[NAME]), world.svix.address).await;
    let proxy = Proxy::start(front.address).await;
    let world = world.with("svix.url", &format!("https://{NAME}")).with("svix.tls_ca", &authority.pem());
    let samples = generated("proxy", &["gigs"], 30);

    // Excepted: asked for directly, and there is no such host.
    let right = proxy.url(PASSWORD);
    let excepted = Hookbro::start_with(world.settings(), &[("HTTPS_PROXY", &right), ("NO_PROXY", NAME)]).await;
    paused(&excepted).await;
    excepted.stop().await;
    assert_eq!(proxy.connections(), 0);

    // Refused by the proxy.
    let wrong = proxy.url("planted-wrong-password");
    let refused = Hookbro::start_with(world.settings(), &[("HTTPS_PROXY", &wrong)]).await;
    paused(&refused).await;
    let log = refused.whole_log();
    assert!(log.contains("proxy") && !log.contains("planted-"), "{log}");
    refused.stop().await;
    assert_eq!(proxy.tunnels(), 0);

    let hookbro = Hookbro::ready_with(world.settings(), &[("https_proxy", &right)]).await;
    world.publish(&samples).await;
    world.arrive(&samples).await;
    assert!(proxy.tunnels() > 0);
    assert_eq!(hookbro.logged("through the proxy")[0]["fields"]["variable"], "https_proxy");
    assert!(!hookbro.whole_log().contains("planted-"));
    hookbro.stop().await;

    let before = proxy.connections();
    let world = world.with("svix.url", &plain).without("svix.tls_ca");
    let direct = Hookbro::ready_with(world.settings(), &[("HTTP_PROXY", &right), ("ALL_PROXY", &right)]).await;
    let more = generated("direct", &["gigs"], 5);
    world.publish(&more).await;
    world.arrive(&more).await;
    assert_eq!(proxy.connections(), before, "a proxy was asked for an address of this machine");
    direct.stop().await;
    world.end().await;
}

#[tokio::test]
async fn a_proxy_that_is_none_is_refused_without_repeating_it() {
    let settings = [("svix.url".to_owned(), format!("https://{NAME}"))];
    let mut run = command(&["run"], &settings);
    let output = run.env("HTTPS_PROXY", format!("socks5://u:{PASSWORD}@127.0.0.1:1")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("HTTPS_PROXY is no URL of an HTTP proxy; expected http://user"), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
    assert_eq!(output.status.code(), Some(3));
}
