//! What is secret stays so: planted values must turn up neither in messages nor in debug output.

use super::*;
use crate::{
    config::{DEFAULTS, keys::SECRETS},
    process::secret::{Generation, Secret},
};
use std::time::Duration;

/// Stands for every secret below; no message may contain it.
const PLANTED: &str = "hunter2";

#[test]
fn debug_output_of_settings_has_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, PLANTED).unwrap();
    let by_file = format!("svix.token_file={}", path.display());
    let planted = [
        &format!("broker.url=amqp://user:{PLANTED}@host"),
        &by_file,
        &format!("admin.tokens={PLANTED}"),
        &format!("ingest.tokens={PLANTED},other"),
    ];
    let settings = sets(&planted.map(String::as_str)).settings();
    assert_eq!(settings.svix.token.current(), PLANTED);
    let debug = format!("{settings:?} {settings:#?}");
    assert!(!debug.contains(PLANTED), "{debug}");
    assert!(DEFAULTS.contains("guest:guest"));
    assert!(!format!("{:?}", Words::default().settings()).contains("guest"));
}

#[test]
fn a_bad_broker_url_is_explained_without_repeating_it() {
    for (url, problem) in [
        ("", "is empty; expected amqp://user:password@host:5672/vhost"),
        (
            "hunter2",
            "is not a URL (relative URL without a base); expected amqp://user:password@host:5672/vhost, percent-encoded",
        ),
        ("hunter2://host", "begins with neither amqp:// nor amqps://; expected amqp://user:password@host:5672/vhost"),
        (
            "amqp:hunter2@host",
            "begins with neither amqp:// nor amqps://; expected amqp://user:password@host:5672/vhost",
        ),
        (
            "http://user:hunter2@host",
            "begins with neither amqp:// nor amqps://; expected amqp://user:password@host:5672/vhost",
        ),
        (
            "amqp://user:hunter2@host:port",
            "is not a URL (invalid port number); expected amqp://user:password@host:5672/vhost, percent-encoded",
        ),
        (
            "amqp://user:hunter2@[::1]:5672",
            "names an IPv6 address, which the AMQP client cannot take; give a host name",
        ),
        ("amqp://user:1#hunter2@host", "has a # inside; write it as %23"),
        ("amqp://user:#hunter2@host", "has a # inside; write it as %23"),
        (
            "amqp://user:1/hunter2@host",
            "has an @ after the host; write / ? @ as %2f %3f %40 in user, password and vhost",
        ),
        (
            "amqp://user:1?hunter2@host",
            "has an @ after the host; write / ? @ as %2f %3f %40 in user, password and vhost",
        ),
        (
            "amqp://user:hunter2@host/%ff",
            "has a user, vhost or parameter that cannot be read; expected amqp://user:password@host:5672/vhost",
        ),
        (
            "amqp://user:hunter2@host?heartbeat=soon",
            "has a user, vhost or parameter that cannot be read; expected amqp://user:password@host:5672/vhost",
        ),
        (
            "amqp://user:hunter2@host?auth_mechanism=hunter2",
            "has a user, vhost or parameter that cannot be read; expected amqp://user:password@host:5672/vhost",
        ),
        (
            "amqp://a:hunter2@host,amqp://b:hun,ter2@host",
            "URL 2 of 3 is not a URL (invalid port number); expected amqp://user:password@host:5672/vhost, percent-encoded (a comma inside a URL is written %2C)",
        ),
        (
            "amqp://a:hunter2@host,",
            "URL 2 of 2 is empty; expected amqp://user:password@host:5672/vhost (a comma inside a URL is written %2C)",
        ),
        ("amqp://a:hunter2 @host", "has white space inside; write it percent-encoded"),
    ] {
        let said = environment(&[("HOOKBRO__BROKER__URL", url)]).load().unwrap_err().to_string();
        assert_eq!(said, format!("broker.url (environment HOOKBRO__BROKER__URL): {problem}"));
        assert!(!said.contains(PLANTED));
    }
}

