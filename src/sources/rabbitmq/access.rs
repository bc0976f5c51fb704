//! How the broker is reached and how this program is known there. Whatever is given by file changes while the program
//! runs: each connect takes the values of its moment, and a connection that stands keeps those it was made with.

use super::connect::ConnectError;
use crate::process::{
    secret::Secret,
    tls::{self, Keys},
};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};

/// What a remedy may name.
pub(super) const KEYS: Keys = Keys {
    url: "broker.url",
    authorities: "broker.tls_ca_file",
    certificate: Some("broker.tls_cert_file and broker.tls_key_file"),
};

/// Addresses and what TLS needs; the latter in PEM, each empty where it is not given.
#[derive(Debug, Clone)]
pub struct Access {
    /// One or more AMQP URLs, comma-separated, tried in turn.
    pub url: Secret,
    /// Authorities that are trusted beside those of the machine.
    pub authorities: Secret,
    /// Our own certificate, and what links it to an authority that the broker trusts.
    pub certificate: Secret,
    pub private_key: Secret,
}

impl Access {
    pub(super) fn has_certificate(&self) -> bool {
        !self.certificate.is_empty()
    }

    /// What TLS needs at this moment. Files may be replaced one after the other, so the pair is looked at each time.
    pub(super) fn tls(&self) -> Result<OwnedTLSConfig, ConnectError> {
        let given = |secret: &Secret| Some(secret.current()).filter(|text| !text.is_empty());
        let identity = match given(&self.certificate) {
            None => None,
            Some(certificate) => {
                let key = self.private_key.current();
                tls::belong_together(&certificate, &key).map_err(ConnectError::Identity)?;
                Some(OwnedIdentity::PKCS8 { pem: certificate.into_bytes(), key: key.into_bytes() })
            }
        };
        Ok(OwnedTLSConfig { identity, cert_chain: given(&self.authorities) })
    }
}

/// With the machine's own authorities and no certificate of ours.
impl From<Secret> for Access {
    fn from(url: Secret) -> Self {
        let none = || Secret::fixed("");
        Self { url, authorities: none(), certificate: none(), private_key: none() }
    }
}
