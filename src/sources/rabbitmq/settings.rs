//! What this adapter takes from the configuration: `broker.*`, `retry.delays` and `watchdog.timeout`.

use crate::{
    event::RetryLadder,
    process::{
        secret::Secret,
        tls::{self, Keys},
    },
};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use std::time::Duration;

/// Everything the broker side derives its names, arguments and limits from.
#[derive(Debug, Clone)]
pub struct Settings {
    pub access: Access,
    /// RabbitMQ's management API, with a user and password of its own or else those of `access`; empty: it is not asked.
    pub management_url: Secret,
    /// The publishers' topic exchange.
    pub exchange: String,
    /// Q: the work queue, and the stem of every other name.
    pub queue: String,
    /// Routing keys that bind Q to the exchange.
    pub bindings: Vec<String>,
    /// Unacknowledged deliveries of Q at once; each retry queue gets an eighth.
    pub prefetch: u16,
    /// `x-delivery-limit` of Q and the retry queues.
    pub delivery_limit: u32,
    /// Bytes of messages in memory at once.
    pub memory_budget: usize,
    pub ladder: RetryLadder,
    /// How long a consumed queue may have messages ready and room for them, and send none.
    pub watchdog: Duration,
    pub lanes: Vec<Lane>,
}

/// A queue, a prefetch and a ladder of their own for some routing keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Part of its objects' names.
    pub name: String,
    /// Patterns of routing keys, none of which overlaps another lane's. With none, the messages that are in the lane are still delivered.
    pub keys: Vec<String>,
    pub prefetch: u16,
    pub ladder: RetryLadder,
}

/// The configuration keys that a remedy may name.
pub(super) const KEYS: Keys = Keys {
    url: "broker.url",
    authorities: "broker.tls_ca_file",
    certificate: Some("broker.tls_cert_file and broker.tls_key_file"),
};

/// How the broker is reached and how this program is known there: addresses, and what TLS needs in PEM, each empty where it is
/// not given. Files may change while the program runs: each connect takes the values of its moment, and an open connection
/// keeps those it was made with.
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

    /// What TLS needs at this moment. Files may be replaced one after the other, so the pair is checked each time; the error
    /// says why key and certificate do not fit.
    pub(super) fn tls(&self) -> Result<OwnedTLSConfig, String> {
        let given = |secret: &Secret| Some(secret.current()).filter(|text| !text.is_empty());
        let identity = match given(&self.certificate) {
            None => None,
            Some(certificate) => {
                let key = self.private_key.current();
                tls::belong_together(&certificate, &key)?;
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