#[test]
fn no_message_repeats_a_secret() {
    for words in [
        file("[svix]\ntoken = \"hunter2"),
        file("[svix]\ntoken = hunter2"),
        file("[svix]\ntoken = ['hunter2']"),
        file("[svix]\ntoken = 'hun ter hunter2'"),
        file("[svix]\ntokn = 'hunter2'"),
        file("[svix]\ntoken = 'hunter2'\ntoken = 'hunter2'"),
        file("[svix]\ntoken = 'hunter2'\ntoken_file = '/'"),
        file("[admin]\ntokens = ['hunter2', '']"),
        file("[admin]\ntokens = ['hunter2,']"),
        file("[admin]\ntokens = 'hunter2,hünter2,hunter2'"),
        file("[broker.url]\nhunter = 'hunter2'"),
        environment(&[("HOOKBRO__INGEST__TOKENS", "hunter2 hunter2")]),
        environment(&[("HOOKBRO__INGEST__TOKEN", "hunter2")]),
        environment(&[("HOOKBRO__SVIX__URL", "https://user:hunter2@host")]),
        environment(&[("HOOKBRO__BROKER__EXCHANGE", "amq.amqp://user:hunter2@host")]),
        environment(&[("HOOKBRO__SVIX__TOKEN_FILE", "hunter2")]),
        environment(&[("HOOKBRO__BROKER__URL_FILE", "amqp://user:hunter2@host")]),
        sets(&["svix.token hunter2"]),
        sets(&["svix.tokn=hunter2"]),
        sets(&["broker.url=hunter2"]),
    ] {
        let error = words.load().unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(!said.contains(PLANTED), "{said}");
    }
}

#[test]
fn a_syntax_error_is_placed_without_quoting_the_line() {
    for (text, problem) in [
        ("[svix]\ntoken = \"hunter2", "is not TOML at line 2, column 17: invalid basic string, expected `\"`"),
        (
            "[svix]\ntoken = hunter2",
            "is not TOML at line 2, column 9: string values must be quoted, expected literal string",
        ),
        ("[svix]\ntoken = 'a'\ntoken = 'hunter2'", "is not TOML at line 3, column 1: duplicate key"),
        ("[broker]\nprefetch = 99999999999999999999", "is not TOML: number too large to fit in target type"),
    ] {
        let error = file(text).load().unwrap_err().to_string();
        assert_eq!(error.split_once(": ").unwrap().1, problem);
    }
}

#[test]
fn a_token_whose_file_is_missing_or_empty_may_come_later() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    for name in ["missing", "empty"] {
        let settings = sets(&[&format!("svix.token_file={}", dir.path().join(name).display())]).load().unwrap();
        assert!(settings.svix.token.is_empty(), "{name}");
    }
}

#[test]
fn a_secret_file_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("empty"), " \n").unwrap();
    std::fs::write(path("commas"), ",\n,").unwrap();
    std::fs::write(path("big"), vec![b'x'; 512 * 1024 + 1]).unwrap();
    std::fs::write(path("binary"), [0xff]).unwrap();
    std::fs::write(path("no-url"), "hunter2\n").unwrap();
    for (key, name, problem) in [
        ("broker.url_file", "none", "cannot be read: No such file or directory (os error 2)"),
        ("svix.token_file", "", "cannot be read: Is a directory (os error 21)"),
        ("admin.tokens_file", "empty", "the file is empty"),
        ("admin.tokens_file", "commas", "the file is empty"),
        ("svix.token_file", "big", "has more than 524288 bytes"),
        ("svix.token_file", "binary", "is not UTF-8 text"),
        (
            "broker.url_file",
            "no-url",
            "is not a URL (relative URL without a base); expected amqp://user:password@host:5672/vhost, percent-encoded",
        ),
    ] {
        let said = sets(&[&format!("{key}={}", path(name))]).load().unwrap_err().to_string();
        let said = said.replace(&dir.path().display().to_string(), "DIR");
        assert_eq!(said, format!("{key} = \"DIR/{name}\" (flag --set {key}): {problem}"));
    }
    let said = sets(&["svix.token_file=hunter2"]).load().unwrap_err().to_string();
    let problem = "cannot be read: No such file or directory (os error 2); expected the path of a file";
    assert_eq!(said, format!("svix.token_file (flag --set svix.token_file): {problem}"));
    for name in ["svix.token_file", "ingest.tokens_file"] {
        let said = sets(&[&format!("{name}=")]).load().unwrap_err().to_string();
        assert_eq!(said, format!("{name} = \"\" (flag --set {name}): names no file"));
    }
}

