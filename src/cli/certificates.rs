//! What `check` says of certificates: whose, until when, and whether that is soon.

use crate::{config::Settings, process::tls};
use jiff::{SignedDuration, Timestamp};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _, x509::X509Name};

/// Renewal usually comes a month before the end: what is nearer than that has been forgotten.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// One line on each certificate that the configuration gives. All of them could be read before.
pub(super) fn configured(settings: &Settings) -> Vec<String> {
    let (access, now) = (&settings.broker.access, Timestamp::now());
    let given = [
        ("broker.tls_ca", &access.authorities),
        ("broker.tls_cert", &access.certificate),
        ("svix.tls_ca", &settings.svix.authorities),
    ];
    let each = given.into_iter().flat_map(|(key, pem)| {
        let all = tls::certificates(&pem.current()).unwrap_or_default();
        all.into_iter().map(move |der| line(key, &der, now))
    });
    each.collect()
}

/// What the certificate `der` that `whose` shows is, and how long it lasts.
pub(super) fn shown(whose: &str, der: &[u8]) -> String {
    line(whose, der, Timestamp::now())
}

fn line(what: &str, der: &[u8], now: Timestamp) -> String {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return format!("{what}: a certificate whose dates cannot be read");
    };
    // A name may hold whatever its authority has signed.
    let name = |name: &X509Name<'_>| name.to_string().replace(char::is_control, "?");
    let mut subject = name(certificate.subject());
    if subject.is_empty() {
        subject.push_str("no subject");
    }
    if certificate.issuer() != certificate.subject() {
        subject.push_str(&format!(", from {}", name(certificate.issuer())));
    }
    let Ok(end) = Timestamp::from_second(certificate.validity().not_after.timestamp()) else {
        return format!("{what}: {subject}, without an end");
    };
    let left = end.duration_since(now);
    let days = left.as_hours() / 24;
    match left {
        left if left.is_negative() => format!("WARNING: {what}: {subject}, expired at {end}; renew it"),
        left if left < SOON => format!("WARNING: {what}: {subject}, expires at {end}, in {days} days; renew it"),
        _ => format!("{what}: {subject}, until {end}, {days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_within_thirty_days_is_a_warning() {
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "broker");
        params.not_after = rcgen::date_time_ymd(2030, 3, 1);
        let der = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec();
        for (now, said) in [
            ("2030-01-01T00:00:00Z", "x: CN=broker, until 2030-03-01T00:00:00Z, 59 days"),
            ("2030-02-01T00:00:00Z", "WARNING: x: CN=broker, expires at 2030-03-01T00:00:00Z, in 28 days; renew it"),
            ("2030-03-02T00:00:00Z", "WARNING: x: CN=broker, expired at 2030-03-01T00:00:00Z; renew it"),
        ] {
            assert_eq!(line("x", &der, now.parse().unwrap()), said);
        }
        assert!(line("x", b"no DER", Timestamp::now()).contains("cannot be read"));
    }
}
