//! Changes are awaited, never slept for.

use super::*;
use crate::{config::rules, process::secret::Generation};
use std::fs;
use tokio::time::timeout;

/// A short pause between checks, so that tests need not wait for seconds.
const SOON: Duration = Duration::from_millis(5);
/// Longer than any of this takes on a busy machine.
const AT_MOST: Duration = Duration::from_secs(20);

/// The first value after the one read at start.
async fn next(secret: &Secret) -> String {
    timeout(AT_MOST, secret.changed_since(Generation::default())).await.expect("the change is seen");
    secret.current()
}

fn watched(path: &Path, rule: Rule) -> (Secret, tokio::task::JoinHandle<()>) {
    let mut files = SecretFiles::default();
    let secret = files.add("svix.token", path.to_owned(), rule).unwrap();
    (secret, tokio::spawn(files.watch_every(SOON)))
}

#[tokio::test]
async fn a_changed_file_changes_the_secret() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, "one\n").unwrap();
    let (secret, task) = watched(&path, rules::token);
    assert_eq!(secret.current(), "one");
    fs::write(&path, "two \r\n").unwrap();
    assert_eq!(next(&secret).await, "two");
    task.abort();
}

#[cfg(unix)]
#[tokio::test]
async fn a_swapped_link_changes_the_secret_as_kubernetes_does_it() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for version in ["v1", "v2"] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("token"), version).unwrap();
    }
    symlink("v1", at("..data")).unwrap();
    symlink("..data/token", at("token")).unwrap();
    let (secret, task) = watched(&at("token"), rules::token);
    assert_eq!(secret.current(), "v1");
    symlink("v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(next(&secret).await, "v2");
    task.abort();
}

#[test]
fn a_file_gone_bad_keeps_the_last_value_and_is_noticed_once_per_change() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("url");
    fs::write(&path, "amqp://one").unwrap();
    let mut files = SecretFiles::default();
    let secret = files.add("broker.url", path.clone(), rules::broker_urls).unwrap();
    let mut file = files.0.pop().unwrap();
    let bad = |problem: &str| Noticed::Bad(problem.to_owned());
    let no_url = "begins with neither amqp:// nor amqps://; expected amqp://user:password@host:5672/vhost";
    for (contents, value, noticed) in [
        (Some("amqp://one\n"), "amqp://one", Noticed::Nothing),
        (Some("hunter2://x"), "amqp://one", bad(no_url)),
        (Some("hunter2://x"), "amqp://one", Noticed::Nothing),
        (None, "amqp://one", bad("cannot be read: No such file or directory (os error 2)")),
        (None, "amqp://one", Noticed::Nothing),
        (Some("amqp://one"), "amqp://one", Noticed::GoodAgain),
        (None, "amqp://one", bad("cannot be read: No such file or directory (os error 2)")),
        (Some("amqp://two"), "amqp://two", Noticed::NewValue),
        (Some("amqp://two"), "amqp://two", Noticed::Nothing),
    ] {
        match contents {
            Some(contents) => fs::write(&path, contents).unwrap(),
            None => fs::remove_file(&path).unwrap_or_default(),
        }
        let found = read_secret(&path, rules::broker_urls).map(|(text, _)| text.into());
        assert_eq!(file.notice(found), noticed, "{contents:?}");
        assert_eq!(secret.current(), value, "{contents:?}");
    }
}

#[test]
fn a_file_gone_empty_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    fs::write(&path, " \n").unwrap();
    assert_eq!(read_secret(&path, rules::token), Err("the file is empty".to_owned()));
}

#[tokio::test]
async fn watching_nothing_ends_at_once() {
    timeout(AT_MOST, SecretFiles::default().watch()).await.unwrap();
}

#[cfg(unix)]
#[test]
fn what_can_be_read_only_once_is_not_watched() {
    use std::{io::Write as _, os::fd::AsRawFd as _};
    let (reader, mut writer) = io::pipe().unwrap();
    writer.write_all(b"token\n").unwrap();
    drop(writer);
    let mut files = SecretFiles::default();
    let path = format!("/dev/fd/{}", reader.as_raw_fd());
    let secret = files.add("svix.token", path.into(), rules::token).unwrap();
    assert_eq!(secret.current(), "token");
    assert!(files.0.is_empty());
}