#[test]
fn one_layer_gives_a_secret_in_one_form() {
    let said = sets(&["svix.token=hunter2", "svix.token_file=/f"]).load().unwrap_err().to_string();
    assert_eq!(said, "svix.token_file (flag --set svix.token_file): svix.token is given too; give one of them");
    let both = [("HOOKBRO__SVIX__TOKEN", "hunter2"), ("HOOKBRO__SVIX__TOKEN_FILE", "/f")];
    let said = environment(&both).load().unwrap_err().to_string();
    let problem = "HOOKBRO__SVIX__TOKEN is given too; give one of them";
    assert_eq!(said, format!("svix.token_file (environment HOOKBRO__SVIX__TOKEN_FILE): {problem}"));
}

#[tokio::test]
async fn every_secret_is_read_again_when_its_file_changes() {
    let dir = tempfile::tempdir().unwrap();
    let pair = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (one, two) = (pair(), pair());
    let text = |key: &str, made: &rcgen::CertifiedKey<rcgen::KeyPair>, word: &str| match key {
        "broker.url" => format!("amqps://user:{word}@host"),
        "broker.tls_key" => made.signing_key.serialize_pem().trim_end().to_owned(),
        "broker.tls_cert" | "broker.tls_ca" | "svix.tls_ca" => made.cert.pem().trim_end().to_owned(),
        "tracing.headers" => format!("authorization={word}"),
        "broker.management_url" => format!("http://user:{word}@host:15672"),
        "journal.url" => format!("postgres://user:{word}@host/journal"),
        "ingest.webhook_secrets" if word == "old" => "whsec_b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xk".to_owned(),
        "ingest.webhook_secrets" => "whsec_bmV3bmV3bmV3bmV3bmV3bmV3bmV3bmV3".to_owned(),
        _ => word.to_owned(),
    };
    let path = |key: &str| dir.path().join(key);
    for key in SECRETS {
        std::fs::write(path(key), text(key, &one, "old")).unwrap();
    }
    let words = SECRETS.map(|key| format!("{key}_file={}", path(key).display()));
    let settings = sets(&words.each_ref().map(String::as_str)).settings();
    let watching = tokio::spawn(settings.secret_files.watch_every(Duration::from_millis(5)));
    for key in SECRETS {
        std::fs::write(path(key), text(key, &two, "new")).unwrap();
    }
    let (broker, svix) = (settings.broker.access, settings.svix);
    let single: [(&str, Secret); 9] = [
        ("broker.url", broker.url),
        ("broker.tls_ca", broker.authorities),
        ("broker.tls_cert", broker.certificate),
        ("broker.tls_key", broker.private_key),
        ("broker.management_url", settings.broker.management_url),
        ("svix.token", svix.token),
        ("svix.tls_ca", svix.authorities),
        ("journal.url", settings.journal.url),
        ("tracing.headers", settings.tracing.headers),
    ];
    let at_most = Duration::from_secs(20);
    for (key, secret) in single {
        tokio::time::timeout(at_most, secret.changed_since(Generation::default())).await.expect(key);
        assert_eq!(secret.current(), text(key, &two, "new"), "{key}");
    }
    let lists = [
        ("admin.tokens", settings.admin.tokens),
        ("ingest.tokens", settings.ingest.tokens),
        ("ingest.webhook_secrets", settings.ingest.webhook_secrets),
    ];
    assert_eq!(lists.len() + 9, SECRETS.len());
    for (key, list) in lists {
        let changed = async {
            while !list.contains(&text(key, &two, "new")) || list.contains(&text(key, &one, "old")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(at_most, changed).await.unwrap();
    }
    watching.abort();
}
