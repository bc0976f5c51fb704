//! The part of `p12-keystore` that lapin's TCP layer calls, and a refusal as its only answer.
//!
//! lapin links the real crate with every TLS feature: some thirty crates of ciphers and certificate syntax, for identities in
//! PKCS#12. hookbro takes PEM alone (`broker.tls_cert`, `broker.tls_key`) and never builds such an identity.

use std::fmt;

/// PKCS#12 was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PKCS#12 is not supported: give certificate and key as PEM")
    }
}

impl std::error::Error for Error {}

/// A key store, of which there is none.
#[derive(Debug)]
pub enum KeyStore {}

impl KeyStore {
    /// Always refuses.
    pub fn from_pkcs12(_data: &[u8], _password: &str) -> Result<Self, Error> {
        Err(Error)
    }

    /// Cannot be called: no key store exists.
    pub fn private_key_chain(&self) -> Option<(&str, &PrivateKeyChain)> {
        match *self {}
    }
}

/// A private key and its certificates, of which there are none.
#[derive(Debug)]
pub enum PrivateKeyChain {}

impl PrivateKeyChain {
    /// Cannot be called: no private key exists.
    pub fn key(&self) -> &[u8] {
        match *self {}
    }

    /// Cannot be called: no chain exists.
    pub fn chain(&self) -> &[Certificate] {
        match *self {}
    }
}

/// A certificate, of which there is none.
#[derive(Debug)]
pub enum Certificate {}

impl Certificate {
    /// Cannot be called: no certificate exists.
    pub fn as_der(&self) -> &[u8] {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pkcs12_is_refused_with_the_remedy() {
        let refused = KeyStore::from_pkcs12(b"0", "secret").unwrap_err();
        assert_eq!(refused.to_string(), "PKCS#12 is not supported: give certificate and key as PEM");
    }
}
