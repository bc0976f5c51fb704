//! TLS in an operator's words, for whoever opens connections: what PEM must hold, and what a failed handshake means.
//!
//! No message repeats what it was given, since that may be a private key; the parser's own errors quote lines.

use rustls::{
    AlertDescription as Alert, CertificateError as Flaw, Error as TlsError, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    sign::CertifiedKey,
};
use std::{error::Error, io};

/// The settings that a remedy names.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    pub url: &'static str,
    pub authorities: &'static str,
    /// None where no client certificate can be given.
    pub certificate: Option<&'static str>,
}

/// The certificates of `pem`, at least one.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    const FORM: &str = "expected PEM, -----BEGIN CERTIFICATE-----";
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|_| format!("has a certificate that is cut off or no base64; {FORM}"))?;
    if all.is_empty() { Err(format!("holds no certificate; {FORM}")) } else { Ok(all) }
}

/// The certificates of `pem`, each of which can vouch for others.
pub fn authorities(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all = certificates(pem)?;
    for (n, one) in all.iter().enumerate() {
        let added = RootCertStore::empty().add(one.clone());
        added.map_err(|_| format!("certificate {} of {} cannot be read as an authority's", n + 1, all.len()))?;
    }
    Ok(all)
}

/// The one private key of `pem`.
pub fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, String> {
    if pem.contains("ENCRYPTED") {
        return Err(
            "is encrypted, and a service cannot be asked for a passphrase; write it without one, as `openssl pkey` \
                    does, and let nobody else read the file"
                .to_owned(),
        );
    }
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes());
    key.map_err(|_| "holds no private key; expected PEM, -----BEGIN PRIVATE KEY-----".to_owned())
}

/// Whether the private key belongs to the first of the certificates. The message completes "the private key …".
pub fn belong_together(certificates_pem: &str, key_pem: &str) -> Result<(), String> {
    let made =
        CertifiedKey::from_der(certificates(certificates_pem)?, private_key(key_pem)?, &ring::default_provider());
    made.map(drop).map_err(|error| match error {
        TlsError::InconsistentKeys(_) => "does not belong to the first certificate".to_owned(),
        _ => "or its certificate is of a kind that TLS cannot use; expected RSA, ECDSA or Ed25519".to_owned(),
    })
}

/// The TLS failure behind `error`, if it is one.
pub fn failure<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TlsError> {
    causes(error).find_map(<dyn Error>::downcast_ref)
}

/// Whether the far side has ended the connection.
pub fn is_hung_up(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let ends = [BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof];
    causes(error).filter_map(<dyn Error>::downcast_ref).any(|error: &io::Error| ends.contains(&error.kind()))
}

/// `error` and what lies behind it. An I/O error names the source of what it holds, and not what it holds.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        held.map(|held| held as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// What helps against a far side that ends the connection in the TLS handshake or right after it. With TLS 1.3 our side of
/// the handshake is over before the far side has looked at our certificate, and its reason may come too late to be read.
/// Completes "cannot connect to HOST: …".
pub fn hung_up(keys: Keys, certificate_given: bool) -> String {
    let closed = "it closed the connection in the TLS handshake";
    match (keys.certificate, certificate_given) {
        (Some(key), true) => format!("{closed}; check {key}: their dates, and whether they are trusted there"),
        (Some(key), false) => format!("{closed}; if it asks for a client certificate, give {key}"),
        (None, _) => closed.to_owned(),
    }
}

/// What went wrong and what helps. Completes "cannot connect to HOST: …".
pub fn explain(error: &TlsError, keys: Keys) -> String {
    let Keys { url, authorities, certificate } = keys;
    match error {
        TlsError::InvalidCertificate(flaw) => explain_flaw(flaw, url, authorities),
        TlsError::InvalidMessage(_) => format!("it does not speak TLS there; check port and scheme in {url}"),
        TlsError::AlertReceived(Alert::CertificateRequired | Alert::NoCertificate) => match certificate {
            Some(key) => format!("it asks for a client certificate; give {key}"),
            None => "it asks for a client certificate, and hookbro has no setting for one there".to_owned(),
        },
        TlsError::AlertReceived(alert) => match certificate {
            Some(key) => format!(
                "it ended the TLS handshake ({alert:?}); check {key}: their dates, and whether they are trusted there"
            ),
            None => format!("it ended the TLS handshake ({alert:?})"),
        },
        other => format!("the TLS handshake failed: {other}"),
    }
}

fn explain_flaw(flaw: &Flaw, url: &str, authorities: &str) -> String {
    match flaw {
        // A signature that does not fit is that of an authority of the same name and another key, as after a renewal.
        Flaw::UnknownIssuer | Flaw::BadSignature => {
            format!(
                "its certificate is from an authority unknown here; give that authority's certificate as {authorities}"
            )
        }
        Flaw::Expired => "its certificate has expired; renew it there".to_owned(),
        Flaw::ExpiredContext { not_after, .. } => {
            format!(
                "its certificate expired at {}; renew it there, or set this machine's clock right",
                date(*not_after)
            )
        }
        Flaw::NotValidYet => "its certificate is not valid yet; set this machine's clock right".to_owned(),
        Flaw::NotValidYetContext { not_before, .. } => {
            format!("its certificate is not valid before {}; set this machine's clock right", date(*not_before))
        }
        Flaw::NotValidForName => format!("its certificate is for another name; use that one in {url}"),
        Flaw::NotValidForNameContext { expected, presented } => format!(
            "its certificate is for {}, and not for {}; use the certificate's name in {url}",
            if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") },
            expected.to_str()
        ),
        other => format!("its certificate is refused: {other}"),
    }
}

fn date(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok();
    let known = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    known.map_or_else(|| "a time beyond the calendar".to_owned(), |time| time.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_is_wrong_with_pem_is_said_without_repeating_it() {
        let (cert, key) = pair();
        let body = key.lines().nth(1).unwrap();
        assert_eq!(certificates(&cert).unwrap().len(), 1);
        assert!(private_key(&key).is_ok() && belong_together(&cert, &key).is_ok());
        let headless = key.replace("-----BEGIN PRIVATE KEY-----", "-----BEGIN PRIVATE KEY");
        for (found, problem) in [
            (certificates(&key).map(drop), "holds no certificate"),
            (certificates(&cert.replace("-----END", "")).map(drop), "cut off"),
            (private_key(&cert).map(drop), "holds no private key"),
            (private_key(&headless).map(drop), "holds no private key"),
            (private_key(&key.replace("PRIVATE", "ENCRYPTED PRIVATE")).map(drop), "is encrypted"),
            (belong_together(&cert, &pair().1), "does not belong to the first certificate"),
        ] {
            let said = found.unwrap_err();
            assert!(said.contains(problem), "{said}");
            assert!(!said.contains(body), "{said}");
        }
    }

    #[test]
    fn a_tls_failure_is_found_behind_others() {
        let tls = TlsError::InvalidCertificate(Flaw::UnknownIssuer);
        let nested = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, tls.clone()));
        assert_eq!(failure(&nested), Some(&tls));
        assert_eq!(failure(&io::Error::other("no TLS")), None);
        let reset = io::Error::other(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(is_hung_up(&reset) && !is_hung_up(&nested));
    }
}
