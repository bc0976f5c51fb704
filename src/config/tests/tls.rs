//! Certificates and keys: alone, together, and never repeated.

use super::*;
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

struct Pems {
    certificate: String,
    key: String,
}

fn made() -> Pems {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    Pems { certificate: cert.pem(), key: signing_key.serialize_pem() }
}

fn load(pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let words: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    sets(&words.iter().map(String::as_str).collect::<Vec<_>>()).load()
}

#[test]
fn certificates_and_keys_are_taken_by_value_and_by_file() {
    let Pems { certificate, key } = made();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    std::fs::write(path("cert"), &certificate).unwrap();
    std::fs::write(path("key"), &key).unwrap();
    let url = ("broker.url", "amqps://host?auth_mechanism=external");
    for settings in [
        load(&[url, ("broker.tls_cert", &certificate), ("broker.tls_key", &key), ("broker.tls_ca", &certificate)]),
        load(&[
            url,
            ("broker.tls_cert_file", &path("cert")),
            ("broker.tls_key_file", &path("key")),
            ("broker.tls_ca_file", &path("cert")),
        ]),
    ] {
        let access = settings.unwrap().broker.access;
        assert_eq!(access.private_key.current(), key.trim_end());
        assert_eq!(
            (access.certificate.current(), access.authorities.current()),
            (certificate.trim_end().into(), certificate.trim_end().into())
        );
        let debug = format!("{access:?}");
        assert!(!debug.contains(key.lines().nth(1).unwrap()), "{debug}");
    }
}

#[test]
fn what_cannot_work_is_said_before_anything_is_connected() {
    let Pems { certificate, key } = made();
    let strange = KeyPair::generate().unwrap().serialize_pem();
    let (plain, tls) = (("broker.url", "amqp://host"), ("broker.url", "amqps://host"));
    let (cert, own, ca) = (
        ("broker.tls_cert", certificate.as_str()),
        ("broker.tls_key", key.as_str()),
        ("broker.tls_ca", certificate.as_str()),
    );
    let encrypted = key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    for (words, key_name, problem) in [
        (vec![tls, cert], "broker.tls_cert", "is without its private key; give broker.tls_key_file"),
        (vec![tls, own], "broker.tls_key", "is without its certificate; give broker.tls_cert_file"),
        (
            vec![tls, cert, ("broker.tls_key", &strange)],
            "broker.tls_key",
            "does not belong to the first certificate of broker.tls_cert; give the two that belong together",
        ),
        (vec![plain, ca], "broker.tls_ca", "has no effect, since broker.url has no amqps:// address"),
        (vec![plain, cert, own], "broker.tls_cert", "has no effect, since broker.url has no amqps:// address"),
        (
            vec![tls, ("broker.tls_ca", &key)],
            "broker.tls_ca",
            "holds no certificate; expected PEM, -----BEGIN CERTIFICATE-----",
        ),
        (
            vec![tls, ("broker.tls_key", &certificate)],
            "broker.tls_key",
            "holds no private key; expected PEM, -----BEGIN PRIVATE KEY-----",
        ),
        (
            vec![tls, ("broker.tls_key", &encrypted)],
            "broker.tls_key",
            "is encrypted, and a service cannot be asked for a passphrase",
        ),
        (
            vec![("broker.url", "amqps://host?auth_mechanism=external")],
            "broker.url",
            "asks for auth_mechanism=external; give broker.tls_cert_file and broker.tls_key_file",
        ),
        (
            vec![("svix.url", "http://host"), ("svix.tls_ca", &certificate)],
            "svix.tls_ca",
            "has no effect, since svix.url does not begin with https://; remove one of the two",
        ),
        (vec![("svix.tls_ca", "hunter2")], "svix.tls_ca", "holds no certificate"),
    ] {
        let said = load(&words).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{key_name} (flag --set {key_name}): {problem}")), "{said}");
        for secret in [&key, &strange] {
            assert!(!said.contains(secret.lines().nth(1).unwrap()), "{said}");
        }
    }
}

#[test]
fn a_missing_file_is_named() {
    let said =
        load(&[("broker.url", "amqps://host"), ("broker.tls_key_file", "/no/such/key.pem")]).unwrap_err().to_string();
    assert_eq!(
        said,
        "broker.tls_key_file = \"/no/such/key.pem\" (flag --set broker.tls_key_file): cannot be read: No such file or directory (os error 2)"
    );
}
