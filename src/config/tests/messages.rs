//! The exact words for each bad configuration: what an operator reads at three in the morning.

use super::*;

/// Whether `words` are refused with exactly these `lines`; DIR stands for the folder of the configuration file.
#[track_caller]
fn check(words: Words<'_>, lines: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let said = words.load_in(dir.path()).unwrap_err().to_string();
    let said = said.replace(&dir.path().display().to_string(), "DIR");
    assert_eq!(said.lines().collect::<Vec<_>>(), lines);
}

#[test]
fn a_bad_value_is_named_with_what_was_expected() {
    for (set, value, problem) in [
        ("broker.exchange=", r#" = """#, "expected 1 to 200 bytes, has 0"),
        ("broker.exchange=amq.topic", r#" = "amq.topic""#, "begins with amq., which the broker reserves"),
        ("broker.queue=a\nb", r#" = "a\nb""#, "has a control character"),
        ("broker.bindings=", r#" = """#, "expected at least one routing key, such as \"#\" for all events"),
        ("broker.bindings=a,,b", r#" = "a,,b""#, "element 2 is empty"),
        ("broker.prefetch=many", r#" = "many""#, "expected a whole number from 1 to 65535"),
        ("broker.prefetch=0", r#" = "0""#, "expected a whole number from 1 to 65535"),
        ("broker.prefetch=65536", r#" = "65536""#, "expected a whole number from 1 to 65535"),
        ("broker.memory_budget=128", r#" = "128""#, "expected a size from 1MiB to 64GiB, such as 128MiB"),
        ("broker.memory_budget=128MB", r#" = "128MB""#, "expected a size from 1MiB to 64GiB, such as 128MiB"),
        ("broker.memory_budget=1KiB", r#" = "1KiB""#, "expected a size from 1MiB to 64GiB, such as 128MiB"),
        ("broker.delivery_limit=-1", r#" = "-1""#, "expected a whole number from 1 to 2147483647"),
        ("retry.delays=5s,0s", r#" = "5s,0s""#, "element 2 is not a duration; expected one such as 5s or 1m30s"),
        ("retry.delays=50d", r#" = "50d""#, "has a delay of 4320000s, each must be 1 ms to 49 days"),
        (
            "retry.delays=1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s",
            r#" = "1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s,1s""#,
            "has 17 delays, at most 16 are possible",
        ),
        (
            "svix.url=api.svix.com",
            r#" = "api.svix.com""#,
            "is not a URL (relative URL without a base); expected a base URL such as https://api.eu.svix.com",
        ),
        (
            "svix.url=ftp://x",
            r#" = "ftp://x""#,
            "is neither http nor https; expected a base URL such as https://api.eu.svix.com",
        ),
        ("svix.url=http://x/?a=b", "", "has a query or fragment; expected a base URL such as https://api.eu.svix.com"),
        (
            "svix.url=http://x/api/v1/",
            r#" = "http://x/api/v1/""#,
            "ends in /api/v1, which is added to it; expected a base URL such as https://api.eu.svix.com",
        ),
        ("svix.url=http://u:hidden@x", "", "holds a user or password; put the token into svix.token"),
        ("svix.timeout=15", r#" = "15""#, "expected a duration from 100ms to 5m, such as 15s or 1m30s"),
        ("svix.timeout=6m", r#" = "6m""#, "expected a duration from 100ms to 5m, such as 15s or 1m30s"),
        ("svix.max_payload_bytes=2097152", r#" = "2097152""#, "expected a whole number from 1 to 2093056"),
        ("routing.apps=a", r#" = "a""#, "expected pairs, such as {\"a\" = \"b\"} or \"a=b,c=d\""),
        ("routing.apps=a=b,a=c", r#" = "a=b,a=c""#, "a is given twice"),
        ("routing.apps=a b=c", r#" = "a b=c""#, "project id \"a b\" has a character outside a-z A-Z 0-9 - _ ."),
        (
            "routing.apps=one=shop,two=till,three=shop",
            r#" = "one=shop,two=till,three=shop""#,
            "sends both one and three to application shop; events of two projects can have one id, and Svix takes an id \
             once in an application: give each project an application of its own",
        ),
        ("routing.apps=a=", r#" = "a=""#, "application \"\" of \"a\" is empty"),
        ("metrics.projects=a b", r#" = "a b""#, "project id \"a b\" has a character outside a-z A-Z 0-9 - _ ."),
        ("routing.unknown_project=drop", r#" = "drop""#, "expected \"provision\" or \"dead_letter\""),
        ("routing.provision_limit=1.5", r#" = "1.5""#, "expected a whole number from 0 to 4294967295"),
        (
            "admin.listen=localhost:1",
            r#" = "localhost:1""#,
            "expected an IP address and port, such as 127.0.0.1:9464 or [::1]:9464",
        ),
        (
            "ingest.listen=:80",
            r#" = ":80""#,
            "expected an IP address and port, such as 127.0.0.1:9464 or [::1]:9464, or empty for off",
        ),
        (
            "ingest.listen=0.0.0.0:80",
            r#" = "0.0.0.0:80""#,
            "would take events from anyone; set ingest.tokens, ingest.webhook_secrets or a loopback address",
        ),
        ("ingest.listen=127.0.0.1:9464", r#" = "127.0.0.1:9464""#, "is admin.listen too; give them different ports"),
        ("shutdown.grace=11m", r#" = "11m""#, "expected a duration from 1ms to 10m, such as 15s or 1m30s"),
        ("log.format=xml", r#" = "xml""#, "expected \"text\" or \"json\" or \"\""),
        (
            "log.level=inof",
            r#" = "inof""#,
            "has \"inof\", which is not a level; the levels are error, warn, info, debug, trace and off; expected one such as info or info,hookbro=debug",
        ),
        ("log.level=", r#" = """#, "is empty; expected one such as info or info,hookbro=debug"),
        (
            "log.level=a=b=c",
            r#" = "a=b=c""#,
            "is not a list of levels and target=level; expected one such as info or info,hookbro=debug",
        ),
        (
            "tracing.otlp_endpoint=localhost:4318",
            r#" = "localhost:4318""#,
            "is neither http nor https; expected a base URL such as http://localhost:4318",
        ),
        (
            "tracing.otlp_endpoint=http://u:hidden@x",
            "",
            "holds a user or password; put an authorization header into tracing.headers",
        ),
        (
            "tracing.otlp_endpoint=http://x/?a=b",
            "",
            "has a query or fragment; expected a base URL such as http://localhost:4318",
        ),
        ("tracing.sample_ratio=1.5", r#" = "1.5""#, "expected a number from 0 to 1"),
        ("tracing.sample_ratio=NaN", r#" = "NaN""#, "expected a number from 0 to 1"),
        ("tracing.headers=a=b,hunter2", "", "header 2 has no =; expected name=value"),
        (
            "journal.url=postgres://u@db/j?hunter2",
            "",
            "has a query that is not a list of name=value; a ? inside a password is written %3F",
        ),
    ] {
        let key = set.split('=').next().unwrap();
        check(sets(&[set]), &[&format!("{key}{value} (flag --set {key}): {problem}")]);
    }
}

#[test]
fn names_that_would_stand_twice_or_are_too_long_for_amqp_are_refused() {
    for exchange in [
        "hookbro.events.lane.a",
        "hookbro.events.lanes",
        "hookbro.events",
        "hookbro.events.dead",
        "hookbro.events.retry.1",
        "hookbro.events.delay.2",
    ] {
        let problem = "is a name that broker.queue = \"hookbro.events\" uses itself";
        let line = format!("broker.exchange = {exchange:?} (flag --set broker.exchange): {problem}");
        check(sets(&[&format!("broker.exchange={exchange}")]), &[&line]);
    }
    assert_eq!(sets(&["broker.exchange=hookbro.events.deadly"]).settings().broker.exchange, "hookbro.events.deadly");
    let queue = format!("broker.queue={}", "x".repeat(201));
    check(sets(&[&queue]), &["broker.queue (flag --set broker.queue): expected 1 to 200 bytes, has 201"]);
    let binding = format!("broker.bindings=#,{}", "x".repeat(256));
    let line = "broker.bindings (flag --set broker.bindings): element 2 has 256 bytes, at most 255 are possible";
    check(sets(&[&binding]), &[line]);
}

#[test]
fn each_layer_is_named_and_all_mistakes_are_reported_at_once() {
    let words = Words {
        file: Some("[broker]\nprefetch = 70_000\nprefech = 1\n[svix]\ntimeout = 5\n[brokr]\nqueue = 'x'\n[empty]"),
        environment: &[
            ("HOOKBRO__SVIX__MAX_PAYLOAD_BYTES", "lots"),
            ("HOOKBRO__SVIX__TOKN", "hidden"),
            ("HOOKBRO__log__level", "info"),
            ("HOOKBRO__PREFETCH", "1"),
        ],
        sets: &["log.format=xml", "log.fromat=json", "hidden", "log.xyzzy=1"],
    };
    check(
        words,
        &[
            "broker.prefech (file DIR/hookbro.toml): unknown key; did you mean broker.prefetch?",
            "brokr.queue (file DIR/hookbro.toml): unknown key; did you mean broker.queue?",
            "empty (file DIR/hookbro.toml): unknown key; the sections are broker, retry, parking, watchdog, svix, routing, redact, admin, ingest, metrics, journal, shutdown, log, tracing, lanes",
            "prefetch (environment HOOKBRO__PREFETCH): unknown key; did you mean HOOKBRO__BROKER__PREFETCH?",
            "svix.tokn (environment HOOKBRO__SVIX__TOKN): unknown key; did you mean HOOKBRO__SVIX__TOKEN?",
            "log.level (environment HOOKBRO__log__level): unknown key; did you mean HOOKBRO__LOG__LEVEL?",
            "log.fromat (flag --set log.fromat): unknown key; did you mean log.format?",
            "flag --set: expected section.key=value, such as --set broker.prefetch=64",
            "log.xyzzy (flag --set log.xyzzy): unknown key; the keys of log are format, level",
            "broker.prefetch = 70000 (file DIR/hookbro.toml): expected a whole number from 1 to 65535",
            "svix.timeout = 5 (file DIR/hookbro.toml): expected a duration from 100ms to 5m, such as 15s or 1m30s",
            "svix.max_payload_bytes = \"lots\" (environment HOOKBRO__SVIX__MAX_PAYLOAD_BYTES): expected a whole number from 1 to 2093056",
            "log.format = \"xml\" (flag --set log.format): expected \"text\" or \"json\" or \"\"",
        ],
    );
}

#[test]
fn values_of_another_kind_in_the_file_are_refused() {
    for (text, line) in [
        ("[broker]\nqueue = 5", "broker.queue = 5 (file DIR/hookbro.toml): expected text in quotes"),
        ("broker = 5", "broker = 5 (file DIR/hookbro.toml): expected a section"),
        ("prefetch = 5", "prefetch (file DIR/hookbro.toml): unknown key; did you mean broker.prefetch?"),
        ("[broker.queue]\nname = 'x'", "broker.queue (file DIR/hookbro.toml): expected text in quotes"),
        (
            "[broker]\nbindings = [1]",
            "broker.bindings = [1] (file DIR/hookbro.toml): expected a list of texts, such as [\"a\", \"b\"] or \"a,b\"",
        ),
        (
            "[broker]\nbindings = { a = 'b' }",
            "broker.bindings (file DIR/hookbro.toml): expected a list of texts, such as [\"a\", \"b\"] or \"a,b\"",
        ),
        (
            "[routing.apps]\nmy.project = 'x'",
            "routing.apps (file DIR/hookbro.toml): my is a table; put keys with dots in quotes: \"my.…\" = …",
        ),
        ("[routing.apps]\nmine = 1", "routing.apps (file DIR/hookbro.toml): mine: expected text in quotes"),
        (
            "[broker]\nprefetch = true",
            "broker.prefetch = true (file DIR/hookbro.toml): expected a whole number from 1 to 65535",
        ),
        ("[admin]\ntokens = ['a,b']", "admin.tokens (file DIR/hookbro.toml): token 1 has a comma or line break inside"),
        (
            "[admin]\ntokens = 5",
            "admin.tokens (file DIR/hookbro.toml): expected a list of texts, such as [\"a\", \"b\"] or \"a,b\"",
        ),
        (
            "[shutdown]\ngrace = 25",
            "shutdown.grace = 25 (file DIR/hookbro.toml): expected a duration from 1ms to 10m, such as 15s or 1m30s",
        ),
    ] {
        check(file(text), &[line]);
    }
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let said = |path: &Path| {
        let said = load_with(Some(path), [], &[]).unwrap_err().to_string();
        said.replace(&dir.path().display().to_string(), "DIR")
    };
    assert_eq!(
        said(&dir.path().join("none.toml")),
        "file DIR/none.toml: cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(said(dir.path()), "file DIR: cannot be read: Is a directory (os error 21)");
    std::fs::write(dir.path().join("binary"), [0xff, 0xfe]).unwrap();
    assert_eq!(said(&dir.path().join("binary")), "file DIR/binary: is not UTF-8 text");
    std::fs::write(dir.path().join("big"), vec![b'#'; 1024 * 1024 + 1]).unwrap();
    assert_eq!(said(&dir.path().join("big")), "file DIR/big: has more than 1048576 bytes");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_refused_only_if_it_is_ours() {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};
    let bytes = || OsString::from_vec(vec![0xff]);
    let said = load_with(None, [("HOOKBRO__LOG__LEVEL".into(), bytes())], &[]).unwrap_err().to_string();
    assert_eq!(said, "log.level (environment HOOKBRO__LOG__LEVEL): expected UTF-8");
    assert!(load_with(None, [("LS_COLORS".into(), bytes()), (bytes(), bytes())], &[]).is_ok());
}
