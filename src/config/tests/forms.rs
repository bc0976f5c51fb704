//! Every form in which each kind of value may be written.

use super::*;
use crate::{
    config::text::parse_duration,
    event::ProjectId,
    observe::Format,
    sinks::svix::{AppId, Destination, UnknownProject},
};
use std::time::Duration;

#[test]
fn durations_are_numbers_with_units() {
    for (text, milliseconds) in [
        ("300ms", Some(300)),
        ("5s", Some(5_000)),
        ("2m", Some(120_000)),
        ("6h", Some(21_600_000)),
        ("1d", Some(86_400_000)),
        ("1m30s", Some(90_000)),
        ("1d2h3m4s5ms", Some(93_784_005)),
        ("0s1ms", Some(1)),
        ("0s", None),
        ("", None),
        ("5", None),
        ("s", None),
        ("5 s", None),
        ("-5s", None),
        ("1.5s", None),
        ("5S", None),
        ("30s1m", None),
        ("1s1s", None),
        ("1w", None),
        ("99999999999999999999s", None),
        ("9999999999999999999d", None),
        ("18446744073709551615ms1ms", None),
    ] {
        assert_eq!(parse_duration(text), milliseconds.map(Duration::from_millis), "{text:?}");
    }
}

/// Whether all `words` mean the same to `read`.
#[track_caller]
fn check<T: PartialEq + std::fmt::Debug>(words: &[Words<'_>], read: impl Fn(&Settings) -> T, meant: T) {
    for (n, words) in words.iter().enumerate() {
        assert_eq!(read(&words.settings()), meant, "form {n}");
    }
}

#[test]
fn numbers_are_digits_or_text() {
    let forms = [
        file("[broker]\nprefetch = 7"),
        file("[broker]\nprefetch = '7'"),
        environment(&[("HOOKBRO__BROKER__PREFETCH", " 7 ")]),
        sets(&["broker.prefetch=7"]),
        sets(&[" broker.prefetch =7"]),
    ];
    check(&forms, |s| s.broker.prefetch, 7);
    check(&[sets(&["svix.max_payload_bytes=2093056"])], |s| s.max_payload_bytes, 2_093_056);
    check(&[sets(&["svix.rate_limit=200"])], |s| s.rate_limit, 200);
    check(&[sets(&["routing.provision_limit=0"])], |s| s.routing.provision_limit, 0);
    check(
        &[sets(&["broker.memory_budget=2 GiB"]), file("[broker]\nmemory_budget = '2GiB'")],
        |s| s.broker.memory_budget,
        2 << 30,
    );
    check(&[sets(&["broker.delivery_limit=2147483647"])], |s| s.broker.delivery_limit, 2_147_483_647);
}

#[test]
fn lists_are_arrays_or_text_with_commas() {
    let forms = [
        file("[broker]\nbindings = ['dev.#', 'live.#']"),
        file("[broker]\nbindings = 'dev.#, live.#'"),
        environment(&[("HOOKBRO__BROKER__BINDINGS", "dev.#,live.#")]),
        sets(&["broker.bindings=dev.#,live.#"]),
    ];
    check(&forms, |s| s.broker.bindings.clone(), vec!["dev.#".to_owned(), "live.#".to_owned()]);
    let delays = |s: &Settings| s.broker.ladder.delays().to_vec();
    check(&[file("[retry]\ndelays = ['1s', '1m30s']")], delays, [1, 90].map(Duration::from_secs).to_vec());
    check(&[file("[retry]\ndelays = []"), sets(&["retry.delays="])], delays, Vec::new());
}

#[test]
fn maps_are_tables_or_pairs_with_project_ids_as_they_are() {
    let forms = [
        file("[routing.apps]\n\"my.project\" = 'app_x'\nDev = 'own'"),
        file("[routing]\napps = { \"my.project\" = 'app_x', Dev = 'own' }"),
        file("[routing]\napps = 'my.project=app_x,Dev=own'"),
        environment(&[("HOOKBRO__ROUTING__APPS", "my.project=app_x, Dev = own")]),
        sets(&["routing.apps=my.project=app_x,Dev=own"]),
    ];
    let destination =
        |project: &'static str| move |s: &Settings| s.routing.routes.destination(&ProjectId::try_new(project).unwrap());
    let mapped = |app: &'static str| Destination::Mapped(AppId::try_new(app).unwrap());
    check(&forms, destination("my.project"), mapped("app_x"));
    check(&forms, destination("Dev"), mapped("own"));
    check(&forms, destination("dev"), Destination::OfProject(AppId::try_new("dev").unwrap()));
}

#[test]
fn addresses_words_and_urls() {
    let ingest = |s: &Settings| s.ingest.listen.map(|listen| listen.to_string());
    check(&[sets(&["ingest.listen=[::1]:8080"])], ingest, Some("[::1]:8080".to_owned()));
    check(&[sets(&["ingest.listen="])], ingest, None);
    let open = sets(&["ingest.listen=0.0.0.0:80", "ingest.tokens=t"]);
    check(&[open], ingest, Some("0.0.0.0:80".to_owned()));
    check(&[sets(&["routing.unknown_project=dead_letter"])], |s| s.routing.unknown_project, UnknownProject::DeadLetter);
    check(&[sets(&["log.format=json"])], |s| s.log.format, Some(Format::Json));
    check(&[sets(&["log.format=text"])], |s| s.log.format, Some(Format::Text));
    for (given, base) in [
        ("", ""),
        ("https://api.eu.svix.com", "https://api.eu.svix.com"),
        ("https://api.eu.svix.com/", "https://api.eu.svix.com"),
        ("http://127.0.0.1:8071/", "http://127.0.0.1:8071"),
        ("http://gateway/svix/", "http://gateway/svix"),
    ] {
        check(&[sets(&[&format!("svix.url={given}")])], |s| s.svix.url.clone(), base.to_owned());
    }
}

#[test]
fn secrets_are_text_or_lists_without_stray_white_space() {
    let forms = [
        file("[admin]\ntokens = ['a', 'b']"),
        file("[admin]\ntokens = 'a,b'"),
        environment(&[("HOOKBRO__ADMIN__TOKENS", "a, b\n")]),
        sets(&["admin.tokens=a,b"]),
    ];
    check(
        &forms,
        |s| ["a", "b", "a,b", "", "c"].map(|t| s.admin.tokens.contains(t)),
        [true, true, false, false, false],
    );
    check(&[environment(&[("HOOKBRO__SVIX__TOKEN", "sk.eu\n")])], |s| s.svix.token.current(), "sk.eu".to_owned());
    let urls = [
        sets(&["broker.url=amqp://a, amqps://u:p%2Cq@b:5671/v "]),
        file("[broker]\nurl = '''amqp://a,\n amqps://u:p%2Cq@b:5671/v'''"),
    ];
    check(&urls, |s| s.broker.access.url.current(), "amqp://a,amqps://u:p%2Cq@b:5671/v".to_owned());
}

#[test]
fn a_collector_is_named_by_its_base_url_or_by_the_whole() {
    for (given, posted) in [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp", "https://c/otlp/v1/traces"),
        ("https://c/otlp/v1/traces/", "https://c/otlp/v1/traces"),
    ] {
        let set = format!("tracing.otlp_endpoint={given}");
        let settings = Words { sets: &[&set], ..Words::default() }.settings();
        assert_eq!(settings.tracing.endpoint.unwrap().as_str(), posted);
    }
    for (given, ratio) in [("0", 0.0), ("1", 1.0), ("0.25", 0.25), ("1e-3", 0.001)] {
        let set = format!("tracing.sample_ratio={given}");
        assert_eq!(Words { sets: &[&set], ..Words::default() }.settings().tracing.sample_ratio, ratio);
    }
}
